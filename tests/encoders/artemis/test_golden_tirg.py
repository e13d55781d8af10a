"""Google's TIRG: no final scaling, residual weight 10, and a triplet loss whose hand-written gradient is half."""

import pytest
import torch
from torch.nn.functional import normalize

from quiver.encoders.artemis import loss
from quiver.encoders.artemis.composer import Tirg
from quiver.encoders.artemis.config import Config

NAMES = {
    "gated_feature_composer.1": "gate.0",
    "gated_feature_composer.3": "gate.2",
    "res_info_composer.1": "residual.0",
}
NAMES |= {"res_info_composer.3": "residual.2", "res_info_composer.5": "residual.4"}


@pytest.fixture
def numbers(golden):
    return golden("tirg_google")


@pytest.fixture
def tirg(numbers) -> Tirg:
    state = {"weights": numbers["w/a"][:2]}
    for key, value in numbers.items():
        name, _, kind = key.removeprefix("w/").rpartition(".")
        if name in NAMES:
            state[f"{NAMES[name]}.{kind}"] = value
    model = Tirg(Config(composer="tirg", dim=24, residual=10.0))
    torch.testing.assert_close(model.weights.detach(), state["weights"])
    model.load_state_dict(state)
    return model


def test_composition_before_scaling_is_official(numbers, tirg, close) -> None:
    given = numbers["in/image_features"], numbers["in/text_features"]
    close(tirg.eval().compose(*given), numbers["out/composed_eval"])
    close(tirg.train().compose(*given), numbers["out/composed_train_mode"])


def test_soft_triplet_loss_is_official_and_its_gradient_twice_the_official(numbers, close) -> None:
    stack = torch.cat([numbers["out/query_norm4"], numbers["out/target_norm4"]]).requires_grad_()
    close(loss.soft_triplet(stack, numbers["out/triplets"]), numbers["out/soft_triplet_loss"])
    loss.soft_triplet(stack, numbers["out/triplets"]).backward()
    close(stack.grad, numbers["own/soft_triplet_grad_true"])
    close(stack.grad / 2, numbers["out/soft_triplet_grad_official"])


def test_triplets_are_drawn_from_the_pool_the_official_ones_come_from(numbers) -> None:
    possible = loss.triplets(*loss.pairs(6, both=True, same_BB=None, device=torch.device("cpu")))
    assert {tuple(row) for row in numbers["out/triplets"].tolist()} <= {tuple(row) for row in possible.tolist()}
    assert len(possible) == 12 * 10
    drawn = loss.draw(possible, 3)
    torch.testing.assert_close(drawn[:, 0].bincount(), torch.full((12,), 3))
    assert {tuple(row) for row in drawn.tolist()} <= {tuple(row) for row in possible.tolist()}


def test_batch_classification_on_scaled_vectors_is_official(numbers, close) -> None:
    query = normalize(numbers["out/composed_eval"], dim=1).requires_grad_()
    target = normalize(numbers["in/target_features"], dim=1).requires_grad_()
    scale = numbers["w/normalization_layer.norm_s"]
    found = loss.classification(scale * query @ (scale * target).T, 1.0)
    close(scale * query, numbers["out/query_norm4"])
    close(found, numbers["out/batch_classification_loss"])
    found.backward()
    close(query.grad / scale, numbers["out/batch_classification_grad_query"])
    close(target.grad / scale, numbers["out/batch_classification_grad_target"])
