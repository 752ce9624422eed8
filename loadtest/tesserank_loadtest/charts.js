// Line charts as SVG, for the report (data within the page) and for the page beside Locust's own (data fetched).
"use strict";
const COLOURS = ["#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#17becf", "#7f7f7f", "#bcbd22"];
const SIZE = { width: 560, height: 256, left: 56, right: 12, top: 28, bottom: 60 };
const LEGEND = { columns: 5, height: 16 }; // series in a row of it, two rows at most

function element(parent, name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.appendChild(made);
  return made;
}

// The first of 1, 2, 5, 10, 20, ... that leaves at most `parts` steps up to `most`.
function step(most, parts) {
  let unit = 10 ** Math.floor(Math.log10(most / parts));
  for (const factor of [1, 2, 5, 10]) if (most / (unit * factor) <= parts) return unit * factor;
  return unit * 10;
}

function chart(parent, title, seconds, series) {
  const { width, height, left, right, top, bottom } = SIZE;
  const svg = element(parent, "svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img" });
  element(svg, "title", {}, title);
  element(svg, "text", { x: left, y: 16, class: "heading" }, title);
  const known = Object.entries(series).filter(([, values]) => values.some((value) => value !== null));
  if (!seconds.length || !known.length) {
    element(svg, "text", { x: left, y: height / 2 }, "nothing measured");
    return;
  }
  const highest = Math.max(1e-9, ...known.flatMap(([, values]) => values.map((value) => value ?? 0)));
  const last = Math.max(1e-9, seconds[seconds.length - 1]);
  const x = (second) => left + (second / last) * (width - left - right);
  const y = (value) => height - bottom - (value / highest) * (height - top - bottom);
  for (let tick = 0, by = step(highest, 5); tick <= highest; tick += by) {
    element(svg, "line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: "grid" });
    element(svg, "text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, String(Number(tick.toPrecision(6))));
  }
  for (let tick = 0, by = step(last, 8); tick <= last; tick += by)
    element(svg, "text", { x: x(tick), y: height - bottom + 16, "text-anchor": "middle" }, `${Number(tick.toPrecision(6))} s`);
  known.forEach(([name, values], index) => {
    const colour = COLOURS[index % COLOURS.length];
    let path = "";
    let pen = "M";
    values.forEach((value, at) => {
      if (value === null) pen = "M";
      else {
        path += `${pen}${x(seconds[at]).toFixed(1)},${y(value).toFixed(1)}`;
        pen = "L";
      }
    });
    element(svg, "path", { d: path, fill: "none", stroke: colour, "stroke-width": 1.5, "stroke-linecap": "round" });
    const column = left + ((index % LEGEND.columns) * (width - left - right)) / LEGEND.columns;
    const row = height - 24 + LEGEND.height * Math.floor(index / LEGEND.columns);
    element(svg, "text", { x: column, y: row, class: "legend", color: colour }, name);
  });
}

function serverCharts(parent, data) {
  chart(parent, "Stages of the server: mean ms of a run", data.seconds, data.stage_ms);
  chart(parent, "Cache hit rate: share of segments", data.seconds, { hits: data.cache_hit_ratio });
  chart(parent, "CPU of the server's processes: cores", data.seconds, { cores: data.cpu_cores });
  chart(parent, "Resident memory of the server's processes: MiB", data.seconds, { MiB: data.rss_mib });
}

function clientCharts(parent, data) {
  chart(parent, "Latency from the intended send time: ms", data.seconds, { p50: data.p50_ms, p99: data.p99_ms });
  chart(parent, "Requests a second, by the time they were to be sent", data.seconds, {
    answered: data.answered_per_s,
    failed: data.failed_per_s,
    dropped: data.dropped_per_s,
  });
}
