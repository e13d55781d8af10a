"""The four-product identity, and what a score does not depend on, in float64."""

import numpy as np
import pytest
import torch

from quiver.encoders.artemis import score

B, N, D = 5, 9, 32


@pytest.fixture
def drawn():
    torch.manual_seed(0)
    p, r, t = (torch.nn.functional.normalize(torch.randn(n, D, dtype=torch.float64), dim=1) for n in (B, B, N))
    a, b = (torch.randn(B, D, dtype=torch.float64).exp() for _ in "ab")
    return p, a, r, b, t


def both(p, a, r, b, t):
    return score.values({"explicit": score.explicit(p, a), "implicit": score.implicit(r, b)}, t).values()


def test_products_give_what_the_broadcast_form_gives(drawn, broadcast) -> None:
    for ours, slow in zip(both(*drawn), broadcast(*drawn), strict=True):
        torch.testing.assert_close(ours, slow, atol=1e-12, rtol=1e-12)


def test_products_give_what_a_loop_gives(drawn) -> None:
    p, a, r, b, t = drawn
    explicit, implicit = both(*drawn)
    for i in range(B):
        for j in range(N):
            at, bt, br = a[i] * t[j], b[i] * t[j], b[i] * r[i]
            assert explicit[i, j].item() == pytest.approx((p[i] @ at / at.norm()).item(), abs=1e-12)
            assert implicit[i, j].item() == pytest.approx((br @ bt / br.norm() / bt.norm()).item(), abs=1e-12)


def test_one_score_by_hand() -> None:
    # a * t = (3, 4) of length 5, p = (1, 0): 3 / 5. b * t = (1, 8), b * r = (0, 2): 8 / sqrt(65).
    p, a, r, b, t = (torch.tensor([row]) for row in ([1.0, 0.0], [3.0, 1.0], [0.0, 1.0], [1.0, 2.0], [1.0, 4.0]))
    explicit, implicit = both(p, a, r, b, t)
    assert explicit.item() == pytest.approx(0.6)
    assert implicit.item() == pytest.approx(8 / 65**0.5)


@pytest.mark.parametrize("place", [1, 2, 3, 4])
def test_length_of_attention_reference_and_target_does_not_matter(drawn, place) -> None:
    scaled = list(drawn)
    scaled[place] = scaled[place] * 7.5
    for before, after in zip(both(*drawn), both(*scaled), strict=True):
        torch.testing.assert_close(before, after, atol=1e-12, rtol=1e-12)


def test_reference_itself_is_the_most_similar_and_terms_are_cosines(drawn) -> None:
    p, a, r, b, t = drawn
    explicit, implicit = both(p, a, r, b, torch.cat([r, t]))
    torch.testing.assert_close(implicit[:, :B].diagonal(), torch.ones(B, dtype=torch.float64))
    assert max(explicit.abs().max(), implicit.max()) <= 1 + 1e-12
    swapped = score.value(score.implicit(t[:1].expand(B, -1), b), r)
    torch.testing.assert_close(swapped.diagonal(), implicit[:, B], atol=1e-12, rtol=1e-12)


def test_nothing_attended_to_scores_nothing_and_has_no_gradient(drawn) -> None:
    p, a, r, b, t = (x.clone() for x in drawn)
    a[0, :4], b[1, :4] = 1.0, 1.0
    a[0, 4:], b[1, 4:] = 0.0, 0.0
    t[2, :4], r[1, :4] = 0.0, 0.0
    leaves = [x.requires_grad_() for x in (p, a, r, b, t)]
    explicit, implicit = both(*leaves)
    assert explicit[0, 2] == 0
    assert (implicit[1] == 0).all()
    (explicit.sum() + implicit.sum()).backward()
    assert all(leaf.grad.isfinite().all() for leaf in leaves)


def test_peaked_attention_survives_half_precision(drawn) -> None:
    p, _, _, _, t = (x.float() for x in drawn)
    logits = torch.zeros(B, D)
    logits[:, 0] = 12.0  # exp(-12) squared is 4e-11, nothing in float16
    with torch.autocast("cpu", torch.bfloat16):
        found = score.values({"change": score.explicit(p, (logits - 12).exp().half())}, t)["change"]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, p[:, :1] * t[:, 0].sign(), atol=0.02, rtol=0)


@pytest.mark.parametrize("count", [0, 1, score.TILE, score.TILE + 3, 3 * score.TILE])
def test_scan_by_tiles_gives_the_same(drawn, count) -> None:
    p, a, r, b, _ = (x.float() for x in drawn)
    rows = np.random.default_rng(0).normal(size=(count, D)).astype(np.float32)
    rows[::5] = 0
    terms = {"change": score.explicit(p, a), "keep": score.implicit(r, b), "plain": score.Term(p)}
    before = rows.copy()
    found = score.scan(score.arrays(terms), rows)
    np.testing.assert_array_equal(rows, before)
    for name, value in score.values(terms, torch.from_numpy(rows)).items():
        assert found[name].shape == (B, count)
        np.testing.assert_allclose(found[name], value.numpy(), atol=2e-6)
