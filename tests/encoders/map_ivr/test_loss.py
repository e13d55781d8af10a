"""Losses of MAP-IVR against hand-computed values and torch.distributions, and where their gradients go."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from quiver.encoders.map_ivr.config import LOSSES, Config
from quiver.encoders.map_ivr.loss import ACTIVE, classify, kl, losses, orthogonal, rebuild, triplet, watched
from quiver.encoders.map_ivr.model import MapIvr, Output, scaled
from quiver.errors import BadSpec

B = 12


def batch(config, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        image, video = torch.randn(B, config.image.width), torch.randn(B, config.video.width)
    return image, video, torch.arange(B) % len(config.classes)


def model(**changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MapIvr(Config.tiny(**changes)).train()


def test_orthogonal_is_the_mean_cosine_and_zero_of_disjoint_supports():
    a = torch.tensor([[3.0, 0.0, 0.0], [0.0, 2.0, 2.0]])
    b = torch.tensor([[0.0, 5.0, 1.0], [0.0, 1.0, 1.0]])
    assert orthogonal(a, b).item() == pytest.approx(0.5)  # 0 and 1
    assert orthogonal(a, 7 * b).item() == pytest.approx(0.5)
    assert orthogonal(a[:1], b[:1]).item() == 0


def test_orthogonal_of_a_dead_row_is_zero_and_not_nan():
    dead = torch.zeros(2, 3, requires_grad=True)
    value = orthogonal(dead, torch.ones(2, 3))
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(dead.grad).all()


def test_kl_is_that_of_torch_distributions_and_adds_up_over_dimensions():
    torch.manual_seed(0)
    mean, logvar = torch.randn(9, 5, dtype=torch.float64), torch.randn(9, 5, dtype=torch.float64)
    expected = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl(mean, logvar), expected.mean(dim=0))
    torch.testing.assert_close(kl(mean, logvar).sum(), expected.sum(dim=1).mean())
    assert (kl(mean, logvar) > 0).all()
    assert kl(torch.zeros(3, 4), torch.zeros(3, 4)).abs().max() == 0


def test_classification_of_equal_logits_costs_twice_log_c_and_is_symmetric():
    config = Config.tiny(classes=7, orthogonal=0, kl=0, rebuild=0)
    image, video, label = batch(config)
    out = model(classes=7)(image, video)._replace(logits_u=torch.zeros(B, 7), logits_v=torch.zeros(B, 7))
    assert losses(out, video, label, config)["loss"].item() == pytest.approx(2 * math.log(7))
    out = out._replace(logits_u=torch.randn(B, 7))
    swapped = out._replace(logits_u=out.logits_v, logits_v=out.logits_u)
    torch.testing.assert_close(losses(out, video, label, config), losses(swapped, video, label, config))


def test_rebuild_is_the_squared_distance():
    assert rebuild(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 5.0]])).tolist() == [4.0, 9.0]


def test_both_reductions_have_the_same_ratio_of_kl_and_rebuild():
    image, video, label = batch(Config.tiny())
    out = model()(image, video)
    mean, total = (losses(out, scaled(video), label, Config.tiny(reduction=each)) for each in ("mean", "sum"))
    width = Config.tiny().video.width
    for name in ("kl", "rebuild"):
        torch.testing.assert_close(total[name], width * mean[name])
    torch.testing.assert_close(total["classify"], mean["classify"])
    torch.testing.assert_close(total["kl"], kl_divergence(*_normals(out)).sum(dim=1).mean())


def _normals(out: Output):
    return Normal(out.mean, (0.5 * out.logvar).exp()), Normal(0.0, 1.0)


def test_triplet_of_a_hand_computed_batch():
    still = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    clip = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    # cosines: rows (1, .6, 0), (0, .8, 1), (1, .6, 0); classes 0, 1, 0
    # still to clip: relu(.2+.6-1)=0, relu(.2+1-.8)=.4, relu(.2+.6-0)=.8; clip to still: 0, relu(.2+.6-.8)=0, 1.2
    expected = ((0 + 0.4 + 0.8) / 3 + (0 + 0 + 1.2) / 3) / 2
    assert triplet(still, clip, torch.tensor([0, 1, 0]), margin=0.2).item() == pytest.approx(expected)


def test_triplet_without_another_class_has_no_negative():
    still = torch.randn(4, 3)
    assert triplet(still, still, torch.zeros(4, dtype=torch.int64), margin=0.2).item() == 0


PARTS = ("motion", "appearance", "still", "mean", "logvar", "decode", "classify", "confidence")
#: The parts that each loss trains, of Liu et al.'s figure.
REACHES = {
    "classify": {"appearance", "still", "classify"},
    "orthogonal": {"motion", "appearance"},
    "kl": {"motion", "mean", "logvar"},
    "rebuild": {"motion", "mean", "logvar", "still", "decode"},
    "triplet": {"appearance", "still"},
}


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_trains_its_parts_and_no_other(name):
    config = Config.tiny(**{each: float(each == name) for each in LOSSES})
    net = model()
    image, video, label = batch(config)
    losses(net(image, video), scaled(video), label, config)["loss"].backward()
    reached = {
        part
        for part in PARTS
        if any((p.grad is not None and p.grad.abs().max() > 0) for p in getattr(net, part).parameters())
    }
    assert reached == REACHES[name]


def test_only_losses_with_a_weight_are_computed_and_the_sum_is_weighted():
    config = Config.tiny(classify=2.0, orthogonal=0.0, kl=0.5, rebuild=3.0)
    image, video, label = batch(config)
    found = losses(model()(image, video), scaled(video), label, config)
    assert set(found) == {"loss", "classify", "kl", "rebuild"}
    total = 2 * found["classify"] + 0.5 * found["kl"] + 3 * found["rebuild"]
    torch.testing.assert_close(found["loss"], total)


def test_active_dimensions_and_dead_rows_are_counted():
    image, video, _ = batch(Config.tiny())
    out = model()(image, video)
    logvar = torch.zeros(B, 4)
    mean = torch.zeros(B, 4)
    mean[:, 0] = 2 * ACTIVE**0.5  # KL 2 ACTIVE
    dead = out.motion.clone()
    dead[:6] = 0
    alive = torch.ones(B, 8)
    found = watched(out._replace(mean=mean, logvar=logvar, motion=dead, appearance_v=alive, appearance_u=alive))
    expected = (dead == 0).all(dim=1).sum().item() / (3 * B)
    assert found["active"].item() == 0.25
    assert found["dead"].item() == pytest.approx(expected)
    assert expected >= 6 / (3 * B)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kl": -1.0}, "kl must be finite"),
        ({"rebuild": math.inf}, "rebuild must be finite"),
        ({"blend": 1.5}, "blend must be from 0 to 1"),
        ({"reduction": "median"}, "reduction must be one of mean, sum"),
        ({"classify": 0.0, "orthogonal": 0.0, "kl": 0.0, "rebuild": 0.0}, "needs a loss"),
        ({"dim": 0}, "dim must be at least 1"),
        ({"dropout": 1.0}, "dropout must be from 0"),
        ({"video": {"spec": "", "size": 3}}, "unknown field 'size'"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(wrong, says):
    with pytest.raises(BadSpec, match=says):
        Config.tiny(**wrong) if "video" not in wrong else Config(**wrong)


def test_classification_is_cross_entropy():
    logits = torch.tensor([[0.0, math.log(3.0)]])
    assert classify(logits, torch.tensor([1])).item() == pytest.approx(-math.log(0.75))
