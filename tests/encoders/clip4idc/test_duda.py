"""DUDA against the official code, and what must hold of it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from quiver.encoders.clip4idc import caption_loss
from quiver.encoders.clip4idc.caption_config import Duda as Config
from quiver.encoders.clip4idc.caption_config import Words
from quiver.encoders.clip4idc.duda import Duda, coordinates, translate

GOLDEN = Path(__file__).parents[2] / "golden" / "duda.npz"
AFTER = {"pos": "in/semantic_feat", "neg": "in/nonsemantic_feat"}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN, allow_pickle=False) as held:
        return {name: torch.from_numpy(held[name]) for name in held.files}


@pytest.fixture
def duda(golden):
    words = Words(size=17, begin=2, end=0, pad=0, length=9)
    model = Duda(Config(dim=64, groups=32, embed=14, hidden=16, word=9), words, 8)
    state = {name.removeprefix("w/").replace("/", "."): golden[name] for name in golden if name.startswith("w/")}
    model.load_state_dict(translate(state))
    return model.eval()


def near(a, b, tolerance=2e-5):
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def memory(golden, which):
    return torch.stack([golden["in/default_feat"], golden[AFTER[which]]], dim=1)


def told(duda, golden, which):
    state, labels = duda.start(memory(golden, which)), golden[f"in/labels_{which}"]
    logp, weights = duda.told(state, labels[:, :7])
    return caption_loss.Told(logp, labels[:, 1:8], golden[f"in/masks_{which}"][:, 1:8] > 0, state["maps"], weights)


def test_coordinates_agree_with_the_official_ones_and_begin_at_minus_one(golden):
    near(coordinates(6, 5), golden["out/coords"])
    assert coordinates(6, 5)[:, 0, 0].tolist() == [-1, -1]


@pytest.mark.parametrize("which", ["pos", "neg"])
def test_attention_agrees_with_the_official_one(duda, golden, which):
    with torch.no_grad():
        found = duda.detector(memory(golden, which))
    near(found.maps[:, :1], golden[f"out/{which}/att_before"])
    near(found.maps[:, 1:], golden[f"out/{which}/att_after"])
    near(found.before, golden[f"out/{which}/feat_before"])
    near(found.after, golden[f"out/{which}/feat_after"])
    near(found.after - found.before, golden[f"out/{which}/feat_diff"])


@pytest.mark.parametrize(("which", "steps"), [("pos", 7), ("neg", 6)])
def test_words_and_weights_agree_with_the_official_ones(duda, golden, which, steps):
    with torch.no_grad():
        found = told(duda, golden, which)
    near(found.logp[:, :steps], golden[f"out/{which}/log_probs"][:, :steps])
    near(found.weights[:, :steps], golden[f"out/{which}/module_weights"][:, :steps])
    near(found.weights.sum(dim=2), torch.ones(4, 7))


def test_the_loss_and_its_parts_agree_with_the_official_ones(duda, golden):
    changed, unchanged = told(duda, golden, "pos"), told(duda, golden, "neg")
    for found, which in ((changed, "pos"), (unchanged, "neg")):
        ours = caption_loss.cross_entropy(found.logp, found.target, found.counted)
        near(ours, golden[f"out/loss_language_{which}"])
    near(caption_loss.spread(changed.weights, changed.counted), golden["out/entropy"])
    near(changed.maps.sum() / 8, golden["out/attention_sum"])
    near(caption_loss.duda(changed, unchanged, entropy=1e-4), golden["out/loss_total_w1e-4"])


def test_gradients_agree_with_the_official_ones(duda, golden):
    caption_loss.duda(told(duda, golden, "pos"), told(duda, golden, "neg"), entropy=1e-4).backward()
    near(duda.detector.att.weight.grad, golden["out/grad/detector.att.weight"], 1e-4)
    near(duda.detector.embed[0].weight.grad, golden["out/grad/detector.embed.0.weight"], 1e-4)
    near(duda.weigh.weight.grad, golden["out/grad/speaker.core.weight_fc.0.weight"], 1e-4)
    near(duda.words.weight.grad, golden["out/grad/speaker.embed.0.weight"], 1e-4)


@pytest.mark.parametrize("which", ["pos", "neg"])
def test_greedy_words_agree_with_the_official_decoding(duda, golden, which):
    words, found, going = torch.full((4,), 2), [], torch.ones(4, dtype=torch.bool)
    with torch.no_grad():
        state = duda.start(memory(golden, which))
        for step in range(7):
            logp, state = duda.step(state, words)
            if step == 0:
                logp[:, 0] = -torch.inf  # the official rule: no sentence is empty
            words = logp.argmax(dim=1)
            going = going & (words > 0)
            words = words * going
            found.append(words)
    assert torch.equal(torch.stack(found, dim=1), golden[f"out/{which}/greedy_tokens"])


def test_equal_pictures_have_no_difference(duda, golden):
    same = torch.stack([golden["in/default_feat"]] * 2, dim=1)
    with torch.no_grad():
        vectors = duda.start(same)["vectors"]
    assert not vectors[:, 1].any()
    assert torch.equal(vectors[:, 0], vectors[:, 2])


def test_the_attention_sum_is_of_changed_pairs_alone(duda, golden):
    changed, unchanged = told(duda, golden, "pos"), told(duda, golden, "neg")
    more = unchanged._replace(maps=unchanged.maps + 1)
    assert caption_loss.duda(changed, more) == caption_loss.duda(changed, unchanged)
