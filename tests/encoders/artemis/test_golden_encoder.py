"""Text and image towers of the official ARTEMIS code."""

import pytest
import torch

from quiver.encoders.artemis.image import gem
from quiver.encoders.artemis.text import Bigru, Feature, Lstm


def tower(numbers, kind):
    ours = {"embed": "embed", "sent_enc": "rnn", "sent_enc.0": "rnn", "sent_enc.2": "project.1"}
    state = {}
    for key, value in numbers.items():
        if key.startswith(f"w/txt_{kind}/"):
            module, _, name = key.split("/")[2].rpartition(".")
            state[f"{ours[module]}.{name}"] = value
    model = Bigru(20, 12, 32) if kind == "bigru" else Lstm(20, 12, 32, hidden=24)
    model.load_state_dict(state)
    return model.eval()


@pytest.mark.parametrize("kind", ["bigru", "lstm"])
def test_padding_changes_nothing_and_sentences_alone_are_official(golden, close, kind) -> None:
    numbers = golden("artemis_encoders")
    model = tower(numbers, kind)
    torch.testing.assert_close((numbers["in/tokens"] != 0).sum(dim=1), numbers["in/lengths"])
    for tokens in (numbers["in/tokens"], numbers["in/tokens_pad9"]):
        close(model(tokens), numbers[f"out/txt_{kind}/alone"])
    order = torch.tensor([2, 0, 3, 1])  # the official one wants them longest first
    close(model(numbers["in/tokens"][order]), numbers[f"out/txt_{kind}/alone"][order])


def test_lstm_that_looks_at_padding_has_the_official_fault(golden, close) -> None:
    numbers = golden("artemis_encoders")
    model = tower(numbers, "lstm")
    model.padding = True
    close(model(numbers["in/tokens"]), numbers["out/txt_lstm/pad6"])
    close(model(numbers["in/tokens_pad9"]), numbers["out/txt_lstm/pad9"])
    assert (model(numbers["in/tokens"]) - numbers["out/txt_lstm/alone"]).abs().max() > 0.2


def test_gem_and_its_gradient_are_official(golden, close) -> None:
    numbers = golden("artemis_encoders")
    maps = numbers["in/feature_map"].clone().requires_grad_()
    pooled = gem(maps)
    close(pooled, numbers["out/img/gem"])
    pooled.sum().backward()
    close(maps.grad, numbers["out/img/gem_grad"])


@pytest.mark.parametrize(("part", "unit"), [("img", True), ("simple", False)])
def test_linear_ends_are_official(golden, close, part, unit) -> None:
    numbers = golden("artemis_encoders")
    weight, bias = (
        next(numbers[k] for k in numbers if k.startswith(f"w/{part}/") and k.endswith(e)) for e in ("weight", "bias")
    )
    model = Feature(weight.shape[1], weight.shape[0], unit=unit)
    model.project.load_state_dict({"weight": weight, "bias": bias})
    if part == "img":
        close(model(gem(numbers["in/feature_map"])), numbers["out/img/image_embedding"])
    else:
        close(model(numbers["in/cirr_feature"]), numbers["out/simple/embedding_not_normalised"])
