"""The kernels, in OpenAI's Triton language; ``reference`` says in torch what they compute. Importing this needs triton.

One program scores a tile of items against all query rows of its job, so an item's vectors are read once for all users:

    tile of items, ITEMS × SLOTS token vectors                        in shared memory for all that follows
    for ROWS query rows at a time:                                    from L2, which holds all queries
        similarities = queries · tileᵀ          [ROWS, ITEMS·SLOTS]   tensor cores, sums in registers
        best         = max over an item's slots [ROWS, ITEMS]         in a thread, and among four of them
        groups       = Σ factor · best          [ROWS / GROUP, ITEMS] GROUP rows never belong to two units
        units        = Σ of a unit's groups     one more sum over the few groups of the step

Queries are the rows of the product, so that an item's slots lie in few threads, where their maximum is cheap.

* **Ragged items**: an item shorter than its slots repeats its last vector, which changes no maximum: no mask, no -inf,
  and nothing more is read from memory. Longer items go through their slots several times.
* **Ragged units**: a unit begins at a multiple of GROUP; rows between have a factor of 0. A unit may go on in the next
  step: its sum so far is carried there, and written again.
* **Nothing but these settings is compiled in**: users, units, candidates and items are runtime arguments, and counts
  that a captured CUDA graph must be able to change are read from device memory.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

NOTHING = tl.constexpr(1e-30)  # smaller tokens are 0: what they are scaled by would overflow


@triton.jit(do_not_specialize=["dim"])
def pack(
    tokens,  # [Q, dim] of any float type
    weights,  # float32 [Q]
    sources,  # int32 [P] the token of each packed row; -1: padding
    steps,  # float32 [D]: what the items' components are multiples of
    queries,  # [P, D], written
    sizes,  # float32 [P], written: a token times the steps is its packed row times its size
    factors,  # float32 [P], written: weight times size
    dim,
    peak,  # the largest |number| of a packed row
    D: tl.constexpr,
    ROUND: tl.constexpr,  # to whole numbers
):
    """Packed rows: tokens times the steps, scaled so that the largest component is ``peak``. The grid is [P]."""
    row = tl.program_id(0)
    source = tl.load(sources + row).to(tl.int64)
    column = tl.arange(0, D)
    known = tl.where(source >= 0, dim, 0)  # components to read
    values = tl.load(tokens + source * dim + column, mask=column < known, other=0.0).to(tl.float32)
    values = values * tl.load(steps + column)
    largest = tl.max(tl.abs(values), axis=0)
    scaled = values * tl.where(largest > NOTHING, peak / tl.maximum(largest, NOTHING), 0.0)
    if ROUND:
        scaled = tl.floor(scaled + 0.5)
    tl.store(queries + row * D + column, scaled.to(queries.dtype.element_ty))
    weight = tl.load(weights + source, mask=source >= 0, other=0.0)
    tl.store(sizes + row, largest / peak)
    tl.store(factors + row, weight * (largest / peak))


@triton.jit
def _slot_tokens(begins, ends, place):
    """The token in each slot: the item's own, or its last one again."""
    return tl.minimum(begins + place, ends - 1)


@triton.jit
def _load_items(vectors, tokens, D: tl.constexpr, as_type: tl.constexpr):
    """Token vectors, transposed: [D, slots]."""
    found = tl.load(vectors + tokens[None, :] * D + tl.arange(0, D)[:, None])
    return found.to(as_type)


@triton.jit
def _best(queries, items, ROWS: tl.constexpr, ITEMS: tl.constexpr, SLOTS: tl.constexpr):
    """Each query row's largest product with an item's slots, [ROWS, ITEMS]: int32 of integers, else float32."""
    if items.dtype == tl.int8:
        products = tl.dot(queries, items, out_dtype=tl.int32)
    else:
        products = tl.dot(queries, items, out_dtype=tl.float32)
    if SLOTS == 1:
        return products
    return tl.max(tl.reshape(products, (ROWS, ITEMS, SLOTS)), axis=2)


@triton.jit(do_not_specialize=["score_stride"])
def unit_scores(
    queries,  # [P, D] as packed
    factors,  # float32 [P]
    group_units,  # int32 [P / GROUP], non-decreasing within a job
    job_rows,  # int32 [J + 1]: where each job's packed rows begin, a multiple of GROUP
    vectors,  # [T, D]
    offsets,  # int64 [N + 1]
    candidates,  # int64 [C] rows of items, job after job; without GATHER unused
    job_candidates,  # int64 [J + 1]: where each job's candidates begin; without GATHER all jobs count N
    scores,  # float32 [G, score_stride], written: unit, position among the job's candidates
    score_stride,
    D: tl.constexpr,
    ROWS: tl.constexpr,
    ITEMS: tl.constexpr,
    SLOTS: tl.constexpr,
    GROUP: tl.constexpr,
    WHOLE: tl.constexpr,  # no item has more vectors than SLOTS
    GATHER: tl.constexpr,
    PRODUCT: tl.constexpr,  # the type that is multiplied
):
    """MaxSim of every unit of a job with each of its candidates; the grid is [tiles of the most candidates, J]."""
    GROUPS: tl.constexpr = ROWS // GROUP
    tile, job = tl.program_id(0), tl.program_id(1)
    first = tl.load(job_candidates + job)
    count = tl.load(job_candidates + job + 1) - first
    if tile * ITEMS >= count:
        return
    slot = tl.arange(0, ITEMS * SLOTS)
    rows = tl.minimum(tile.to(tl.int64) * ITEMS + slot // SLOTS, count - 1)
    if GATHER:
        rows = tl.load(candidates + first + rows)
    begins, ends = tl.load(offsets + rows), tl.load(offsets + rows + 1)
    place = slot % SLOTS
    items = _load_items(vectors, _slot_tokens(begins, ends, place), D, PRODUCT)
    longest = tl.max(ends - begins, axis=0).to(tl.int32)

    position = tile.to(tl.int64) * ITEMS + tl.arange(0, ITEMS)
    row_end = tl.load(job_rows + job + 1)
    carried = tl.zeros((ITEMS,), tl.float32)
    carried_unit = -1
    for row_begin in range(tl.load(job_rows + job), row_end, ROWS):
        row = row_begin + tl.arange(0, ROWS)
        live = row < row_end
        query = tl.load(
            queries + row[:, None].to(tl.int64) * D + tl.arange(0, D)[None, :], mask=live[:, None], other=0.0
        )
        best = _best(query.to(PRODUCT), items, ROWS, ITEMS, SLOTS)
        if not WHOLE:
            for begin in range(SLOTS, longest, SLOTS):
                more = _load_items(vectors, _slot_tokens(begins, ends, begin + place), D, PRODUCT)
                best = tl.maximum(best, _best(query.to(PRODUCT), more, ROWS, ITEMS, SLOTS))
        weighted = best.to(tl.float32) * tl.load(factors + row, mask=live, other=0.0)[:, None]
        if GROUP == 1:  # and every unit is one row
            unit = tl.load(group_units + row, mask=live, other=0).to(tl.int64)
            target = scores + unit[:, None] * score_stride + position[None, :]
            tl.store(target, weighted, mask=live[:, None] & (position < count)[None, :])
        else:
            group = row_begin // GROUP + tl.arange(0, GROUPS)
            unit = tl.load(group_units + group, mask=group * GROUP < row_end, other=-1)
            first_unit = tl.load(group_units + row_begin // GROUP)
            last_unit = tl.max(unit, axis=0)
            own = tl.arange(0, GROUPS)  # units of this step, counted from its first
            sums = tl.sum(tl.reshape(weighted, (GROUPS, GROUP, ITEMS)), axis=1)
            member = (unit - first_unit)[:, None] == own[None, :]
            sums = tl.sum(tl.where(member[:, :, None], sums[:, None, :], 0.0), axis=0)
            goes_on = (own == 0) & (carried_unit == first_unit)
            sums += tl.where(goes_on[:, None], carried[None, :], 0.0)
            carried = tl.sum(tl.where((own == last_unit - first_unit)[:, None], sums, 0.0), axis=0)
            carried_unit = last_unit
            target = scores + (first_unit + own)[:, None].to(tl.int64) * score_stride + position[None, :]
            tl.store(target, sums, mask=(first_unit + own <= last_unit)[:, None] & (position < count)[None, :])


@triton.jit
def token_pairs(
    queries,  # [P, D] as packed
    job_rows,  # int32 [J + 1]
    job_outputs,  # int64 [J + 1]: where each job's pairs begin; pair (candidate c, row r) lies at begin + c · rows + r
    vectors,  # [T, D]
    offsets,  # int64 [N + 1]
    candidates,  # int64 [J, k] rows of items; -1: none
    best_tokens,  # int32, written: which of the item's vectors
    best_products,  # float32, written: its product with the packed row
    k,
    D: tl.constexpr,
    ROWS: tl.constexpr,
    SLOTS: tl.constexpr,
    PRODUCT: tl.constexpr,
):
    """The item's vector that each query row likes best, the first of equals; the grid is [k, J]."""
    place_of_item, job = tl.program_id(0), tl.program_id(1)
    item = tl.load(candidates + job * k + place_of_item)
    if item < 0:
        return
    begin, end = tl.load(offsets + item), tl.load(offsets + item + 1)
    first_row, row_end = tl.load(job_rows + job), tl.load(job_rows + job + 1)
    output = tl.load(job_outputs + job) + place_of_item.to(tl.int64) * (row_end - first_row)
    place = tl.arange(0, SLOTS)
    for row_begin in range(first_row, row_end, ROWS):
        row = row_begin + tl.arange(0, ROWS)
        live = row < row_end
        query = tl.load(
            queries + row[:, None].to(tl.int64) * D + tl.arange(0, D)[None, :], mask=live[:, None], other=0.0
        )
        best = tl.full((ROWS,), float("-inf"), tl.float32)
        token = tl.zeros((ROWS,), tl.int32)
        for skipped in range(0, (end - begin).to(tl.int32), SLOTS):
            items = _load_items(vectors, _slot_tokens(begin, end, skipped + place), D, PRODUCT)
            products = _best(query.to(PRODUCT), items, ROWS, SLOTS, 1).to(tl.float32)
            largest, where = tl.max(products, axis=1, return_indices=True, return_indices_tie_break_left=True)
            repeated = (end - begin - 1).to(tl.int32)  # slots from here on hold the item's last vector
            token = tl.where(largest > best, tl.minimum(skipped + where, repeated), token)
            best = tl.maximum(best, largest)
        tl.store(best_tokens + output + row - first_row, token, mask=live)
        tl.store(best_products + output + row - first_row, best, mask=live)


@triton.jit
def _include(x, peak, mass):
    """One more term of a running log-sum-exp, which is ``peak + log(mass)``."""
    higher = tl.maximum(peak, x)
    return higher, mass * tl.exp(peak - higher) + tl.exp(x - higher)


@triton.jit(do_not_specialize=["unit_stride", "score_stride", "segment_stride", "width"])
def aggregate(
    units,  # float32 [G, unit_stride] unit scores
    segment_units,  # int32 [S, 2]: each segment's first unit, and the one after its last
    segment_weights,  # float32 [S] above 0
    channel_segments,  # int32 [C + 1]
    channel_scales,  # float32 [C]
    user_channels,  # int32 [B + 1]
    user_counts,  # int64 [B]: candidates of each user
    scores,  # float32 [B, score_stride], written or added to; -inf beyond a user's candidates
    segment_scores,  # float32 [S, segment_stride], written with SEGMENTS
    temperature,
    unit_stride,
    score_stride,
    segment_stride,
    width,  # columns of scores
    SOFTMAX: tl.constexpr,
    ADD: tl.constexpr,
    SEGMENTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Units to segments to channels to scores, of BLOCK items of a user; the grid is [blocks, B]."""
    column = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    user = tl.program_id(1)
    real = column < tl.load(user_counts + user)
    target = scores + user.to(tl.int64) * score_stride + column
    unit_stride, segment_stride = unit_stride.to(tl.int64), segment_stride.to(tl.int64)
    total = tl.zeros((BLOCK,), tl.float32)
    if ADD:
        total += tl.load(target, mask=real, other=0.0)
    for channel in range(tl.load(user_channels + user), tl.load(user_channels + user + 1)):
        peak = tl.full((BLOCK,), float("-inf"), tl.float32)
        mass = tl.zeros((BLOCK,), tl.float32)
        for segment in range(tl.load(channel_segments + channel), tl.load(channel_segments + channel + 1)):
            weight = tl.load(segment_weights + segment)
            own_peak = tl.full((BLOCK,), float("-inf"), tl.float32)
            own_mass = tl.zeros((BLOCK,), tl.float32)
            for unit in range(tl.load(segment_units + 2 * segment), tl.load(segment_units + 2 * segment + 1)):
                score = tl.load(units + unit * unit_stride + column, mask=real, other=0.0)
                if SOFTMAX:
                    own_peak, own_mass = _include(score / temperature, own_peak, own_mass)
                else:
                    own_mass += score
            if SOFTMAX:
                scaled = own_peak + tl.log(own_mass)
                peak, mass = _include(scaled + tl.log(weight), peak, mass)
                own = scaled * temperature
            else:
                own = own_mass
                mass += weight * own
            if SEGMENTS:
                tl.store(segment_scores + segment * segment_stride + column, own, mask=real)
        scale = tl.load(channel_scales + channel)
        if SOFTMAX:
            total += scale * temperature * (peak + tl.log(mass))
        else:
            total += scale * mass
    tl.store(target, tl.where(real, total, float("-inf")), mask=column < width)


INTERPRETED = not isinstance(unit_scores, triton.JITFunction)


def product_type(queries: torch.dtype) -> tl.dtype:
    """PRODUCT for packed rows: their type. The interpreter multiplies bfloat16 wrongly, and float32 holds it."""
    if queries == torch.bfloat16 and INTERPRETED:
        return tl.float32
    return {
        torch.float16: tl.float16, torch.bfloat16: tl.bfloat16, torch.int8: tl.int8, torch.float8_e4m3fn: tl.float8e4nv,
    }[queries]  # fmt: skip
