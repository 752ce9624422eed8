"""What only a GPU can show: nothing waits for it, nothing is compiled anew, and a CUDA graph can hold the whole way."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tesserank.maxsim.gpu import kernels
from tesserank.maxsim.gpu.aggregate import Channel, Hierarchy, aggregate, top_k
from tesserank.maxsim.gpu.query import pack_into
from tesserank.maxsim.gpu.scores import Candidates, token_pairs, unit_scores
from tesserank.maxsim.gpu.tile import Tile
from tests.gpu.problems import KINDS, Problem, make_problem

pytestmark = pytest.mark.gpu
TILE = Tile(8, 32)


def hierarchy(problem: Problem) -> Hierarchy:
    """Every unit a segment, every user a channel."""
    users = []
    for user in range(len(problem.units)):
        units = np.flatnonzero(problem.unit_users == user)
        spans = np.stack([units, units + 1], axis=1)
        users.append([Channel(spans, np.ones(len(units), dtype=np.float32), 1.0)])
    return Hierarchy.of(users, "softmax", 0.05, problem.resident.vectors.device)


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Whatever makes the host wait for the GPU is an error."""
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


def test_nothing_waits_for_the_gpu(request: pytest.FixtureRequest) -> None:
    problem = make_problem(0, 128, [32] * 500, [[64] * 8, [30, 7]], KINDS[0])
    tree = hierarchy(problem)
    tokens, weights = (torch.from_numpy(a).cuda() for a in (problem.tokens, problem.weights))
    queries = problem.packed()
    candidates = Candidates.all(problem.resident)
    counts = torch.full((2,), 500, dtype=torch.int64, device="cuda")
    torch.cuda.synchronize()
    request.getfixturevalue("no_waiting")
    pack_into(queries, tokens, weights, problem.resident)
    units = unit_scores(queries, problem.resident, candidates)
    scores = torch.empty((2, 500), device="cuda")
    aggregate(units, tree, counts, scores)
    positions, _ = top_k(scores, 10)
    assert positions.shape == (2, 10)


def test_other_sizes_compile_nothing() -> None:
    def run(items: int, users: int, length: int, candidates: int) -> None:
        problem = make_problem(items, 128, [32] * items, [[length, 3]] * users, KINDS[0])
        rows = [np.arange(min(candidates, items))] * users
        unit_scores(problem.packed(together=False), problem.resident, Candidates.of(rows, problem.resident), TILE)

    run(100, 2, 64, 30)
    before = sum(len(cache[0]) for cache in kernels.piece_scores.device_caches.values())
    for sizes in ((1, 1, 1, 1), (16, 1, 16, 16), (333, 3, 5, 333), (64, 2, 160, 17)):
        run(*sizes)
    assert sum(len(cache[0]) for cache in kernels.piece_scores.device_caches.values()) == before


def test_a_cuda_graph_holds_the_whole_way_and_takes_other_tokens() -> None:
    first = make_problem(0, 128, [32, 7, 1] * 100, [[64, 20], [9]], KINDS[0])
    second = make_problem(1, 128, [32, 7, 1] * 100, [[64, 20], [9]], KINDS[0])
    tree, items, queries = hierarchy(first), first.resident, first.packed()
    tokens, weights = (torch.from_numpy(a.copy()).cuda() for a in (first.tokens, first.weights))
    candidates = Candidates.all(items)
    counts = torch.full((2,), len(items), dtype=torch.int64, device="cuda")
    units = torch.empty((3, len(items)), device="cuda")
    scores = torch.empty((2, len(items)), device="cuda")

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        pack_into(queries, tokens, weights, items)
        unit_scores(queries, items, candidates, None, units)
        aggregate(units, tree, counts, scores)
        return top_k(scores, 5)

    run()  # compiles
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        positions, _ = run()
    tokens.copy_(torch.from_numpy(second.tokens))
    weights.copy_(torch.from_numpy(second.weights))
    graph.replay()
    replayed = units.clone(), positions.clone()
    expected = run()
    torch.testing.assert_close(replayed[0], units, rtol=0, atol=0)
    torch.testing.assert_close(replayed[1], expected[0], rtol=0, atol=0)
    moved = Problem(second.tokens, second.weights, second.units, first.items, first.kind)
    assert (np.abs(units.cpu().numpy() - moved.exact) <= moved.bound[:, None]).all()


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("tile", [None, Tile(8, 16), Tile(2, 64, 8), Tile(1, 128, stages=3)], ids=str)
def test_served_sizes_agree_with_the_reference(kind: tuple[str, str | None, bool], tile: Tile | None) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 64, 700).tolist()
    problem = make_problem(0, 128, lengths, [[64] * 4, [5, 17, 130, 1]], kind)
    found = unit_scores(problem.packed(), problem.resident, Candidates.all(problem.resident), tile).cpu().numpy()
    assert (np.abs(found - problem.exact) <= problem.bound[:, None]).all()
    rows = [rng.permutation(700)[:200], rng.permutation(700)[:33]]
    queries = problem.packed(together=False)
    out = unit_scores(queries, problem.resident, Candidates.of(rows, problem.resident), tile).cpu().numpy()
    for unit, user in enumerate(problem.unit_users):
        own = rows[user]
        assert (np.abs(out[unit, : len(own)] - problem.exact[unit, own]) <= problem.bound[unit]).all()


def test_the_same_again_gives_the_same_bits() -> None:
    problem = make_problem(0, 128, [32] * 3000, [[64] * 8], KINDS[0])
    candidates = Candidates.all(problem.resident)
    once, again = (unit_scores(problem.packed(), problem.resident, candidates) for _ in range(2))
    assert torch.equal(once, again)
    rows = torch.arange(4, device="cuda")[None]
    pairs = [token_pairs(problem.packed(), problem.resident, rows)[0].tokens for _ in range(2)]
    assert torch.equal(*pairs)
