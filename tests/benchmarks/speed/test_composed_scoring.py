import numpy as np
import pytest

from quiver.benchmarks.speed.composed_scoring import broadcast, made, products


@pytest.mark.parametrize(("rows", "queries"), [(1500, 3), (300, 1), (1, 2)])
def test_all_forms_give_the_formula_of_every_pair(rows, queries):
    base, asked = made(rows, 16, queries, seed=1)
    p, a, r, b = (each.double().numpy() for each in (asked.wanted, asked.explicit, asked.reference, asked.implicit))
    expected = np.array(
        [
            [
                p[q] @ (a[q] * t) / np.linalg.norm(a[q] * t)
                + (b[q] * r[q]) @ (b[q] * t) / np.linalg.norm(b[q] * r[q]) / np.linalg.norm(b[q] * t)
                for t in base.astype(np.float64)
            ]
            for q in range(queries)
        ]
    )
    np.testing.assert_allclose(products(base, asked), expected, atol=1e-5)
    for pairs in (65_536, 7):
        np.testing.assert_allclose(broadcast(base, asked, pairs), expected, atol=1e-5)
