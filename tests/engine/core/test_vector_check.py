"""The rule for vectors holds on both its paths: for one vector, and for many."""

import numpy as np
import pytest

from quiver.engine.core.vector_check import faults

LENGTHS = {0.0: "zeros", 1e-40: "short", 1e-20: "short", 1e-17: None, 1.0: None, 1e17: None, 1e19: "long", 1e38: "long"}


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.filterwarnings("error")
def test_one_vector_is_judged_as_among_many(metric):
    made = np.eye(8, 5, dtype=np.float64)
    made[:, 0] = list(LENGTHS)
    made[:, 1:] = 0
    data = np.vstack(
        [made.astype(np.float32), np.full((1, 5), np.nan, np.float32), np.full((1, 5), np.inf, np.float32)]
    )
    expected = {n for n, why in enumerate(LENGTHS.values()) if why and (why != "zeros" or metric == "cosine")} | {8, 9}
    assert set(faults(data, metric)) == expected
    assert {n for n in range(len(data)) if faults(data[n : n + 1], metric)} == expected
    assert faults(data[:0], metric) == {}


def test_many_components_of_moderate_size_are_no_fault():
    assert faults(np.full((3, 4096), 1e15, np.float32), "cosine") == {}
    assert "6.4e+17" not in str(faults(np.full((1, 4096), 1e17, np.float32), "l2"))
    assert list(faults(np.full((2, 4096), 1e17, np.float32), "l2")) == [0, 1]
