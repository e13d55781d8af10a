"""Scores, loss and gradients of the seven models of the official ARTEMIS code, at widths 64 and 512."""

import pytest
import torch

from quiver.encoders.artemis import composer, loss, score
from quiver.encoders.artemis.config import Config

OURS = {
    "ARTEMIS": "artemis",
    "EM-only": "em",
    "IS-only": "is",
    "late-fusion": "late_fusion",
    "cross-modal": "cross_modal",
    "visual-search": "visual_search",
    "TIRG": "tirg",
}
HALVES = {"Transform_m.0": "explicit.transform"} | {
    f"Attention_{short}.attention.{n}": f"{half}.attention.layers.{n}"
    for short, half in (("EM", "explicit"), ("IS", "implicit"))
    for n in (0, 2)
}
TIRG = {
    "gated_feature_composer.1": "gate.0",
    "gated_feature_composer.3": "gate.2",
    "res_info_composer.1": "residual.0",
    "res_info_composer.3": "residual.2",
    "res_info_composer.5": "residual.4",
}
CASES = [("artemis_scores", name) for name in OURS] + [
    ("artemis_scores_d512", name) for name in ("ARTEMIS", "EM-only", "IS-only")
]
#: Those whose gradients of weights were kept.
WEIGHED = (("artemis_scores", "ARTEMIS"), ("artemis_scores", "TIRG"))


def renamed(numbers, start, names):
    """Weights, or gradients of weights, under our names."""
    out = {}
    for key, value in numbers.items():
        name, _, kind = key.removeprefix(start).rpartition(".")
        if key.startswith(start) and name in names:
            out[f"{names[name]}.{kind}"] = value
    if start + "a" in numbers:
        out["weights"] = numbers[start + "a"]
    return out


def halves(state, version):
    """Of the weights of ARTEMIS those that one of its halves has."""
    half = {"EM-only": "explicit.", "IS-only": "implicit."}.get(version, "")
    return {name.removeprefix(half): value for name, value in state.items() if name.startswith(half)}


def build(numbers, version):
    model = composer.build(Config(composer=OURS[version], dim=numbers["in/r"].shape[1]))
    if version == "TIRG":
        model.load_state_dict(renamed(numbers, "w/TIRG/", TIRG))
    elif version in ("ARTEMIS", "EM-only", "IS-only"):
        model.load_state_dict(halves(renamed(numbers, "w/ARTEMIS/", HALVES), version))
    return model


def total(terms, target):
    return torch.stack(list(score.values(terms, target).values())).sum(dim=0)


@pytest.mark.parametrize(("file", "version"), CASES)
def test_scores_are_the_official_ones(golden, close, file, version) -> None:
    numbers = golden(file)
    model = build(numbers, version).eval()
    terms = model(numbers["in/r"], numbers["in/m"])
    close(total(terms, numbers["in/t"]), numbers[f"out/{version}/scores_7x11"])


@pytest.mark.parametrize(("file", "version"), CASES)
def test_loss_and_every_gradient_are_the_official_ones(golden, close, file, version) -> None:
    numbers = golden(file)
    out = {key.removeprefix(f"out/{version}/"): value for key, value in numbers.items()}
    model = build(numbers, version).train()
    reference, words, target = (numbers[f"in/{name}"][:7].clone().requires_grad_() for name in "rmt")
    temperature = numbers["w/TIRG/temperature" if version == "TIRG" else "w/ARTEMIS/temperature"]
    temperature = temperature.clone().requires_grad_()
    scores = total(model(reference, words), target)
    close(scores, out["batch_scores_7x7"])
    close(loss.classification(scores, 1.0), out["loss_no_temperature"])
    loss.classification(scores, temperature.exp()).backward()
    close(loss.classification(scores, temperature.exp()), out["loss"])
    close(temperature.grad, out["grad_temperature"])
    for name, given in zip("rm", (reference, words), strict=True):
        close(torch.zeros_like(given) if given.grad is None else given.grad, out[f"grad_{name}"])
    close(target.grad, out["grad_t"][:7])
    names = TIRG if version == "TIRG" else HALVES
    expected = halves(renamed(numbers, f"out/{version}/grad_w/", names), version)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert set(expected) == (set(gradients) if (file, version) in WEIGHED else set())
    for name, gradient in expected.items():
        close(gradients[name], gradient)


def test_attention_and_transform_are_the_official_ones(golden, close) -> None:
    numbers = golden("artemis_scores")
    model = build(numbers, "ARTEMIS")
    for ours, theirs in (("explicit", "A_EM"), ("implicit", "A_IS")):
        attention = getattr(model, ours).attention(numbers["in/m"])
        close(attention / attention.sum(dim=1, keepdim=True), numbers[f"out/ARTEMIS/{theirs}"])
    values = score.values(model(numbers["in/r"], numbers["in/m"]), numbers["in/t"])
    close(values["change"].diagonal(), numbers["out/ARTEMIS/diag_EM"])
    close(values["keep"].diagonal(), numbers["out/ARTEMIS/diag_IS"])


def test_tirg_composes_and_counts_as_the_official_one(golden, close) -> None:
    numbers = golden("artemis_scores")
    model = build(numbers, "TIRG").eval()
    close(composer.vector(model(numbers["in/r"], numbers["in/m"])), numbers["out/TIRG/composed_eval"])
    model.train()(numbers["in/r"], numbers["in/m"])
    after = renamed(numbers, "out/TIRG/after_step/", TIRG)
    assert len(after) == 4
    for name, value in after.items():
        close(model.state_dict()[name], value)


@pytest.mark.parametrize("version", ["ARTEMIS", "EM-only", "IS-only", "late-fusion"])
def test_target_without_energy_scores_nothing_where_the_official_has_no_number(golden, broadcast, version) -> None:
    numbers = golden("artemis_scores")
    target = numbers["in/t"].clone()
    target[3] = 0
    out = numbers["out/ARTEMIS/Tr_m"], numbers["out/ARTEMIS/A_EM"], numbers["in/r"], numbers["out/ARTEMIS/A_IS"]
    explicit, implicit = broadcast(*out, target)
    official = {"ARTEMIS": explicit + implicit, "EM-only": explicit, "IS-only": implicit}
    expected = numbers[f"out/{version}/zero_target3_isnan"]
    if version in official:
        torch.testing.assert_close(official[version].isnan(), expected)
    scores = total(build(numbers, version)(numbers["in/r"], numbers["in/m"]), target)
    assert scores.isfinite().all()
    assert (scores[:, 3] == 0).all()
    assert expected[:, 3].all() == (version in official)
