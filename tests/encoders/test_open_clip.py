import json

import numpy as np
import open_clip
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from quiver.encoders.open_clip import FRAMES_AT_ONCE, load
from quiver.errors import BadSpec, MissingWeights

VISION = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
TEXTS = ["a red ball", "Two dogs run over the green grass while it rains", "x"]
CONFIGS = {
    "quiver-tiny": {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT},
    "quiver-tiny-quickgelu": {"embed_dim": 16, "quick_gelu": True, "vision_cfg": VISION, "text_cfg": TEXT},
    "quiver-tiny-coca": {
        "embed_dim": 32,
        "custom_text": True,
        "vision_cfg": VISION | {"attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True},
        "text_cfg": TEXT | {"context_length": 76, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": TEXT | {"context_length": 76, "attn_pooler_heads": 4},
    },
}
RESIZING = [
    {"resize_mode": "shortest", "interpolation": "bicubic"},
    {"resize_mode": "shortest", "interpolation": "bilinear"},
    {"resize_mode": "squash", "interpolation": "bicubic"},
    {"resize_mode": "longest", "interpolation": "bicubic"},
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Register tiny models, and write random weights for each."""
    folder = tmp_path_factory.mktemp("open_clip")
    for name, config in CONFIGS.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    for seed, name in enumerate(CONFIGS):
        torch.manual_seed(seed)
        save_file(open_clip.create_model(name).state_dict(), folder / f"{name}.safetensors")
    yield folder
    open_clip.factory._MODEL_CONFIG_PATHS.remove(folder)
    for name in CONFIGS:
        del open_clip.factory._MODEL_CONFIGS[name]


def opened(weights, name="quiver-tiny", **options):
    return load(model=name, checkpoint=weights / f"{name}.safetensors", device="cpu", **options)


def picture(height=45, width=70, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def embedded(encoder, key, sources):
    reader = encoder.reader(key)
    return encoder.embed(key, [reader(source) for source in sources], *encoder.spaces(key))


@pytest.mark.parametrize("name", CONFIGS)
def test_vectors_are_those_of_the_library(name, weights):
    network, transform = open_clip.create_model_from_pretrained(name, str(weights / f"{name}.safetensors"))
    network.eval()
    pictures = [picture(), picture(70, 45, 1), picture(32, 32, 2), picture(33, 32, 3)]
    with torch.inference_mode():
        images = network.encode_image(torch.stack([transform(Image.fromarray(p)) for p in pictures]), normalize=True)
        texts = network.encode_text(open_clip.get_tokenizer(name)(TEXTS), normalize=True)
    encoder = opened(weights, name)
    np.testing.assert_allclose(embedded(encoder, "image", pictures), images, atol=1e-6)
    np.testing.assert_allclose(embedded(encoder, "text", TEXTS), texts, atol=1e-6)
    assert encoder.keys == ("text", "image", "video")
    assert {encoder.spaces(key)[0].dim for key in encoder.keys} == {CONFIGS[name]["embed_dim"]}


@pytest.mark.parametrize("preprocess", RESIZING, ids=lambda p: f"{p['resize_mode']} {p['interpolation']}")
@pytest.mark.parametrize("shape", [(45, 70), (70, 45), (32, 32), (33, 90), (20, 25)])
def test_pixels_are_exactly_those_of_the_library(preprocess, shape):
    from quiver.encoders.open_clip import _eyes

    settings = {"size": 32, "mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28), "fill_color": 0, **preprocess}
    transform = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**settings), is_train=False)
    reader, pixels = _eyes(settings, torch.device("cpu"))
    assert (reader.size is None) == (preprocess["resize_mode"] == "longest")
    ours = pixels([reader(picture(*shape))])
    np.testing.assert_array_equal(ours[0], transform(Image.fromarray(picture(*shape))))


def test_a_folder_brings_its_own_preprocessing(tmp_path, write_open_clip):
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash", "interpolation": "bilinear"}
    write_open_clip(tmp_path, CONFIGS["quiver-tiny"], preprocess=preprocess)
    network, transform = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}")
    with torch.inference_mode():
        wanted = network.eval().encode_image(transform(Image.fromarray(picture()))[None], normalize=True)
    encoder = load(model=f"local-dir:{tmp_path}", device="cpu")
    np.testing.assert_allclose(embedded(encoder, "image", [picture()]), wanted, atol=1e-6)
    with pytest.raises(BadSpec, match="brings its weights"):
        load(model=f"local-dir:{tmp_path}", pretrained="openai")


def test_a_folder_brings_its_own_tokenizer(tmp_path, write_open_clip):
    letters = Tokenizer(models.WordLevel({"<pad>": 0, "a": 1, "b": 2, "<unk>": 3}, unk_token="<unk>"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=letters, pad_token="<pad>", unk_token="<unk>")
    text = {"hf_tokenizer_name": "owner/never-asked-for", "vocab_size": 4, "context_length": 8}
    write_open_clip(tmp_path, CONFIGS["quiver-tiny"] | {"text_cfg": TEXT | text}, preprocess={})
    tokenizer.save_pretrained(tmp_path)
    network = open_clip.create_model(f"local-dir:{tmp_path}").eval()
    with torch.inference_mode():
        wanted = network.encode_text(torch.tensor([[1, 2, 2, 0, 0, 0, 0, 0]]), normalize=True)
    encoder = load(model=f"local-dir:{tmp_path}", device="cpu")
    np.testing.assert_allclose(embedded(encoder, "text", ["abb"]), wanted, atol=1e-6)


def test_a_video_is_the_mean_of_the_unit_vectors_of_its_frames(weights):
    encoder = opened(weights)
    space = encoder.spaces("video")[0]
    frames = np.stack([encoder.reader("image")(picture(seed=seed)) for seed in range(3)])
    each = encoder.embed("image", list(frames), space)
    long = np.stack([frames[0]] * (FRAMES_AT_ONCE + 1))
    rows = encoder.embed("video", [frames, long], space)
    mean = each.mean(0)
    np.testing.assert_allclose(rows, [mean / np.linalg.norm(mean), each[0]], atol=1e-6)


def test_a_text_does_not_depend_on_its_batch(weights):
    encoder = opened(weights)
    alone = np.concatenate([embedded(encoder, "text", [text]) for text in TEXTS])
    np.testing.assert_allclose(embedded(encoder, "text", TEXTS), alone, atol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_stays_near_and_is_another_space(precision, weights):
    half, full = opened(weights, precision=precision), opened(weights)
    rows = embedded(half, "image", [picture()])
    assert rows.dtype == np.float32
    assert (rows * embedded(full, "image", [picture()])).sum() > 0.99
    assert half.spaces("image") != full.spaces("image")


def test_the_revision_is_that_of_weights_and_architecture(weights):
    name = "quiver-tiny"
    assert opened(weights).spaces("text") == opened(weights).spaces("text")
    other = load(model=name, checkpoint=weights / "quiver-tiny-quickgelu.safetensors", device="cpu")
    assert other.spaces("text") != opened(weights).spaces("text")
    same = weights / "quiver-tiny.safetensors"
    quick = load(model="quiver-tiny-quickgelu", checkpoint=same, device="cpu")
    assert quick.spaces("text")[0].revision != opened(weights).spaces("text")[0].revision


def test_tags_trained_with_quick_gelu_get_it(weights, monkeypatch):
    """The library only warns, and the vectors come out slightly wrong."""
    from quiver.encoders import open_clip as ours

    tag = {"hf_hub": "owner/name/", "quick_gelu": True, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "quiver-tiny", {"quick": tag})
    monkeypatch.setattr(ours, "_weights", lambda *_: weights / "quiver-tiny.safetensors")
    encoder = load(model="quiver-tiny", pretrained="quick", device="cpu")
    network, transform = open_clip.create_model_from_pretrained(
        "quiver-tiny",
        str(weights / "quiver-tiny.safetensors"),
        force_quick_gelu=True,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    with torch.inference_mode():
        wanted = network.eval().encode_image(transform(Image.fromarray(picture()))[None], normalize=True)
    np.testing.assert_allclose(embedded(encoder, "image", [picture()]), wanted, atol=1e-6)


def test_weights_must_be_named(weights):
    with pytest.raises(BadSpec, match=r"needs weights: give either pretrained=TAG \(openai, .*laion2b_s34b_b79k"):
        load(model="ViT-B-32")
    with pytest.raises(BadSpec, match="it has none"):
        load(model="quiver-tiny")
    with pytest.raises(BadSpec, match="needs weights"):
        load(model="ViT-B-32", pretrained="openai", checkpoint=weights / "quiver-tiny.safetensors")


def test_unknown_names_bring_the_near_ones():
    with pytest.raises(BadSpec, match=r"no model 'ViT-B-33': did you mean .*ViT-B-32"):
        load(model="ViT-B-33", pretrained="openai")
    with pytest.raises(BadSpec, match=r"no weights 'laion2b_s34b': did you mean laion2b_s34b_b79k"):
        load(model="ViT-B-32", pretrained="laion2b_s34b")


def test_weights_that_do_not_fit_are_refused(weights, tmp_path):
    with pytest.raises(MissingWeights, match=r"coca.safetensors does not fit open_clip quiver-tiny: "):
        load(model="quiver-tiny", checkpoint=weights / "quiver-tiny-coca.safetensors", device="cpu")
    (tmp_path / "bad.pt").write_bytes(b"not weights")
    with pytest.raises(MissingWeights, match=r"bad.pt does not fit"):
        load(model="quiver-tiny", checkpoint=tmp_path / "bad.pt", device="cpu")
    with pytest.raises(MissingWeights, match="there is no such file"):
        load(model="quiver-tiny", checkpoint=tmp_path / "absent.pt")
    with pytest.raises(MissingWeights, match=r"needs open_clip_config\.json and weights"):
        load(model=f"local-dir:{tmp_path}")


def test_without_a_network_missing_weights_are_told_without_waiting_long(offline):
    said = r"model=ViT-B-32 pretrained=laion2b_s34b_b79k: .* is not on disk .* give checkpoint=FILE"
    with pytest.raises(MissingWeights, match=said) as caught:
        load(model="ViT-B-32", pretrained="laion2b_s34b_b79k")
    with pytest.raises(MissingWeights, match="owner/name is not on disk"):
        load(model="hf-hub:owner/name")
    assert sum(offline) < 5
    assert "\n" not in str(caught.value)


def test_loading_prints_nothing_and_leaves_logging_alone(weights, capfd):
    import logging

    before = list(logging.getLogger().handlers)
    opened(weights)
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers == before
