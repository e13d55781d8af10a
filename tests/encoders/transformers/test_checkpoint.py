import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from quiver.encoders.transformers import load
from quiver.errors import BadSpec, MissingWeights, SpaceMismatch
from quiver.types import Space


def test_weights_that_are_not_in_the_file_are_refused(tmp_path, tiny):
    weights = tiny.build["clip"](tmp_path) / "model.safetensors"
    state = load_file(weights)
    del state["text_projection.weight"]
    save_file(state, weights, {"format": "pt"})
    with pytest.raises(MissingWeights, match=r"lacks 1 of the weights, such as text_projection\.weight"):
        tiny.opened(tmp_path)


def test_a_pooler_that_is_not_in_the_file_is_not_used(tiny):
    with pytest.raises(MissingWeights, match=r"lacks 2 of the weights, such as pooler.dense.bias"):
        tiny.opened(tiny.folder("vit"), pooling="pooler")


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("clip", {"pooling": "cls"}, "leave out pooling"),
        ("clap", {"frames": 4}, "takes no video"),
        ("bert", {"frames": 4}, "takes no video"),
        ("dinov2", {"pooling": "last"}, "no last token"),
    ],
)
def test_options_that_mean_nothing_are_refused(kind, options, said, tiny):
    with pytest.raises(BadSpec, match=said):
        tiny.opened(tiny.folder(kind), **options)


def test_an_unsupported_model_is_told_what_is_supported(tmp_path, tiny):
    (tmp_path / "config.json").write_text('{"model_type": "t5", "auto_map": {"AutoModel": "evil.Model"}}')
    with pytest.raises(BadSpec, match=r"of type 't5'; supported are .*clip.*dotted name"):
        tiny.opened(tmp_path)


def test_a_folder_without_weights_is_one_clear_line(tmp_path, tiny):
    with pytest.raises(MissingWeights, match=r"no config\.json in"):
        tiny.opened(tmp_path)
    transformers.BertConfig(**tiny.text).save_pretrained(tmp_path)
    with pytest.raises(MissingWeights, match=r"model\.safetensors") as caught:
        tiny.opened(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(MissingWeights, match="there is no such folder"):
        tiny.opened(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("kind", "file", "said"),
    [
        ("bert", "tokenizer.json", "no tokenizer can be loaded"),
        ("clip", "preprocessor_config.json", "no image processor can be loaded"),
        ("clap", "preprocessor_config.json", "no feature extractor can be loaded"),
    ],
)
def test_a_missing_file_is_one_clear_line(kind, file, said, tmp_path, tiny):
    (tiny.build[kind](tmp_path) / file).unlink()
    with pytest.raises(MissingWeights, match=said) as caught:
        tiny.opened(tmp_path)
    assert "\n" not in str(caught.value)


def test_without_a_network_missing_weights_are_told_without_waiting_long(offline):
    with pytest.raises(MissingWeights, match=r"owner/name is not on disk .* give model=FOLDER") as caught:
        load(model="owner/name")
    assert sum(offline) < 5
    assert "\n" not in str(caught.value)


def test_the_revision_is_that_of_weights_and_preprocessing(tmp_path, tiny):
    path = tiny.folder("clip")
    first, again = tiny.opened(path), tiny.opened(path)
    assert first.spaces("text") == again.spaces("text")
    assert tiny.opened(path, frames=4).spaces("text") != first.spaces("text")
    tiny.build["clip"](tmp_path)
    assert tiny.opened(tmp_path).spaces("text")[0].revision == first.spaces("text")[0].revision
    transformers.CLIPImageProcessor(image_mean=[0.5, 0.5, 0.5]).save_pretrained(tmp_path)
    assert tiny.opened(tmp_path).spaces("text")[0].revision != first.spaces("text")[0].revision
    tiny.build["clip"](tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["text_projection.weight"][0, 0] += 1
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    assert tiny.opened(tmp_path).spaces("text")[0].revision != first.spaces("text")[0].revision


def test_the_revision_is_that_of_the_architecture(tmp_path, tiny):
    config = tiny.build["bert"](tmp_path) / "config.json"
    first = tiny.opened(tmp_path).spaces("text")[0].revision
    config.write_text(config.read_text().replace('"hidden_act": "gelu"', '"hidden_act": "relu"'))
    assert tiny.opened(tmp_path).spaces("text")[0].revision != first


def test_half_precision_checkpoints_run_in_float32(tmp_path, tiny):
    network = transformers.CLIPModel.from_pretrained(tiny.folder("clip"), dtype=torch.bfloat16)
    tiny.build["clip"](tmp_path)
    network.save_pretrained(tmp_path)
    rows = tiny.embedded(tiny.opened(tmp_path), "text", tiny.texts)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_loading_prints_nothing(capfd, tiny):
    tiny.opened(tiny.folder("clip"))
    tiny.opened(tiny.folder("vit"))
    assert capfd.readouterr() == ("", "")


def test_foreign_keys_and_spaces_are_refused(tiny):
    encoder = tiny.opened(tiny.folder("bert"))
    with pytest.raises(BadSpec, match="embeds text, not image"):
        encoder.reader("image")
    with pytest.raises(SpaceMismatch, match="does not embed into other"):
        encoder.embed("text", ["a"], Space("other", 32, "cosine", "0" * 64))
    assert encoder.spaces("image") == ()
    assert encoder.embed("text", [], *encoder.spaces("text")).shape == (0, 32)
