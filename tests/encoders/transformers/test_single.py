import json
import shutil

import numpy as np
import pytest
import torch
import transformers

from quiver.encoders.transformers.single import TEXT, VISION
from quiver.errors import BadSpec


def test_dinov2_and_vit_give_the_class_token(tiny):
    for kind in ("dinov2", "vit"):
        path = tiny.folder(kind)
        network = transformers.AutoModel.from_pretrained(path)
        with torch.inference_mode():
            hidden = network(**tiny.processed(path, [tiny.picture()], backend="pil")).last_hidden_state
        np.testing.assert_allclose(
            tiny.embedded(tiny.opened(path), "image", [tiny.picture()]), tiny.unit(hidden[:, 0]), atol=1e-5
        )
        patches = tiny.embedded(tiny.opened(path, pooling="mean"), "image", [tiny.picture()])
        np.testing.assert_allclose(patches, tiny.unit(hidden[:, 1:].mean(1)), atol=1e-5)


def test_bert_pools_over_its_mask(tiny):
    path = tiny.folder("bert")
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    network = transformers.BertModel.from_pretrained(path)
    with torch.inference_mode():
        each = [network(**tokenizer(text, return_tensors="pt")) for text in tiny.texts]
    wanted = {
        "auto": [out.last_hidden_state[0].mean(0) for out in each],
        "cls": [out.last_hidden_state[0, 0] for out in each],
        "last": [out.last_hidden_state[0, -1] for out in each],
        "pooler": [out.pooler_output[0] for out in each],
    }
    for pooling, rows in wanted.items():
        ours = tiny.embedded(tiny.opened(path, pooling=pooling), "text", tiny.texts)
        np.testing.assert_allclose(ours, tiny.unit(torch.stack(rows)), atol=1e-5, err_msg=pooling)


def test_a_long_text_is_cut_to_the_positions_there_are(tmp_path, tiny):
    tiny.write_tokenizer(tmp_path, length=10**9)
    config = transformers.RobertaConfig(**tiny.text | {"max_position_embeddings": 20, "pad_token_id": 0})
    encoder = tiny.opened(tiny.write_model(tmp_path, transformers.RobertaModel, config))
    # 20 positions, the first of them for padding, and two tokens for the ends
    rows = tiny.embedded(encoder, "text", ["a" * 17, "a" * 17 + "b" * 500, "a" * 16 + "b"])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)
    assert np.abs(rows[0] - rows[2]).max() > 1e-3


PYRAMID = {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}
STAGES = {"hidden_sizes": [8, 16], "depths": [1, 1]}
SHAPES = {
    "swin": PYRAMID,
    "swinv2": PYRAMID,
    "convnext": STAGES | {"num_stages": 2},
    "convnextv2": STAGES | {"num_stages": 2},
    "resnet": STAGES | {"embedding_size": 8},
    "regnet": STAGES | {"embedding_size": 8, "groups_width": 8},
    "dinov3_convnext": {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]},
}


@pytest.mark.parametrize("kind", VISION)
def test_every_image_backbone_embeds_each_picture_by_itself(kind, tmp_path, tiny):
    square = {"height": 32, "width": 32}
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=square).save_pretrained(tmp_path)
    shape = SHAPES.get(kind, {**tiny.small, "image_size": 32, "patch_size": 8})
    config = transformers.AutoConfig.for_model(kind, **shape)
    encoder = tiny.opened(tiny.write_model(tmp_path, transformers.AutoModel.from_config, config))
    pictures = [tiny.picture(seed=1), tiny.picture(90, 61, 2)]
    rows = tiny.embedded(encoder, "image", pictures)
    np.testing.assert_allclose(rows[1:], tiny.embedded(encoder, "image", pictures[1:]), atol=1e-6)
    assert np.abs(rows[0] - rows[1]).max() > 1e-6


OTHERS = {
    "albert": {"embedding_size": 16},
    "distilbert": {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4},
    "longformer": {"attention_window": [4, 4]},
    "modernbert": {"local_attention": 8, "cls_token_id": 1, "sep_token_id": 2},
    **{
        kind: {"num_key_value_heads": 2, "head_dim": 8}
        for kind in ("gemma", "gemma2", "llama", "mistral", "qwen2", "qwen3")
    },
}


@pytest.mark.parametrize("kind", TEXT)
def test_every_text_encoder_embeds_each_text_by_itself(kind, tmp_path, tiny):
    tiny.write_tokenizer(tmp_path)
    config = transformers.AutoConfig.for_model(kind, **tiny.text | OTHERS.get(kind, {}))
    encoder = tiny.opened(tiny.write_model(tmp_path, transformers.AutoModel.from_config, config))
    rows = tiny.embedded(encoder, "text", tiny.texts)
    np.testing.assert_allclose(rows[2:], tiny.embedded(encoder, "text", tiny.texts[2:]), atol=2e-6)
    assert np.abs(rows[0] - rows[2]).max() > 1e-3


POOLING_FILES = {
    "new": lambda way: {"embedding_dimension": 32, "pooling_mode": way, "include_prompt": True},
    "old": lambda way: {
        "word_embedding_dimension": 32,
        "pooling_mode_cls_token": way == "cls",
        "pooling_mode_mean_tokens": way == "mean",
        "pooling_mode_max_tokens": way == "max",
        "pooling_mode_lasttoken": way == "lasttoken",
    },
}


def modules(folder, described, *further):
    """Add the files that Sentence Transformers puts beside a network."""
    names = ["Transformer", "Pooling", *further]
    listed = [{"idx": n, "name": str(n), "path": f"{n}_{name}" if n else ""} for n, name in enumerate(names)]
    for part, name in zip(listed, names, strict=True):
        part["type"] = f"sentence_transformers.models.{name}"
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling/config.json").write_text(json.dumps(described))
    return folder


@pytest.mark.parametrize("format", POOLING_FILES)
@pytest.mark.parametrize(("way", "named"), [("cls", "cls"), ("mean", "mean"), ("lasttoken", "last")])
def test_the_checkpoint_says_how_its_tokens_are_pooled(format, way, named, tmp_path, tiny, caplog):
    path = modules(shutil.copytree(tiny.folder("bert"), tmp_path / "bge"), POOLING_FILES[format](way))
    rows = tiny.embedded(tiny.opened(path), "text", tiny.texts)
    assert not caplog.records
    by_hand = tiny.opened(tiny.folder("bert"), pooling=named)
    np.testing.assert_allclose(rows, tiny.embedded(by_hand, "text", tiny.texts), atol=1e-6)


@pytest.mark.parametrize("format", POOLING_FILES)
def test_a_pooling_or_a_layer_that_only_the_library_runs_is_refused(format, tmp_path, tiny):
    path = modules(shutil.copytree(tiny.folder("bert"), tmp_path / "max"), POOLING_FILES[format]("max"))
    with pytest.raises(BadSpec, match=r"pools by max.*: use sentence_transformers model="):
        tiny.opened(path)
    assert tiny.opened(path, pooling="mean").keys == ("text",)
    modules(path, POOLING_FILES[format]("mean"), "Dense")
    with pytest.raises(BadSpec, match="goes on with Dense after its network"):
        tiny.opened(path)


def test_a_pooling_that_is_only_usual_is_said(tiny, caplog):
    tiny.opened(tiny.folder("bert"))
    assert "pooling=mean is used, as by most bert models" in caplog.text
