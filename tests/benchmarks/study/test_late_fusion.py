import numpy as np

from quiver.benchmarks.study.late_fusion import ridge


def test_the_constant_of_a_ridge_regression_is_free_of_penalty():
    weights, constant = ridge(np.array([[0.0], [2.0]], np.float32), np.array([[5.0], [7.0]], np.float32), 2.0)
    assert weights.tolist() == [[0.5]] and constant.tolist() == [5.5]
