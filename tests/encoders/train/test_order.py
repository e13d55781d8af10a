import numpy as np
import pytest

from quiver.encoders._train import Loop
from quiver.encoders._train.order import Order
from quiver.encoders._train.schedule import rate
from quiver.errors import BadData, BadSpec


def test_an_epoch_gives_every_row_once_but_for_the_last_short_batch():
    order = Order.of(23, 5, seed=1)
    rows = np.concatenate([order.rows(step) for step in range(order.steps)])
    assert order.steps == 4 and len(set(rows)) == 20 and set(rows) < set(range(23))


def test_epochs_differ_and_a_step_can_be_asked_for_by_itself():
    order = Order.of(23, 5, seed=1)
    first = [order.rows(step).tolist() for step in range(12)]
    assert Order.of(23, 5, seed=1).rows(9).tolist() == first[9]
    assert first[:4] != first[4:8] != first[8:]
    assert Order.of(23, 5, seed=2).rows(9).tolist() != first[9]


def test_ranks_share_the_rows_that_one_rank_of_their_joined_batch_has():
    one = Order.of(23, 6, seed=1)
    ranks = [Order.of(23, 2, seed=1, rank=rank, ranks=3) for rank in range(3)]
    for step in range(9):
        assert np.concatenate([each.rows(step) for each in ranks]).tolist() == one.rows(step).tolist()
        draws = [each.generator(step).random() for each in ranks]
        assert len({*draws, *(each.torch_seed(step) for each in ranks)}) == 6


def test_a_small_set_is_one_batch_and_none_is_refused():
    assert Order.of(5, 64, seed=0, ranks=2).batch == 2
    with pytest.raises(BadData, match=r"1 rows, and 2 rank"):
        Order.of(1, 64, seed=0, ranks=2)


def test_cosine_rises_from_0_and_falls_to_0():
    loop = Loop(steps=100, batch=1, rate=2.0, warmup=20)
    assert [rate(loop, step) for step in (0, 9, 19, 20)] == pytest.approx([0.1, 1.0, 2.0, 2.0])
    assert rate(loop, 60) == pytest.approx(1.0)  # the middle of the half period
    assert rate(loop, 100) == pytest.approx(0.0)


def test_halve_halves_every_so_many_updates_and_constant_stays():
    loop = Loop(steps=9, batch=1, rate=8.0, schedule="halve", halve_every=3)
    assert [rate(loop, step) for step in range(9)] == [8, 8, 8, 4, 4, 4, 2, 2, 2]
    assert rate(Loop(steps=9, batch=1, rate=8.0, schedule="constant"), 8) == 8


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"steps": -1}, "steps must be at least 0"),
        ({"epochs": 1.0}, "steps and epochs set the same quantity"),
        ({"rate": float("nan")}, "rate and clip must be positive"),
        ({"schedule": "halve"}, "needs halve_every"),
        ({"optimiser": "sgd"}, "optimiser must be one of adam, adamw"),
        ({"decay": -1.0}, "decay must be at least 0"),
    ],
)
def test_a_loop_that_makes_no_sense_is_refused(setting, says):
    with pytest.raises(BadSpec, match=says):
        Loop(**{"steps": 1, "batch": 1, "rate": 1.0, **setting})
