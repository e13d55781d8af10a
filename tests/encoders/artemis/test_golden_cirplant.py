"""CIRPLANT's sequence, query, candidates, loss and gradients, from the official code on a small BERT."""

import pytest
import torch
from torch.nn.functional import normalize

from quiver.encoders.artemis import loss
from quiver.encoders.artemis.cirplant import translate
from quiver.encoders.artemis.composer import vector
from quiver.encoders.artemis.config import Bert, Config
from quiver.encoders.artemis.model import Model

CONFIG = Config(
    composer="cirplant",
    dim=32,
    image="features:22",
    words=tuple(f"w{n}" for n in range(55)),  # and five special ones
    objective="triplet",
    bert=Bert(layers=2, heads=4, inner=64, length=12),
)


@pytest.fixture
def numbers(golden):
    return golden("cirplant")


@pytest.fixture
def model(numbers) -> Model:
    state = {key.removeprefix("w/imageBert."): value for key, value in numbers.items() if key.startswith("w/")}
    model = Model(CONFIG)
    model.composer.load_state_dict(translate(state, CONFIG))
    model.image.project.load_state_dict({k: state[f"bert.img_embedding.{k}"] for k in ("weight", "bias")})
    return model.eval()


def test_query_is_what_becomes_of_the_picture_at_the_end(numbers, model, close) -> None:
    reference = model.encode_reference(numbers["in/ref_feat"][:, 0])
    sequence = model.composer.sequence(reference, numbers["out/input_ids"])
    assert sequence.shape == (5, 13, 32)
    real = numbers["out/attention_mask"].bool()
    close(sequence[real], numbers["out/sequence_output"][real])
    close(4 * normalize(sequence[:, -1], dim=1), numbers["out/query"])
    close(4 * vector(model.terms(reference, numbers["out/input_ids"])), numbers["out/query"])


def test_candidates_are_the_linear_layer_alone(numbers, model, close) -> None:
    target = model.encode_image(numbers["in/target_feat"][:, 0])
    close(4 * target, numbers["out/target"])
    close(
        4 * model.encode_image(numbers["in/inset_feat"][:, :, 0].reshape(25, 22)), numbers["out/inset"].reshape(25, 32)
    )
    batch = {"reference": numbers["in/ref_feat"][:, 0], "words": numbers["out/input_ids"]}
    scores = model.scores({**batch, "target": numbers["in/target_feat"][:, 0]})
    close(scores, numbers["out/similarity_unit"])


def test_padding_does_not_change_the_query(numbers, model, close) -> None:
    reference = model.encode_reference(numbers["in/ref_feat"][:, 0])
    ids = numbers["out/input_ids"]
    for row, count in enumerate((ids != 0).sum(dim=1)):
        alone = vector(model.terms(reference[row : row + 1], ids[row : row + 1, :count]))
        close(4 * alone, numbers["out/query"][row])


def test_loss_is_official_and_its_gradient_twice_the_official(numbers, close) -> None:
    parts = {name: numbers[f"out/{name}"].clone().requires_grad_() for name in ("query", "target", "inset")}
    stack = torch.cat([part.reshape(-1, 32) for part in parts.values()])
    found = loss.soft_triplet(stack, numbers["out/triplets"])
    close(found, numbers["out/loss"])
    found.backward()
    for name, part in parts.items():
        close(part.grad, numbers[f"own/grad_{name}_true"])
        close(part.grad / 2, numbers[f"out/grad_{name}_official"])


def test_legal_triplets_hold_the_official_ones_and_the_two_it_loses(numbers) -> None:
    alike = torch.zeros(5, 35, dtype=torch.bool)
    alike[:, 10:] = torch.block_diag(*(numbers["in/soft_labels_nan_is_absent"] == 1.0).split(1)).bool()
    wrong = torch.cat([~torch.eye(5, dtype=torch.bool)] * 2 + [torch.zeros(5, 25, dtype=torch.bool)], dim=1)
    ours = {tuple(row) for row in loss.triplets(alike, wrong).tolist()}
    theirs = {tuple(row) for row in numbers["out/legal_triplets_before_cut_to_6"].tolist()}
    assert (len(ours), len(theirs)) == (48, 46)
    assert theirs < ours
    assert {(anchor, negative % 5) for anchor, _, negative in ours - theirs} == {(0, 2)}
