"""CLIP4IDC's caption generator against the official one, and what must hold of any generator of its kind."""

from pathlib import Path

import numpy as np
import pytest
import torch

from quiver.encoders.clip4idc.caption import Captioner, translate
from quiver.encoders.clip4idc.caption_config import Words, Writer
from quiver.encoders.clip4idc.caption_loss import cross_entropy

GOLDEN = Path(__file__).parents[2] / "golden" / "clip4idc_captioner.npz"
WORDS = Words(size=50, begin=48, end=49, pad=0, length=12)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN, allow_pickle=False) as held:
        return {name: torch.from_numpy(held[name]) for name in held.files if name[:3] in ("in/", "out", "w/d")}


@pytest.fixture
def captioner(golden):
    model = Captioner(Writer(width=64, heads=4, inner=96, layers=2, dropout=0.0), WORDS, 64)
    model.load_state_dict(
        translate({name.removeprefix("w/"): value for name, value in golden.items() if name.startswith("w/")}, 2)
    )
    return model.eval()


def near(a, b, tolerance):
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def test_encoder_blocks_agree_with_the_official_ones(captioner, golden):
    with torch.no_grad():
        first, second = captioner.encode(golden["out/visual_tokens_projected"])
    near(first, golden["out/encoder_layer_0"], 2e-5)
    near(second, golden["out/encoder_layer_1"], 2e-5)


def test_logits_agree_with_the_official_ones(captioner, golden):
    with torch.no_grad():
        encoded = captioner.encode(golden["out/visual_tokens_projected"])
        logits = captioner.decode(encoded, golden["in/input_caption_ids"], golden["in/decoder_mask"] == 0)
    near(logits, golden["out/logits"], 2e-4)


def test_logits_differ_if_every_decoder_block_reads_the_last_encoder_block(captioner, golden):
    with torch.no_grad():
        last = captioner.encode(golden["out/visual_tokens_projected"])[-1]
        logits = captioner.decode([last, last], golden["in/input_caption_ids"], golden["in/decoder_mask"] == 0)
    assert (logits - golden["out/logits"]).abs().max() > 0.1


def test_greedy_steps_agree_with_the_official_decoding(captioner, golden):
    words, found = torch.full((4,), 48), []
    with torch.no_grad():
        state = captioner.start(golden["out/visual_tokens_projected"])
        for _ in range(12):
            logp, state = captioner.step(state, words)
            words = logp.argmax(dim=1)
            found.append(words)
    assert torch.equal(torch.stack(found, dim=1), golden["out/greedy_12_steps"])


def test_the_official_loss_ignores_id_0_and_ours_counts_it_where_it_is_a_word(captioner, golden):
    target = golden["in/output_caption_ids"]
    with torch.no_grad():
        encoded = captioner.encode(golden["out/visual_tokens_projected"])
        logits = captioner.decode(encoded, golden["in/input_caption_ids"], golden["in/decoder_mask"] == 0)
    logp = logits.log_softmax(dim=-1)
    near(cross_entropy(logp, target, target != 0), golden["out/loss"], 2e-5)
    counted = golden["in/decoder_mask"] > 0
    real = logp.gather(2, target[:, :, None])[:, :, 0][counted]
    assert len(real) == (target != 0).sum() + 1  # the "!" of caption 0
    near(cross_entropy(logp, target, counted), -real.mean(), 1e-5)


def test_the_gradient_of_the_bias_agrees_with_the_official_one(captioner, golden):
    target = golden["in/output_caption_ids"]
    encoded = captioner.encode(golden["out/visual_tokens_projected"])
    logits = captioner.decode(encoded, golden["in/input_caption_ids"], golden["in/decoder_mask"] == 0)
    cross_entropy(logits.log_softmax(dim=-1), target, target != 0).backward()
    near(captioner.bias.grad, golden["out/grad/decoder.classifier.cls.predictions.bias"], 2e-4)


def test_no_word_depends_on_a_later_one(captioner, golden):
    ids = golden["in/input_caption_ids"].clone()
    encoded = [each.detach() for each in captioner.encode(golden["out/visual_tokens_projected"])]
    with torch.no_grad():
        before = captioner.decode(encoded, ids)
        ids[:, 6:] = 7
        after = captioner.decode(encoded, ids)
    near(after[:, :6], before[:, :6], 1e-5)
    assert (after[:, 6:] - before[:, 6:]).abs().max() > 0.1


def test_padding_at_the_end_changes_no_word_before_it(captioner, golden):
    ids, mask = golden["in/input_caption_ids"], golden["in/decoder_mask"] > 0
    with torch.no_grad():
        encoded = captioner.encode(golden["out/visual_tokens_projected"])
        masked, plain = captioner.decode(encoded, ids, ~mask), captioner.decode(encoded, ids)
    near(masked[mask], plain[mask], 1e-5)


def test_steps_with_kept_keys_give_what_reading_the_whole_sentence_gives(captioner, golden):
    ids, memory = golden["in/input_caption_ids"], golden["out/visual_tokens_projected"]
    with torch.no_grad():
        whole = captioner(memory, ids)
        state, steps = captioner.start(memory), []
        assert torch.equal(captioner.read(state, ids), whole)
        for words in ids.unbind(dim=1):
            logp, state = captioner.step(state, words)
            steps.append(logp)
    near(torch.stack(steps, dim=1), whole, 1e-4)


def test_tokens_of_another_width_are_projected():
    model = Captioner(Writer(width=16, heads=2, inner=24, layers=1, dropout=0.0), WORDS, 10).eval()
    assert model(torch.zeros(2, 5, 10), torch.full((2, 3), 48)).shape == (2, 3, 50)


def test_words_and_output_share_one_table(captioner):
    names = [name for name, weight in captioner.named_parameters() if 50 in weight.shape]
    assert names == ["bias", "words.weight"]
