"""The kernels, in OpenAI's Triton language; ``reference`` says in torch what they compute. Importing this needs triton.

One program scores a tile of items against all query rows of its job, so an item's vectors are read once for all users:

    tile of items, ITEMS × SLOTS token vectors                        in shared memory for all that follows
    for STEP query rows at a time:                                    from L2, which holds all queries
        similarities = queries · tileᵀ          [STEP, ITEMS·SLOTS]   tensor cores, sums in registers
        best         = max over an item's slots [STEP, ITEMS]         in a thread
        sums        += factor · best            [STEP, ITEMS]         in a thread
        where a piece of a unit ends:
            pieces   = Σ sums of GROUP rows     [STEP / GROUP, ITEMS] among eight threads

Tensor cores are so much faster than the rest that a step has time for little more than the maximum. So nothing crosses
threads in it: a row of the product lies in four threads, each of which has two of every eight columns; these hold slots
of one item (``_columns``). And a unit's groups lie in one place of consecutive steps (``query.Layout``), so its sum
grows in a thread, and threads meet once a piece.

* **Ragged items**: an item shorter than its slots repeats its last vector, which changes no maximum: no mask, no -inf,
  and nothing more is read from memory. Longer items go through their slots several times.
* **Ragged units**: a unit begins at a multiple of GROUP; rows between have a factor of 0. A unit that goes on in
  another place is written as several pieces, which ``add_pieces`` adds up.
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
def _load_queries(queries, row, live, D: tl.constexpr):
    """Packed rows [rows, D]; 0 where they are not live."""
    places = queries + row[:, None].to(tl.int64) * D + tl.arange(0, D)[None, :]
    return tl.load(places, mask=live[:, None], other=0.0)


@triton.jit
def _columns(ITEMS: tl.constexpr, SLOTS: tl.constexpr):
    """Which item of a tile, and which slot of it, each column of a product holds: ITEMS · SLOTS of both.

    Eight columns hold the same WIDTH slots of LANES items; a thread has two neighbours of every eight.
    """
    LANES: tl.constexpr = ITEMS if ITEMS < 4 else 4
    WIDTH: tl.constexpr = 8 // LANES
    column = tl.arange(0, ITEMS * SLOTS)
    if SLOTS == 1:
        return column, column * 0
    item = column // (SLOTS * LANES) * LANES + column % 8 // WIDTH
    return item, column // 8 % (SLOTS // WIDTH) * WIDTH + column % WIDTH


@triton.jit
def _product(queries, items):
    """[rows, columns]: int32 of integers, else float32."""
    if items.dtype == tl.int8:
        products = tl.dot(queries, items, out_dtype=tl.int32)
    else:
        products = tl.dot(queries, items, out_dtype=tl.float32)
    return products


@triton.jit
def _best(products, ROWS: tl.constexpr, ITEMS: tl.constexpr, SLOTS: tl.constexpr):
    """The largest of each item's columns, which lie as ``_columns`` says: [ROWS, ITEMS]."""
    if SLOTS == 1:
        return products
    LANES: tl.constexpr = ITEMS if ITEMS < 4 else 4
    WIDTH: tl.constexpr = 8 // LANES
    slots = tl.reshape(products, (ROWS, ITEMS // LANES, SLOTS // WIDTH, LANES, WIDTH))
    # First what lies in a thread, so that less of it crosses threads where there are fewer than four items.
    return tl.reshape(tl.max(tl.max(slots, axis=2), axis=3), (ROWS, ITEMS))


@triton.jit(do_not_specialize=["score_stride"])
def piece_scores(
    queries,  # [P, D] as packed
    factors,  # float32 [P]
    group_pieces,  # int32 [P / GROUP]: the piece that ends with a group; -1: none
    step_ends,  # int32 [P / STEP]: whether a piece ends in a step
    job_rows,  # int32 [J + 1]: where each job's packed rows begin, a multiple of STEP unless GROUP is 1
    vectors,  # [T, D]
    offsets,  # int64 [N + 1]
    candidates,  # int64 [C] rows of items, job after job; without GATHER unused
    job_candidates,  # int64 [J + 1]: where each job's candidates begin; without GATHER there is one job, of N
    scores,  # float32 [pieces, score_stride], written: piece, position among the job's candidates
    score_stride,
    D: tl.constexpr,
    STEP: tl.constexpr,
    ITEMS: tl.constexpr,
    SLOTS: tl.constexpr,
    GROUP: tl.constexpr,
    WHOLE: tl.constexpr,  # no item has more vectors than SLOTS
    GATHER: tl.constexpr,
    PRODUCT: tl.constexpr,  # the type that is multiplied
):
    """MaxSim of every piece of a job with each of its candidates; the grid is [tiles of the most candidates, J]."""
    GROUPS: tl.constexpr = STEP // GROUP
    tile, job = tl.program_id(0), tl.program_id(1)
    first = tl.load(job_candidates + job)
    count = tl.load(job_candidates + job + 1) - first
    if tile * ITEMS >= count:
        return
    item, place = _columns(ITEMS, SLOTS)
    rows = tl.minimum(tile.to(tl.int64) * ITEMS + item, count - 1)
    if GATHER:
        rows = tl.load(candidates + first + rows)
    begins, ends = tl.load(offsets + rows), tl.load(offsets + rows + 1)
    items = _load_items(vectors, _slot_tokens(begins, ends, place), D, PRODUCT)
    longest = tl.max(ends - begins, axis=0).to(tl.int32)

    position = tile.to(tl.int64) * ITEMS + tl.arange(0, ITEMS)
    real = position < count
    row_end = tl.load(job_rows + job + 1)
    sums = tl.zeros((STEP, ITEMS), tl.float32)
    for row_begin in range(tl.load(job_rows + job), row_end, STEP):
        row = row_begin + tl.arange(0, STEP)
        live = row < row_end
        query = _load_queries(queries, row, live, D).to(PRODUCT)
        best = _best(_product(query, items), STEP, ITEMS, SLOTS)
        if not WHOLE:
            for begin in range(SLOTS, longest, SLOTS):
                more = _load_items(vectors, _slot_tokens(begins, ends, begin + place), D, PRODUCT)
                best = tl.maximum(best, _best(_product(query, more), STEP, ITEMS, SLOTS))
        sums += best.to(tl.float32) * tl.load(factors + row, mask=live, other=0.0)[:, None]
        if GROUP == 1:  # and every piece is one row
            piece = tl.load(group_pieces + row, mask=live, other=0).to(tl.int64)
            target = scores + piece[:, None] * score_stride + position[None, :]
            tl.store(target, sums, mask=live[:, None] & real[None, :])
            sums = tl.zeros((STEP, ITEMS), tl.float32)
        elif tl.load(step_ends + row_begin // STEP):
            pieces = group_pieces + row_begin // GROUP
            piece = tl.load(pieces + tl.arange(0, GROUPS)).to(tl.int64)
            target = scores + piece[:, None] * score_stride + position[None, :]
            grouped = tl.sum(tl.reshape(sums, (GROUPS, GROUP, ITEMS)), axis=1)
            tl.store(target, grouped, mask=(piece >= 0)[:, None] & real[None, :])
            ended = tl.load(pieces + tl.arange(0, STEP) // GROUP) >= 0
            sums = tl.where(ended[:, None], 0.0, sums)


@triton.jit(do_not_specialize=["piece_stride", "score_stride"])
def add_pieces(
    pieces,  # float32 [pieces, piece_stride]
    unit_pieces,  # int32 [G + 1]: each unit's first piece
    unit_jobs,  # int32 [G]
    job_candidates,  # int64 [J + 1]
    scores,  # float32 [G, score_stride], written
    piece_stride,
    score_stride,
    BLOCK: tl.constexpr,
):
    """Each unit's score, the sum of its pieces in their order; the grid is [blocks, G]."""
    column = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    unit = tl.program_id(1)
    job = tl.load(unit_jobs + unit)
    real = column < tl.load(job_candidates + job + 1) - tl.load(job_candidates + job)
    piece_stride, score_stride = piece_stride.to(tl.int64), score_stride.to(tl.int64)
    total = tl.zeros((BLOCK,), tl.float32)
    for piece in range(tl.load(unit_pieces + unit), tl.load(unit_pieces + unit + 1)):
        total += tl.load(pieces + piece * piece_stride + column, mask=real, other=0.0)
    tl.store(scores + unit * score_stride + column, total, mask=real)


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
        query = _load_queries(queries, row, live, D).to(PRODUCT)
        best = tl.full((ROWS,), float("-inf"), tl.float32)
        token = tl.zeros((ROWS,), tl.int32)
        for skipped in range(0, (end - begin).to(tl.int32), SLOTS):
            items = _load_items(vectors, _slot_tokens(begin, end, skipped + place), D, PRODUCT)
            products = _product(query, items).to(tl.float32)
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


INTERPRETED = not isinstance(piece_scores, triton.JITFunction)


def product_type(queries: torch.dtype) -> tl.dtype:
    """PRODUCT for packed rows: their type. The interpreter multiplies bfloat16 wrongly, and float32 holds it."""
    if queries == torch.bfloat16 and INTERPRETED:
        return tl.float32
    return {
        torch.float16: tl.float16, torch.bfloat16: tl.bfloat16, torch.int8: tl.int8, torch.float8_e4m3fn: tl.float8e4nv,
    }[queries]  # fmt: skip
