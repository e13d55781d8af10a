"""Adaptive weights: the minimum on the simplex, and what happens past the pole."""

import itertools
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from quiver.encoders.fashionbert.adaptive import Rule, State, combine, solve, squared_norms, weights
from quiver.errors import BadSpec

TASKS = ("mlm", "tia", "mpm")
WILD = [0.0, 1e-300, 1.0, 2.9, 3.0, 1e30, 1.75e308, math.inf, math.nan, -1.0]


def brute(squares, *, ordered, step=200):
    """Minimise the printed objective over a grid of the simplex; the double sum over ordered pairs or over i < j."""
    grid = [(i / step, j / step, (step - i - j) / step) for i in range(step + 1) for j in range(step + 1 - i)]
    w = np.array(grid)
    gaps = sum((w[:, i] - w[:, j]) ** 2 for i, j in itertools.product(range(3), repeat=2))
    value = -0.5 * (w**2 * squares).sum(axis=1) + 0.5 * gaps * (1 if ordered else 0.5)
    return w[value.argmin()]


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(
    "squares", [(0.1, 1.0, 2.5), (0.0, 0.0, 2.0), (1.0, 1.0, 1.0), (2.0, 1.5, 0.2), (0.3, 2.8, 2.7)]
)
def test_inside_the_valid_zone_the_closed_form_is_the_minimum(squares, ordered):
    w, event = solve(np.array(squares), Rule(alpha=2.0 if ordered else 1.0, delta=0.01))
    assert event == ""
    np.testing.assert_allclose(w, brute(np.array(squares), ordered=ordered), atol=0.006)


@pytest.mark.parametrize("squares", [(10.0, 1.0, 1.0), (4.0, 1.0, 0.5), (1.0, 40.0, 39.0), (3.0, 1.0, 0.0)])
def test_past_the_pole_the_minimum_is_one_hot(squares):
    w, event = solve(np.array(squares), Rule(guard="exact", delta=0.0))
    assert event == "degenerate"
    np.testing.assert_array_equal(w, brute(np.array(squares), ordered=False))


def test_by_hand():
    np.testing.assert_allclose(solve(np.array([1.0, 2.0, 0.0]), Rule())[0], np.array([1 / 2, 1, 1 / 3]) / (11 / 6))


@pytest.mark.parametrize("mode", ["raw", "share"])
@pytest.mark.parametrize("guard", ["raise", "exact", "uniform"])
@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_weights_are_fair_for_any_numbers_at_all(mode, guard, floor):
    for squares in itertools.product(WILD, repeat=3):
        w, _ = solve(np.array(squares), Rule(mode=mode, guard=guard, floor=floor))
        assert abs(w.sum() - 1) < 1e-9
        assert (w >= 0).all()
        if not (np.isfinite(squares).all() and min(squares) >= 0):
            np.testing.assert_allclose(w, 1 / 3)


def test_equal_gradients_get_equal_weights_and_names_do_not_matter():
    for value in (0.0, 1.0, 1e30):
        np.testing.assert_allclose(solve(np.full(3, value), Rule())[0], 1 / 3)
    squares = np.array([0.1, 2.5, 1.0])
    np.testing.assert_allclose(solve(squares[[2, 0, 1]], Rule())[0], solve(squares, Rule())[0][[2, 0, 1]])


def test_a_larger_gradient_gets_a_larger_weight():
    found = [solve(np.array([square, 1.0, 0.5]), Rule(delta=0.01))[0][0] for square in np.linspace(0, 2.9, 30)]
    assert (np.diff(found) > 0).all()


def test_the_raised_pole_bounds_the_ratio_and_joins_smoothly():
    rule = Rule(delta=0.1)
    for squares in ([10.0, 1.0, 1.0], [1e30, 0.0, 0.0], [2.99, 0.0, 0.0]):
        w, event = solve(np.array(squares), rule)
        assert event == "degenerate"
        assert w.max() / w.min() <= 1 / rule.delta * (1 + 1e-9)
    below, above = (solve(np.array([2.7 + gap, 1.0, 0.5]), rule)[0] for gap in (-1e-9, 1e-9))
    np.testing.assert_allclose(below, above, atol=1e-6)


def test_one_hot_is_the_limit_of_the_closed_form():
    near, event = solve(np.array([3 - 1e-9, 1.0, 1.0]), Rule(guard="exact", delta=0.0))
    assert event == ""
    np.testing.assert_allclose(near, [1, 0, 0], atol=1e-8)


def test_a_floor_lifts_the_smallest():
    w, _ = solve(np.array([10.0, 1.0, 1.0]), Rule(guard="exact", floor=0.2))
    np.testing.assert_allclose(w, np.array([1, 0.2, 0.2]) / 1.4)


def test_shares_ignore_a_common_scale_and_raw_does_not():
    squares = np.array([0.1, 0.9, 0.4])
    shares = [solve(squares * scale, Rule(mode="share"))[0] for scale in (1e-20, 1.0, 1e20)]
    np.testing.assert_allclose(shares[0], shares[1])
    np.testing.assert_allclose(shares[2], shares[1])
    assert shares[1].max() / shares[1].min() <= 3 / 2
    assert not np.allclose(solve(squares * 3, Rule())[0], solve(squares, Rule())[0])


@pytest.fixture
def toy():
    """Three losses of one shared vector (2, 1), with gradients (1, 0), (0, 0.5) and (4, 2)."""
    x = torch.tensor([2.0, 1.0], requires_grad=True)
    return x, {"mlm": x[0] * 1.0, "tia": x[1] * 0.5, "mpm": x.square().sum()}


def test_squared_norms_are_those_of_the_gradients(toy):
    x, losses = toy
    elsewhere = torch.ones(3, requires_grad=True)
    found = squared_norms([*losses.values(), elsewhere.sum()], [x])
    assert found.tolist() == pytest.approx([1.0, 0.25, 20.0, 0.0])


def test_weights_follow_the_gradients_and_carry_none(toy):
    x, losses = toy
    state = State(TASKS)
    found = weights(losses, TASKS, shared=[x], rule=Rule(alpha=10.0), state=state)
    expected = np.array([1 / 29, 1 / 29.75, 1 / 10])
    np.testing.assert_allclose(list(found.values()), expected / expected.sum())
    combine(losses, found).backward()
    by_hand = found["mlm"] * np.array([1, 0]) + found["tia"] * np.array([0, 0.5]) + found["mpm"] * np.array([4, 2])
    np.testing.assert_allclose(x.grad.numpy(), by_hand, rtol=1e-6)


def test_official_weights_are_softmaxes_squared_within_two_and_three_sevenths():
    x = torch.zeros(3, requires_grad=True)
    values = torch.tensor([7.0, 0.69, 0.3])
    losses = {task: value + x[i] for i, (task, value) in enumerate(zip(TASKS, values, strict=True))}
    found = weights(losses, TASKS, shared=[x], rule=Rule(mode="official"), state=State(TASKS))
    np.testing.assert_allclose(list(found.values()), [0.428, 0.286, 0.286], atol=5e-4)
    rng = np.random.default_rng(0)
    for row in rng.uniform(-50, 50, (200, 3)):
        losses = {task: value + 0 * x.sum() for task, value in zip(TASKS, torch.tensor(row), strict=True)}
        found = list(weights(losses, TASKS, shared=[x], rule=Rule(mode="official"), state=State(TASKS)).values())
        assert min(found) >= 2 / 7 - 1e-12
        assert max(found) <= 3 / 7 + 1e-12


def test_a_task_that_is_not_alive_drops_out(toy):
    x, losses = toy
    rule = Rule(alpha=100.0)
    found = weights(losses, {"mlm", "tia"}, shared=[x], rule=rule, state=State(TASKS))
    expected = np.array([1 / 199, 1 / 199.75])
    np.testing.assert_allclose(list(found.values()), [*expected / expected.sum(), 0])
    broken = {**losses, "mpm": losses["mpm"] * math.nan}
    assert weights(broken, TASKS, shared=[x], rule=rule, state=State(TASKS)) == found
    assert weights(losses, {"mpm"}, shared=[x], rule=rule, state=State(TASKS)) == {"mlm": 0, "tia": 0, "mpm": 1}
    combine(broken, found).backward()
    assert torch.isfinite(x.grad).all()


def test_nothing_alive_is_a_step_without_gradients(toy):
    x, losses = toy
    state = State(TASKS)
    found = weights(losses, (), shared=[x], rule=Rule(), state=state)
    assert found == dict.fromkeys(TASKS, 0.0)
    assert state.report() == {"steps": 1, "degenerate": 0, "invalid": 0, "skipped": 1}


def test_gradients_are_averaged_over_steps_and_a_bad_step_is_forgotten(toy):
    x, losses = toy
    state, rule = State(TASKS), Rule(alpha=100.0, decay=0.75)
    weights(losses, TASKS, shared=[x], rule=rule, state=state)
    assert state.squares.tolist() == pytest.approx([1.0, 0.25, 20.0])
    doubled = {task: 2 * loss for task, loss in losses.items()}
    weights(doubled, TASKS, shared=[x], rule=rule, state=state)
    assert state.squares.tolist() == pytest.approx([1.75, 0.4375, 35.0])
    steep = {**losses, "mlm": torch.sqrt(x[0] - 2)}  # finite, with an infinite gradient
    found = weights(steep, TASKS, shared=[x], rule=rule, state=state)
    assert list(found.values()) == [1 / 3] * 3
    assert state.squares.tolist() == pytest.approx([1.75, 0.4375, 35.0])
    assert state.report()["invalid"] == 1


def test_gradients_are_measured_every_so_often_after_a_warm_up(toy):
    x, losses = toy
    state, rule = State(TASKS), Rule(alpha=100.0, every=3, warmup=2, decay=0.0)
    seen = []
    for scale in range(1, 9):
        found = weights({t: scale * loss for t, loss in losses.items()}, TASKS, shared=[x], rule=rule, state=state)
        seen.append((round(state.squares[0].item()), len(set(found.values())) == 1))
    assert seen == [(0, True), (0, True), (9, False), (16, False), (16, False), (16, False), (49, False), (49, False)]


def test_a_checkpoint_keeps_means_and_counters(toy):
    x, losses = toy
    state = State(TASKS)
    weights(losses, TASKS, shared=[x], rule=Rule(), state=state)
    again = State(TASKS)
    again.load_state_dict(state.state_dict())
    assert again.report() == {"steps": 1, "degenerate": 1, "invalid": 0, "skipped": 0}
    doubled = {task: 2 * loss for task, loss in losses.items()}
    both = [weights(doubled, TASKS, shared=[x], rule=Rule(), state=one) for one in (state, again)]
    assert both[0] == both[1]


def test_scale_makes_up_for_weights_that_sum_to_one(toy):
    _, losses = toy
    thirds = dict.fromkeys(TASKS, 1 / 3)
    assert combine(losses, thirds, scale=3.0).item() == pytest.approx(sum(loss.item() for loss in losses.values()))


#: Two ranks see other data; the second has no patch to guess.
PROGRAM = """
import json, sys
import torch
from quiver.encoders.fashionbert.adaptive import Rule, State, weights
file, rank = sys.argv[1], int(sys.argv[2])
torch.distributed.init_process_group("gloo", init_method="file://" + file, rank=rank, world_size=2)
x = torch.tensor([1.0, 2.0], requires_grad=True)
losses = {"mlm": x[0] * (1 + 2 * rank), "tia": x[1] * 0.5, "mpm": x.square().sum() * (1 - rank)}
active = {"mlm", "tia", "mpm"} if rank == 0 else {"mlm", "tia"}
found = weights(losses, active, shared=[x], rule=Rule(alpha=10.0), state=State(list(losses)))
torch.distributed.destroy_process_group()
print("FOUND" + json.dumps(found))
"""


def test_ranks_agree_on_the_mean_of_those_that_have_a_task(tmp_path):
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path / "meet")]
    settings = {"env": {**os.environ, "OMP_NUM_THREADS": "1"}, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen([*command, str(rank)], **settings) for rank in (0, 1)]
    found = [json.loads(each.communicate(timeout=120)[0].partition("FOUND")[2]) for each in running]
    squares = np.array([(1 + 9) / 2, 0.25, 20.0])
    assert found[0] == found[1]
    np.testing.assert_allclose(list(found[0].values()), (1 / (30 - squares)) / (1 / (30 - squares)).sum())


def test_rules_out_of_range_are_refused():
    for change, words in (
        ({"delta": 0.0}, "positive delta"),
        ({"mode": "best"}, "no such mode"),
        ({"alpha": 0.0}, "alpha"),
    ):
        with pytest.raises(BadSpec, match=words):
            Rule(**change)
