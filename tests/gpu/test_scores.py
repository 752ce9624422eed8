"""The kernels against the float64 reference, whatever the shapes; interpreted, or on a GPU where there is one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tesserank.maxsim import reference as in_numpy
from tesserank.maxsim.gpu import reference as in_torch
from tesserank.maxsim.gpu.items import DeviceItems
from tesserank.maxsim.gpu.query import PLACES, Layout, pack
from tesserank.maxsim.gpu.scores import Candidates, token_pairs, unit_scores
from tesserank.maxsim.gpu.tile import Tile
from tesserank.maxsim.topk import top_k
from tests.gpu.problems import KINDS, Problem, make_problem, problems

TILES = (None, Tile(2, 16), Tile(32, 1), Tile(16, 2), Tile(4, 8), Tile(1, 64))
POISON = 1e30


def poisoned(problem: Problem, columns: int) -> torch.Tensor:
    shape = (len(problem.unit_users), columns)
    return torch.full(shape, POISON, dtype=torch.float32, device=problem.resident.vectors.device)


@given(problems, st.sampled_from(TILES))
@settings(max_examples=60)
def test_all_items_score_as_in_the_reference(problem: Problem, tile: Tile | None) -> None:
    candidates = Candidates.all(problem.resident)
    out = poisoned(problem, len(problem.items))
    found = unit_scores(problem.packed(), problem.resident, candidates, tile, out).cpu().numpy()
    error = np.abs(found - problem.exact)
    assert (error <= problem.bound[:, None]).all(), f"{error.max()} of {problem.bound.min()}"


@given(problems, st.sampled_from(TILES), st.data())
@settings(max_examples=40)
def test_every_user_has_candidates_of_its_own(problem: Problem, tile: Tile | None, data: st.DataObject) -> None:
    row = st.integers(0, len(problem.items) - 1)
    rows = [np.array(data.draw(st.lists(row, max_size=9)), dtype=np.int64) for _ in problem.units]
    candidates = Candidates.of(rows, problem.resident)
    out = poisoned(problem, candidates.most)
    found = unit_scores(problem.packed(together=False), problem.resident, candidates, tile, out).cpu().numpy()
    for unit, user in enumerate(problem.unit_users):
        count = len(rows[user])
        np.testing.assert_allclose(
            found[unit, :count], problem.exact[unit, rows[user]], rtol=0, atol=problem.bound[unit]
        )
        assert (found[unit, count:] == np.float32(POISON)).all(), "written beyond the user's candidates"


@given(problems)
@settings(max_examples=20)
def test_the_torch_reference_is_the_numpy_reference(problem: Problem) -> None:
    there = [torch.from_numpy(a) for a in (problem.tokens, problem.weights, problem.flat_starts)]
    device = problem.resident.vectors.device
    found = in_torch.unit_scores(*(tensor.to(device) for tensor in there), problem.resident)
    np.testing.assert_allclose(found.cpu().numpy().T, problem.exact, rtol=0, atol=1e-11)


@given(problems)
@settings(max_examples=25)
def test_token_pairs_are_the_best_there_are(problem: Problem) -> None:
    k = min(3, len(problem.items))
    rows = torch.arange(k).repeat(len(problem.units), 1)
    rows[0, k - 1] = -1
    found = token_pairs(problem.packed(together=False), problem.resident, rows.to(problem.resident.vectors.device))
    ones = np.ones_like(problem.weights)
    singles = np.arange(len(ones))
    bound = type(problem)(
        problem.tokens, ones, [[1] * count for count in problem.counts], problem.items, problem.kind
    ).bound
    assert len(bound) == len(singles)
    for user, (begin, count) in enumerate(zip(problem.begins, problem.counts, strict=True)):
        own = slice(begin, begin + count)
        for place, row in enumerate(rows[user].tolist()):
            tokens, similarities = (
                found[user].tokens[place].cpu().numpy(),
                found[user].similarities[place].cpu().numpy(),
            )
            if row < 0:
                assert (tokens == -1).all()
                assert np.isnan(similarities).all()
                continue
            products = problem.tokens[own].astype(np.float64) @ problem.resident.decode().item(row).T
            chosen = products[np.arange(count), tokens]
            # Which is best may differ where two are nearly equal: by no more than both may be wrong.
            assert (chosen >= products.max(axis=1) - 2 * bound[own]).all()
            assert (np.abs(similarities - products.max(axis=1)) <= bound[own]).all()


def test_the_first_of_equal_token_pairs_is_named() -> None:
    problem = make_problem(0, 16, [40, 3], [[2]], KINDS[0])
    problem.items.vectors[:] = 0.25
    problem.tokens[:] = 0.25  # products of these are exact, in whichever order they are added
    rows = torch.tensor([[0, 1]], device=problem.resident.vectors.device)
    (found,) = token_pairs(problem.packed(), problem.resident, rows)
    assert not found.tokens.any()


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_kernel_ranks_as_the_reference_does(seed: int, kind: tuple[str, str | None, bool]) -> None:
    """Ten best of 300: each is among the true ten, or so near the tenth that both may be wrong by as much."""
    rng = np.random.default_rng(seed)
    problem = make_problem(seed, 32, rng.integers(1, 20, 300).tolist(), [[12]], kind)
    found = unit_scores(problem.packed(), problem.resident, Candidates.all(problem.resident))[0].cpu().numpy()
    exact, best = problem.exact[0], top_k(found, 10)
    tenth = exact[top_k(exact, 10)][-1]
    assert (exact[best] >= tenth - 2 * problem.bound[0]).all()
    if kind[2]:  # with wide queries, hardly another
        assert len(set(best.tolist()) & set(top_k(exact, 10).tolist())) >= 9


def test_without_users_items_or_candidates_there_are_no_scores() -> None:
    problem = make_problem(0, 8, [2, 1], [[1, 2], [3]], KINDS[0])
    queries = problem.packed(together=False)
    nobody = [np.empty(0, dtype=np.int64)] * 2
    assert unit_scores(queries, problem.resident, Candidates.of(nobody, problem.resident)).shape == (3, 0)
    assert token_pairs(queries, problem.resident, torch.empty((2, 0), dtype=torch.int64))[0].tokens.shape == (0, 3)
    nothing = make_problem(0, 8, [], [[1, 2]], KINDS[0])
    assert unit_scores(nothing.packed(), nothing.resident, Candidates.all(nothing.resident)).shape == (2, 0)
    silence = make_problem(0, 8, [2, 1], [], KINDS[0])
    empty = torch.zeros((0, 8)), torch.zeros(0)
    queries = pack(*(t.to(silence.resident.vectors.device) for t in empty), Layout.of([], []), silence.resident)
    assert unit_scores(queries, silence.resident, Candidates.of([], silence.resident)).shape == (0, 0)


def test_kernels_are_not_let_loose_on_what_is_not_there() -> None:
    problem = make_problem(0, 8, [2, 1], [[1], [2]], KINDS[0])
    for rows in ([0, 2], [-1]):
        with pytest.raises(IndexError, match="but there are 2 items"):
            Candidates.of([np.array(rows), np.array([0])], problem.resident)
    three = Candidates.of([np.array([0])] * 3, problem.resident)
    with pytest.raises(ValueError, match="candidates of 3 jobs, queries of 2"):
        unit_scores(problem.packed(together=False), problem.resident, three)
    with pytest.raises(ValueError, match="query tokens of 7 dimensions, item vectors of 8"):
        pack(torch.zeros((1, 7)), torch.ones(1), Layout.of([1], [np.zeros(1, np.int64)]), problem.resident)


@pytest.mark.filterwarnings("ignore:All-NaN slice")  # numpy's, in the interpreter
def test_a_token_that_is_no_number_spoils_its_own_unit_alone() -> None:
    problem = make_problem(0, 8, [2, 3], [[1, 2, 1], [2]], KINDS[0])
    problem.tokens[1, 3] = np.nan
    found = unit_scores(problem.packed(), problem.resident, Candidates.all(problem.resident)).cpu().numpy()
    assert np.isfinite(found[[0, 2, 3]]).all()


unit_lengths = st.lists(st.lists(st.integers(1, 70), min_size=1, max_size=12), max_size=4)


@given(unit_lengths | st.lists(st.lists(st.just(1), min_size=1), max_size=4), st.booleans())
def test_every_token_lies_in_its_unit_and_pieces_end_in_order(units: list[list[int]], together: bool) -> None:
    """Read as the kernel does: place by place, step after step, every group adds to the next piece that ends there."""
    starts = [np.concatenate([[0], np.cumsum(own)[:-1]]).astype(np.int64) for own in units]
    layout = Layout.of([sum(own) for own in units], starts, together)
    lengths = [length for own in units for length in own]
    np.testing.assert_array_equal(np.sort(layout.sources[layout.sources >= 0]), np.arange(sum(lengths)))
    tokens_of_piece: list[list[int]] = [[] for _ in range(layout.pieces)]
    places = 1 if layout.group == 1 else PLACES
    for begin, end in pairwise(layout.job_rows.tolist()):
        rows = layout.sources[begin:end].reshape(-1, places, layout.group)
        ends = layout.group_pieces[begin // layout.group : end // layout.group].reshape(-1, places)
        for place in range(places):
            waiting: list[int] = []
            for group, piece in zip(rows[:, place], ends[:, place], strict=True):
                waiting += group[group >= 0].tolist()
                if piece >= 0:
                    tokens_of_piece[piece], waiting = waiting, []
            assert not waiting
    assert layout.jobs == (1 if together else len(units))
    for unit, length in enumerate(lengths):
        own = [token for p in range(*layout.unit_pieces[unit : unit + 2]) for token in tokens_of_piece[p]]
        assert own == list(range(sum(lengths[:unit]), sum(lengths[:unit]) + length))
    if layout.group > 1:
        np.testing.assert_array_equal(layout.step_ends, (layout.group_pieces.reshape(-1, PLACES) >= 0).any(axis=1))


def test_equal_units_that_fill_all_places_are_not_cut() -> None:
    starts = np.arange(8) * 64
    assert Layout.of([512], [starts]).pieces == 8
    assert Layout.of([512] * 3, [starts] * 3, together=True).pieces == 24
    assert Layout.of([160] * 8, [np.arange(5) * 32] * 8, together=True).pieces == 40


def test_zero_vectors_score_0() -> None:
    for kind in KINDS:
        problem = make_problem(0, 8, [2, 1, 3], [[2, 1]], kind)
        problem.items.vectors[:] = 0
        assert not unit_scores(problem.packed(), problem.resident, Candidates.all(problem.resident)).any()
        silent = make_problem(0, 8, [2, 1, 3], [[2, 1]], kind)
        silent.tokens[:] = 0
        assert not unit_scores(silent.packed(), silent.resident, Candidates.all(silent.resident)).any()


def test_a_maxsim_by_hand() -> None:
    problem = make_problem(0, 2, [2], [[2]], KINDS[0])
    problem.tokens[:] = [[1.0, 0.0], [0.0, 1.0]]
    problem.weights[:] = [0.5, 2.0]
    problem.items.vectors[:] = [[0.5, 0.75], [1.0, 0.0]]
    found = unit_scores(problem.packed(), problem.resident, Candidates.all(problem.resident))
    assert found.tolist() == [[0.5 * 1.0 + 2.0 * 0.75]]
    assert in_numpy.maxsim(problem.tokens, problem.weights, problem.items.vectors) == found.item()


def test_users_together_score_as_alone() -> None:
    """Shared candidates: one pass for both users gives what a pass for each gives, up to the order of sums."""
    problem = make_problem(3, 16, [3, 9, 40, 1], [[5, 70], [12]], KINDS[0])
    together = unit_scores(problem.packed(), problem.resident, Candidates.all(problem.resident)).cpu().numpy()
    rows = np.arange(4)
    queries = problem.packed(together=False)
    apart = unit_scores(queries, problem.resident, Candidates.of([rows, rows], problem.resident)).cpu().numpy()
    np.testing.assert_allclose(together, apart, rtol=0, atol=2 * problem.bound.max())
    assert isinstance(problem.resident, DeviceItems)
