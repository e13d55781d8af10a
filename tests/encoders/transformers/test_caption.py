"""Captioners of transformers: they say what the library says, with the log-probability of what they say."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.encoders import captioners

import quiver
from quiver.encoders.transformers import load
from quiver.encoders.transformers.within import Within
from quiver.errors import BadSpec, MissingWeights
from quiver.media import ImageReader, PairReader

TOKENS = 12
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of a captioner, written once."""
    made = {}

    def of(kind):
        if kind not in made:
            made[kind] = captioners.write(kind, tmp_path_factory.mktemp("captioner") / kind)
        return made[kind]

    return of


@pytest.fixture
def opened(folder):
    return lambda kind, **options: load(model=str(folder(kind)), device="cpu", **{"tokens": TOKENS, **options})


def pictures():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (side, side + 8, 3), dtype=np.uint8) for side in (40, 64, 90)]


def read(teller, key="image"):
    sources = pictures()
    given = {"image": sources, "pair": [(sources[0], each) for each in sources]}[key]
    return [teller.reader(key)(each) for each in given]


def generated(teller, inputs, **options):
    """Generate with the library: texts, and mean log-probabilities by its own ``compute_transition_scores``."""
    network = teller.network
    found = network.generate(
        **inputs, max_new_tokens=TOKENS, do_sample=False, return_dict_in_generate=True, output_scores=True, **options
    )
    inner = {"blip": "text_decoder", "blip-2": "language_model"}.get(network.config.model_type)
    beams = getattr(found, "beam_indices", None)
    scores = getattr(network, inner) if inner else network
    logp = scores.compute_transition_scores(found.sequences, found.scores, beams, normalize_logits=beams is None)
    tokens = found.sequences[:, -logp.shape[1] :]
    lengths = [
        next((at + 1 for at, token in enumerate(row) if token == 2), len(row))
        for row in (
            row[: int((beams[n] >= 0).sum()) if beams is not None else None] for n, row in enumerate(tokens.tolist())
        )
    ]
    means = [float(row[:length].double().mean()) for row, length in zip(logp, lengths, strict=True)]
    return [text.strip() for text in teller.processor.batch_decode(tokens, skip_special_tokens=True)], means


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("kind", captioners.KINDS)
def test_captions_and_scores_are_those_of_the_library(kind, beams, opened):
    (teller,) = opened(kind).tellers
    for picture in read(teller):
        inputs = (teller._given if kind in ("blip", "blip-2", "git", "florence2") else teller._asked)(
            "image", [picture]
        )
        texts, means = generated(teller, inputs, num_beams=beams, num_return_sequences=beams)
        told = teller.tell("image", [picture], beams=beams, most=beams)[0]
        assert {each.text for each in told} == set(texts)
        np.testing.assert_allclose([each.score for each in told], sorted(means, reverse=True), atol=1e-5)


def test_the_score_is_the_likelihood_of_the_caption_read_back(opened):
    """A sequence is read by the network in one pass: no step of generation is asked."""
    (teller,) = opened("llava").tellers
    picture = read(teller)[2]
    inputs = teller._asked("image", [picture])
    whole = teller.network.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
    new = whole.shape[1] - inputs["input_ids"].shape[1]
    logits = teller.network(input_ids=whole, pixel_values=inputs["pixel_values"]).logits[0, -new - 1 : -1]
    logp = logits.log_softmax(1)[torch.arange(new), whole[0, -new:]]
    ended = next((at + 1 for at, token in enumerate(whole[0, -new:].tolist()) if token == 2), new)
    assert teller.tell("image", [picture])[0][0].score == pytest.approx(float(logp[:ended].mean()), abs=1e-5)


def test_a_prompt_is_given_and_not_repeated_in_the_caption(opened):
    plain, prompted = (opened("blip", **options).tellers[0] for options in ({}, {"prompt": "a red"}))
    told = prompted.tell("image", read(prompted)[:1])[0][0]
    assert not told.text.startswith("a r") and told != plain.tell("image", read(plain)[:1])[0][0]
    assert plain.revision != prompted.revision
    asked = opened("qwen3_vl", prompt="Which colour?").tellers[0]
    inputs = asked._asked("image", read(asked)[:1])
    assert "W h i c h" in asked.processor.batch_decode(inputs["input_ids"])[0]


def test_a_chat_model_sees_both_pictures_of_a_pair_in_order(opened):
    (teller,) = opened("qwen3_vl").tellers
    assert teller.keys == ("image", "video", "pair")
    first, second = (np.full((32, 32, 3), shade, np.uint8) for shade in (40, 200))
    pair = teller.reader("pair")((first, second))
    inputs = teller._asked("pair", [pair])
    assert len(inputs["image_grid_thw"]) == 2
    pixels = inputs["pixel_values"]
    assert pixels[: len(pixels) // 2].mean() < pixels[len(pixels) // 2 :].mean()
    assert teller.tell("pair", [pair]) != teller.tell("pair", [pair[::-1]])


def test_large_batches_are_cut(opened):
    small, large = opened("blip", batch=2).tellers[0], opened("blip").tellers[0]
    batch = read(small) * 3
    assert [told[0].text for told in small.tell("image", batch)] == [
        told[0].text for told in large.tell("image", batch)
    ]
    assert (small.at_once, large.at_once) == (2, 8)


def test_precision_is_that_of_the_checkpoint_or_the_one_asked_for(opened):
    stored, half = opened("llava").tellers[0], opened("llava", precision="bf16").tellers[0]
    assert (stored.network.dtype, half.network.dtype) == (torch.float32, torch.bfloat16)
    assert half.tell("image", read(half))[0][0].score <= 0
    assert stored.revision != half.revision


def test_a_captioner_embeds_nothing(opened):
    encoder = opened("blip")
    assert encoder.keys == () and encoder.spaces("image") == ()
    with pytest.raises(BadSpec, match="does not embed image"):
        encoder.reader("image")


@pytest.mark.parametrize(
    ("kind", "options", "problem"),
    [
        ("blip", {"pooling": "mean"}, "leave out pooling"),
        ("blip", {"tokens": 0}, "tokens must be at least 1"),
        ("blip", {"batch": 0}, "batch must be at least 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(kind, options, problem, opened):
    with pytest.raises(BadSpec, match=problem):
        opened(kind, **options)


def test_options_of_captions_are_refused_for_a_model_that_embeds(tmp_path, write_transformers):
    path = write_transformers.build["bert"](tmp_path)
    with pytest.raises(BadSpec, match="a bert model writes no captions: leave out prompt"):
        load(model=str(path), device="cpu", prompt="a")


def test_a_video_or_pair_is_refused_by_a_model_of_one_picture(opened):
    (teller,) = opened("blip").tellers
    with pytest.raises(BadSpec, match="describes image, not pair"):
        teller.reader("pair")
    for beams, most in ((0, 1), (1, 2), (2, 0)):
        with pytest.raises(BadSpec, match="most from 1 to beams"):
            teller.tell("image", [], beams=beams, most=most)


def test_a_chat_model_without_a_template_is_refused(folder, tmp_path):
    path = shutil.copytree(folder("llava"), tmp_path / "llava")
    (path / "chat_template.jinja").unlink()
    with pytest.raises(BadSpec, match="'llava' and has no chat template"):
        load(model=str(path), device="cpu")


def test_a_checkpoint_that_lacks_weights_is_refused(folder, tmp_path):
    path = shutil.copytree(folder("blip"), tmp_path / "blip")
    weights = load_file(path / "model.safetensors")
    gone = next(name for name in weights if name.startswith("vision_model.encoder"))
    save_file({name: value for name, value in weights.items() if name != gone}, path / "model.safetensors")
    with pytest.raises(MissingWeights, match="lacks 1 of the weights"):
        load(model=str(path), device="cpu")


def test_code_that_comes_with_a_model_is_not_run(folder, tmp_path):
    path = shutil.copytree(folder("blip"), tmp_path / "blip")
    ran = tmp_path / "ran"
    (path / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    settings = json.loads((path / "config.json").read_text())
    settings["auto_map"] = {"AutoModelForImageTextToText": "evil.Evil", "AutoConfig": "evil.Evil"}
    (path / "config.json").write_text(json.dumps(settings))
    load(model=str(path), device="cpu")
    assert not ran.exists()


def test_pictures_are_shrunk_to_the_limit_with_their_proportion():
    picture = np.zeros((300, 600, 3), np.uint8)
    assert [each.shape for each in Within(ImageReader(), 20_000)(picture)] == [(100, 200, 3)]
    assert [each.shape for each in Within(ImageReader(), 180_000)(picture)] == [(300, 600, 3)]
    pair = Within(PairReader(ImageReader()), 20_000)((picture, picture[:50, :50]))
    assert [each.shape for each in pair] == [(100, 200, 3), (50, 50, 3)]


def test_captions_of_a_collection(folder, photos, tmp_path):
    shop = quiver.open(tmp_path / "shop", catch_up=False)
    spec = f"transformers model='{folder('blip')}' device=cpu tokens=6"
    assert shop.add(photos, tell=spec, beams=2, workers=0).captioned == 24
    stored = shop.get("photos/red0.png")[0].meta["caption"]
    assert stored == quiver.caption(image=photos / "red0.png", encoder=spec, beams=2)[0].text.strip()
    assert shop.add(tell=True, beams=2, workers=0).captioned == 0
