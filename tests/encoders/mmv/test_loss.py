import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.encoders.mmv.golden import load, tensor
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, softplus

from quiver.encoders.mmv.config import Config
from quiver.encoders.mmv.loss import contrast, milnce, nce

LOSSES = {name: tensor(array) for name, array in load("mmv_losses").items()}
MILNCE = {name: tensor(array) for name, array in load("milnce").items()}
TAU = 0.07


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def scores(video_BD: Tensor, text_BKD: Tensor) -> Tensor:
    return torch.einsum("id,jkd->ijk", normalize(video_BD, dim=-1), normalize(text_BKD, dim=-1)) / TAU


def assert_near(value: Tensor, golden: Tensor, rel: float = 1e-5, *, least: float = 1e-3) -> None:
    assert (value.detach() - golden).abs().max() <= rel * max(float(golden.abs().max()), least)


def assert_slope(value: Tensor, golden: Tensor) -> None:
    """Near the floor of log 2 the references' float32 gradients are differences of equal numbers: 1e-6 is theirs."""
    assert_near(value, golden, least=0.1)


CASES = {
    "nce_va_tau0.07": ("va", TAU, None),
    "nce_va_tau1": ("va", 1.0, None),
    "nce_va_audio_mask_tau0.07": ("va", TAU, "audio"),
    "milnce_vt_K3_tau0.07": ("vt", TAU, None),
    "milnce_vt_K3_text_mask_tau0.07": ("vt", TAU, "text"),
    "milnce_vt_K3_all_masked_tau0.07": ("vt", TAU, "none"),
    "milnce_vt_K3_one_valid_tau0.07": ("vt", TAU, "one"),
}


def both(case: str, **options: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Run a case; returns its loss and the gradients of video and the other."""
    pair, tau, masking = CASES[case]
    video = LOSSES[f"in/video_to_{'audio' if pair == 'va' else 'text'}"].clone().requires_grad_()
    other = LOSSES["in/audio_to_video" if pair == "va" else "in/text_to_video_B*K"].clone().requires_grad_()
    one = torch.zeros(6, dtype=torch.bool)
    if masking == "one":  # the golden file does not say which: the clip whose narrations have a gradient
        one = LOSSES[f"asymmetric/{case}/out/grad_embed_2"].view(6, 3, 8).abs().amax((1, 2)) > 0
    masks = {None: None, "none": ~one & False, "one": one}
    mask = masks[masking] if masking in masks else LOSSES[f"in/{masking}_mask"] > 0
    if pair == "va":
        loss = nce(video, other, temperature=tau, mask=mask, **options)
    else:
        told = None if mask is None else mask[:, None].expand(6, 3)
        loss = milnce(video, other.view(6, 3, 8), temperature=tau, mask=told, **options)
    loss.backward()
    assert video.grad is not None and other.grad is not None
    return loss.detach(), video.grad, other.grad


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_are_the_reference_s_with_the_positive_counted_twice(case: str) -> None:
    loss, video, other = both(case, count_positive_twice=True)
    assert_near(loss, LOSSES[f"asymmetric/{case}/out/loss"])
    assert_slope(video, LOSSES[f"asymmetric/{case}/out/grad_embed_1"])
    assert_slope(other, LOSSES[f"asymmetric/{case}/out/grad_embed_2"])


@pytest.mark.parametrize("case", CASES)
def test_losses_are_the_paper_s_formula(case: str) -> None:
    assert_near(both(case)[0], LOSSES[f"own_formula_positive_once/{case}/out/loss_float64"])


@pytest.mark.parametrize("case", ["B4_K1", "B3_K5", "B7_K2", "B1_K3", "B4_K3_large"])
def test_raw_products_give_mil_nce_as_published(case: str) -> None:
    video = MILNCE[f"in/{case}/video"].clone().requires_grad_()
    text = MILNCE[f"in/{case}/text"].clone().requires_grad_()
    loss = milnce(
        video, text.view(len(video), -1, video.shape[1]), temperature=1, count_positive_twice=True, normalise=False
    )
    loss.backward()
    assert_near(loss, MILNCE[f"out/{case}/loss"])
    assert video.grad is not None and text.grad is not None
    assert_slope(video.grad, MILNCE[f"out/{case}/grad_video"])
    assert_slope(text.grad, MILNCE[f"out/{case}/grad_text"])


@pytest.mark.parametrize(("case", "text"), [("K3", "in/text_to_video_B*K"), ("K1", "in/audio_to_video")])
def test_raw_products_give_mil_nce_on_the_other_file(case: str, text: str) -> None:
    video = LOSSES["in/video_to_text" if case == "K3" else "in/video_to_audio"].clone().requires_grad_()
    loss = milnce(
        video,
        LOSSES[text].view(6, -1, video.shape[1]),
        temperature=1,
        count_positive_twice=True,
        normalise=False,
    )
    loss.backward()
    assert video.grad is not None
    assert_near(loss, LOSSES[f"milnce_howto100m/{case}/out/loss"])
    assert_slope(video.grad, LOSSES[f"milnce_howto100m/{case}/out/grad_video"])


def test_zero_vector_is_no_accident() -> None:
    video = LOSSES["in/video_to_audio"].clone()
    video[2] = 0
    loss = nce(video, LOSSES["in/audio_to_video"], temperature=TAU, count_positive_twice=True)
    assert_near(loss, LOSSES["asymmetric/zero_video_vector_row2/out/loss"])


@pytest.mark.parametrize(("vt", "va"), [(1, 1), (10, 1), (1, 10)])
def test_total_is_the_weighted_sum(vt: int, va: int) -> None:
    outputs = {
        ("video", "va"): LOSSES["in/video_to_audio"],
        ("audio", "va"): LOSSES["in/audio_to_video"],
        ("video", "vt"): LOSSES["in/video_to_text"],
        ("text", "vt"): LOSSES["in/text_to_video_B*K"].view(6, 3, 8),
    }
    config = Config(graph="disjoint", weight_va=va, weight_vt=vt, count_positive_twice=True)
    batch = {"told": (LOSSES["in/text_mask"] > 0)[:, None].expand(6, 3)}
    golden = LOSSES[f"asymmetric/total_vidtxt{vt}_vidaud{va}/out/loss"]  # divided by the sum of the weights
    terms = contrast(outputs, batch, config)
    assert_near(terms["loss"] / (va + vt), golden)
    assert terms["loss"] == pytest.approx(va * float(terms["va"]) + vt * float(terms["vt"]), rel=1e-6)


def test_one_candidate_is_plain_nce() -> None:
    video, audio = normal(7, 5), normal(7, 5, seed=1)
    assert milnce(video, audio[:, None], temperature=TAU) == nce(video, audio, temperature=TAU)


def test_nce_is_cross_entropy_over_the_positive_and_both_directions_of_negatives() -> None:
    video, audio = normal(5, 4), normal(5, 4, seed=1)
    s = scores(video, audio[:, None])[..., 0]
    rows = [torch.cat([s[i, i][None], s[i, [j for j in range(5) if j != i]], s[[j for j in range(5) if j != i], i]])
            for i in range(5)]  # fmt: skip
    wanted = cross_entropy(torch.stack(rows), torch.zeros(5, dtype=torch.long))
    assert nce(video, audio, temperature=TAU) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize(("twice", "wanted"), [(False, math.log(7)), (True, math.log(8))])
def test_equal_scores_give_the_logarithm_of_what_is_compared(twice: bool, wanted: float) -> None:
    alike = torch.ones(4, 3)
    assert nce(alike, alike, temperature=TAU, count_positive_twice=twice) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(("twice", "wanted"), [(False, 0.0), (True, math.log(2))])
def test_floor_is_zero_and_log_2_where_positives_count_twice(twice: bool, wanted: float) -> None:
    apart = torch.eye(6)
    assert nce(apart, apart, temperature=0.01, count_positive_twice=twice) == pytest.approx(wanted, abs=1e-6)


def test_small_losses_keep_their_digits() -> None:
    # s is 1 / 0.07 on the diagonal and 0 elsewhere: log(1 + 6 exp(-1 / 0.07))
    loss = nce(torch.eye(4), torch.eye(4), temperature=TAU)
    assert loss == pytest.approx(math.log1p(6 * math.exp(-1 / TAU)), rel=1e-5)


def test_repeated_narrations_and_their_order_change_nothing() -> None:
    video, text = normal(6, 5), normal(6, 3, 5, seed=1)
    loss = milnce(video, text, temperature=TAU)
    torch.testing.assert_close(milnce(video, text.repeat(1, 4, 1), temperature=TAU), loss)
    torch.testing.assert_close(milnce(video, text.flip(1), temperature=TAU), loss)


def test_lengths_and_order_of_the_batch_change_nothing_and_roles_may_be_swapped() -> None:
    video, audio = normal(6, 5), normal(6, 5, seed=1)
    loss, order = nce(video, audio, temperature=TAU), torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(nce(7 * video, audio / 9, temperature=TAU), loss)
    torch.testing.assert_close(nce(video[order], audio[order], temperature=TAU), loss)
    torch.testing.assert_close(nce(audio, video, temperature=TAU), loss)


def test_absent_narrations_do_not_matter_and_get_no_gradient() -> None:
    video, text = normal(5, 4), normal(5, 3, 4, seed=1).requires_grad_()
    told = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 0, 0], [1, 1, 1], [0, 1, 1]], dtype=torch.bool)
    other = torch.where(told[..., None], text, 100 * normal(5, 3, 4, seed=2))
    loss = milnce(video, text, temperature=TAU, mask=told)
    torch.testing.assert_close(milnce(video, other, temperature=TAU, mask=told), loss, rtol=0, atol=0)
    loss.backward()
    assert text.grad is not None
    assert bool((text.grad[~told] == 0).all()) and bool((text.grad[told] != 0).any())


def test_absent_candidate_is_as_if_it_were_not_there() -> None:
    video, text = normal(5, 4), normal(5, 3, 4, seed=1)
    told = torch.ones(5, 3, dtype=torch.bool)
    told[:, 1] = False
    two = milnce(video, text[:, [0, 2]], temperature=TAU)
    torch.testing.assert_close(milnce(video, text, temperature=TAU, mask=told), two)


def test_video_of_a_clip_without_narration_stays_a_negative() -> None:
    video, text = normal(4, 4), normal(4, 2, 4, seed=1)
    told = torch.tensor([1, 1, 1, 0], dtype=torch.bool)[:, None].expand(4, 2)
    s = scores(video, text)
    wanted = []
    for i in range(3):
        row, column = s[i, [j for j in range(3) if j != i]], s[[j for j in range(4) if j != i], i]
        wanted.append(torch.cat([s[i, i], row.flatten(), column.flatten()]).logsumexp(0) - s[i, i].logsumexp(0))
    loss = milnce(video, text, temperature=TAU, mask=told)
    torch.testing.assert_close(loss, torch.stack(wanted).mean())


@pytest.mark.parametrize("twice", [False, True])
def test_batch_without_any_narration_costs_nothing(twice: bool) -> None:
    video, text = normal(3, 4).requires_grad_(), normal(3, 2, 4, seed=1).requires_grad_()
    none = torch.zeros(3, 2, dtype=torch.bool)
    loss = milnce(video, text, temperature=TAU, mask=none, count_positive_twice=twice)
    loss.backward()
    assert video.grad is not None and text.grad is not None
    assert (float(loss.detach()), float(video.grad.abs().max()), float(text.grad.abs().max())) == (0, 0, 0)


def test_lone_clip_has_nothing_to_be_told_from() -> None:
    video = normal(1, 4).requires_grad_()
    loss = milnce(video, normal(1, 3, 4, seed=1), temperature=TAU)
    loss.backward()
    assert video.grad is not None
    assert (float(loss.detach()), float(video.grad.abs().max())) == (0, 0)


def test_clips_of_one_group_are_not_each_other_s_negatives() -> None:
    video, audio = normal(4, 5), normal(4, 5, seed=1)
    group = torch.tensor([0, 1, 1, 2])
    s = scores(video, audio[:, None])[..., 0]
    wanted = []
    for i in range(4):
        others = [j for j in range(4) if group[j] != group[i]]
        logits = torch.cat([s[i, i][None], s[i, others], s[others, i]])
        wanted.append(logits.logsumexp(0) - s[i, i])
    loss = nce(video, audio, temperature=TAU, same=group[:, None] == group)
    torch.testing.assert_close(loss, torch.stack(wanted).mean())
    outputs = {("video", "va"): video, ("audio", "va"): audio}
    torch.testing.assert_close(contrast(outputs, {"group": group}, Config(text=None))["va"], loss)


def test_several_right_narrations_cost_less_than_the_best_alone() -> None:
    s = scores(normal(5, 4), normal(5, 3, 4, seed=1))
    loss_B = []
    for i in range(5):
        others = [j for j in range(5) if j != i]
        negative = torch.cat([s[i, others].flatten(), s[others, i].flatten()]).logsumexp(0)
        alone = softplus(negative - s[i, i]).min()
        together = softplus(negative - s[i, i].logsumexp(0))
        assert together <= alone
        loss_B.append(together)
    loss = milnce(normal(5, 4), normal(5, 3, 4, seed=1), temperature=TAU)
    torch.testing.assert_close(loss, torch.stack(loss_B).mean())


def test_half_precision_of_the_caller_does_not_round_the_scores() -> None:
    video, audio = normal(6, 16), normal(6, 16, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nce(video, audio, temperature=TAU)
    assert loss == nce(video, audio, temperature=TAU)


def test_gradient_is_the_numerical_one() -> None:
    told = torch.tensor([[1, 1], [0, 1], [0, 0]], dtype=torch.bool)

    def loss(video: Tensor, text: Tensor) -> Any:
        return milnce(video, text, temperature=0.5, mask=told, count_positive_twice=True)

    video = normal(3, 4, dtype=torch.float64).requires_grad_()
    text = normal(3, 2, 4, seed=1, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(loss, (video, text))


def test_terms_are_those_the_model_has() -> None:
    vectors = {("video", "vat"): normal(4, 8), ("text", "vat"): normal(4, 2, 8), ("audio", "vat"): normal(4, 8)}
    shared = Config(graph="shared")
    assert contrast(vectors, {}, shared).keys() == {"loss", "va", "vt"}
    assert contrast(vectors, {}, replace(shared, graph="fac")).keys() == {"loss", "vt"}


def test_sound_without_a_clip_takes_no_part_against_text() -> None:
    vectors = {("audio", "vat"): normal(4, 8), ("text", "vat"): normal(4, 2, 8, seed=1)}
    config = replace(Config(graph="shared", vat=8), video=None, weight_at=1.0)
    heard = torch.tensor([1, 1, 0, 1]) > 0
    left = {key: value[heard] for key, value in vectors.items()}
    assert torch.allclose(contrast(vectors, {"heard": heard}, config)["at"], contrast(left, {}, config)["at"])
