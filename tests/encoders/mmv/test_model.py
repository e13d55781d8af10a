import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.encoders.mmv.golden import distance, load, tensor
from tests.encoders.mmv.hashed import hashed, hashed_tree
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from quiver.encoders._saved import configured
from quiver.encoders.mmv.config import GRAPHS, Config
from quiver.encoders.mmv.config import Graph as Name
from quiver.encoders.mmv.loss import contrast
from quiver.encoders.mmv.model import MMV
from quiver.encoders.mmv.release import from_release
from quiver.encoders.mmv.word import Words
from quiver.errors import BadData, BadSpec, MissingWeights, NoRoute

WORDS = Words.gather(["red dog green cat blue bird grey mouse"], width=8)
READY = Config(video="features:12", audio="features:10", text="features:9", unit=True, hidden=16, va=16, vat=8)


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def tiny(graph: Name = "fac") -> MMV:
    return MMV(Config.tiny(graph), words=WORDS)


def clips(count: int) -> dict[str, Tensor]:
    """A batch for ``tiny``, three narrations per clip."""
    return {
        "video": torch.rand(count, 4, 16, 16, 3),
        "audio": torch.rand(count, 32, 16, 1),
        "text": torch.randint(0, 7, (count, 3, 6)),
    }


def test_released_model_computes_what_the_reference_does() -> None:
    golden = load("mmv_e2e_s3d_fac_hashed")
    params = hashed_tree(golden["meta/param_names"], golden["meta/param_shapes"])
    state = hashed_tree(golden["meta/state_names"], golden["meta/state_shapes"])
    table = hashed("word_embedding_matrix/embeddings", (40, 300))
    table[0] = 0
    params["text_audio_video/text_module/~/embed/embeddings"] = table
    model = MMV(Config.paper(), words=Words(tuple(f"word{row}" for row in range(1, 40)), table)).eval()
    model.load_state_dict(from_release(params, state))
    clip, mel, ids = tensor(golden["in/u8_clip"]) / 256, tensor(golden["in/mel"]), tensor(golden["in/word_ids"]).long()
    with torch.inference_mode():
        seen, heard = model.features("video", clip), model.features("audio", mel)
        project = model.graph.project
        assert distance(seen, golden["out/vid_repr"]) < 1e-5
        assert distance(heard, golden["out/aud_repr"]) < 3e-5
        assert distance(project("video", seen, "va"), golden["out/vid_embd/toaud"]) < 1e-5
        assert distance(project("video", seen, "vat"), golden["out/vid_embd/totxt"]) < 1e-5
        assert distance(project("audio", heard, "va"), golden["out/aud_embd/tovid"]) < 3e-5
        assert distance(project("audio", heard, "vat"), golden["out/aud_embd/totxt"]) < 3e-5
    assert distance(model.embed("text", ids, "vat"), golden["out/txt_embd/tovid"]) < 1e-5
    assert model.sizes() == {
        "video": 9_162_704,
        "audio": sum(value.numel() for value in model.towers["audio"].parameters()),
        "text": 616_448,
        "video_va": 788_992,
        "va_vat": 131_840,
        "audio_va": 1_049_088,
        "text_vat": 524_544,
    }


@pytest.mark.parametrize("graph", GRAPHS)
def test_saved_model_is_read_whole_without_a_network(graph: Name, tmp_path: Path, offline: None) -> None:
    model = tiny(graph)
    model.loss(clips(8))  # moves the running statistics
    model.eval().save_pretrained(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.safetensors", "words.txt", "README.md"}
    again = MMV.from_pretrained(tmp_path)
    assert (again.config, again.tokens, again.training) == (model.config, model.tokens, False)
    batch = clips(3)
    for key in ("video", "audio"):
        for space in model.graph.spaces(key):
            assert torch.equal(again.embed(key, batch[key], space), model.embed(key, batch[key], space))
    text = model.graph.spaces("text")[-1]
    assert torch.equal(again.embed("text", batch["text"][0], text), model.embed("text", batch["text"][0], text))


def test_config_file_describes_the_model_completely(tmp_path: Path) -> None:
    config = replace(READY, graph="disjoint", unit=False, audio=None, video_spec="timm model=x", temperature=0.1)
    MMV(config).save_pretrained(tmp_path)
    assert not (tmp_path / "words.txt").exists()
    assert configured(Config, json.loads((tmp_path / "config.json").read_text()), where="") == config
    assert MMV.open(tmp_path).config == config


def break_weights(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state.pop("graph.heads.audio_va.weight")
    save_file(state, folder / "model.safetensors")


def break_vocabulary(folder: Path) -> None:
    (folder / "words.txt").write_text("red\ndog\n")


def break_version(folder: Path) -> None:
    (folder / "config.json").write_text('{"graph": "fac", "gravity": 9.81}')


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (break_weights, MissingWeights, r"graph.heads.audio_va.weight"),
        (break_vocabulary, BadData, "2 words need a table of 3 rows"),
        (break_version, BadSpec, "unknown field 'gravity'"),
        (lambda folder: (folder / "model.safetensors").unlink(), MissingWeights, "no model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 9), MissingWeights, "no whole mmv model"),
        (lambda folder: (folder / "config.json").write_text("{"), MissingWeights, "no whole mmv model"),
    ],
)
def test_broken_folder_is_refused(tmp_path: Path, fault: object, error: type[Exception], message: str) -> None:
    tiny().save_pretrained(tmp_path)
    fault(tmp_path)  # type: ignore[operator]
    with pytest.raises(error, match=message):
        MMV.open(tmp_path)


def test_other_config_than_the_saved_one_is_refused(tmp_path: Path) -> None:
    MMV(READY).save_pretrained(tmp_path)
    with pytest.raises(BadSpec, match="another config"):
        MMV.from_pretrained(tmp_path, config=replace(READY, temperature=1.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"graph": "star"}, "graph must be one of shared, disjoint, fac"),
        ({"video": "c3d"}, "video must be s3d, tsm50"),
        ({"video": None}, "give weight_at=1"),
        ({"audio": "features:many"}, "write features:WIDTH"),
        ({"text_spec": "onnx file=x"}, "text_spec='onnx file=x' is of use with text=features:WIDTH"),
        ({"audio": None, "text": None}, "needs two of video, audio and text"),
        ({"graph": "shared", "unit": True}, "unit=true concerns the coarse head"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"weight_va": -1.0}, "weight_va must be at least 0"),
        ({"audio": "yamnet"}, "rate=16000"),
        ({"video": "tsm50", "space_to_depth": True}, "space_to_depth"),
    ],
)
def test_config_that_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(BadSpec, match=message):
        Config(**options)  # type: ignore[arg-type]


def test_words_are_asked_for_and_must_fit() -> None:
    with pytest.raises(BadSpec, match="needs a vocabulary"):
        MMV(Config.tiny())
    with pytest.raises(BadSpec, match="word_width=8, but the words' vectors are 4 wide"):
        MMV(Config.tiny(), words=Words.gather(["red"], width=4))
    with pytest.raises(BadSpec, match="takes no words"):
        MMV(READY, words=WORDS)


@pytest.mark.parametrize("graph", GRAPHS)
def test_forward_gives_what_the_losses_need_with_narrations_per_clip(graph: Name) -> None:
    model = tiny(graph)
    shapes = {key: tuple(value.shape) for key, value in model(clips(5)).items()}
    assert (
        shapes
        == {
            "shared": {("video", "vat"): (5, 16), ("audio", "vat"): (5, 16), ("text", "vat"): (5, 3, 16)},
            "disjoint": {
                ("video", "va"): (5, 16),
                ("video", "vt"): (5, 16),
                ("audio", "va"): (5, 16),
                ("text", "vt"): (5, 3, 16),
            },
            "fac": {
                ("video", "va"): (5, 16),
                ("video", "vat"): (5, 8),
                ("audio", "va"): (5, 16),
                ("text", "vat"): (5, 3, 8),
            },
        }[graph]
    )


def test_row_does_not_depend_on_its_batch() -> None:
    model = tiny()
    for _ in range(3):
        model.loss(clips(8))
    model.eval()
    batch = clips(4)
    for key in ("video", "audio"):
        for space in model.graph.spaces(key):
            all_rows = model.embed(key, batch[key], space)
            torch.testing.assert_close(model.embed(key, batch[key][2:3], space), all_rows[2:3], rtol=1e-4, atol=1e-5)


def test_stored_fine_vectors_reach_the_coarse_space_exactly() -> None:
    model = MMV(READY)
    for _ in range(3):
        model.train()({"video": 3 * torch.randn(16, 12), "audio": torch.randn(16, 10)})
    model.eval()
    for key, width in (("video", 12), ("audio", 10)):
        x = torch.randn(7, width)
        stored, wanted = normalize(model.embed(key, x, "va")), model.embed(key, x, "vat")
        with torch.inference_mode():
            assert cosine_similarity(model.graph.bridge(stored), wanted).min() > 1 - 1e-6


def test_embedding_in_training_and_across_a_missing_arrow_is_refused() -> None:
    with pytest.raises(BadSpec, match="eval"):
        MMV(READY).embed("video", torch.zeros(2, 12), "va")
    model = MMV(replace(READY, graph="disjoint", unit=False)).eval()
    with pytest.raises(NoRoute, match="from text to va"):
        model.embed("text", torch.zeros(2, 9), "va")
    with pytest.raises(BadSpec, match="no audio"):
        MMV(replace(READY, audio=None)).eval().embed("audio", torch.zeros(2, 9), "vat")


def test_narrations_that_are_not_there_leave_the_text_tower_alone() -> None:
    model, batch = tiny(), clips(4)
    model.loss({**batch, "told": torch.zeros(4, 3, dtype=torch.bool)})["vt"].backward()
    grads = {name: value.grad for name, value in model.named_parameters() if "text" in name}
    assert all(grad is None or not grad.any() for grad in grads.values())
    assert model.towers["text"].table.grad is None


def test_learning_a_batch_by_heart_brings_each_clip_to_its_sound_and_words() -> None:
    model, batch = tiny(), clips(8)
    batch["text"] = torch.arange(1, 9)[:, None, None] * torch.eye(6, dtype=torch.long)[0]  # a word per clip
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    first = float(model.loss(batch)["loss"].detach())
    for _ in range(80):
        optimiser.zero_grad()
        loss = model.loss(batch)["loss"]
        loss.backward()
        optimiser.step()
    assert first > 4 and float(loss.detach()) < 0.2
    outputs = model(batch)
    for other, space in (("audio", "va"), ("text", "vat")):
        others = outputs[other, space].flatten(0, -2)
        best = (normalize(outputs["video", space]) @ normalize(others).T).argmax(1)
        assert best.tolist() == list(range(8))


def test_loss_is_contrast_of_the_forward() -> None:
    model, batch = MMV(READY), {"video": torch.randn(6, 12), "audio": torch.randn(6, 10), "text": torch.randn(6, 2, 9)}
    terms = model.loss(batch)
    for name, value in contrast(model(batch), batch, model.config).items():
        torch.testing.assert_close(terms[name], value)
    assert terms["loss"] == terms["va"] + terms["vt"]
    alone = model.loss({key: batch[key] for key in ("video", "text")})
    assert alone.keys() == {"loss", "vt"}


def test_towers_are_as_large_as_published() -> None:
    with torch.device("meta"):
        sizes = {
            name: MMV(Config(video=name, audio="features:9", text="features:9")).sizes()["video"]
            for name in ("s3d", "tsm50", "tsm50x2")
        }
    assert sizes == {"s3d": 9_162_704, "tsm50": 23_500_352, "tsm50x2": 93_891_712}


def test_yamnet_hears_samples() -> None:
    model = MMV(replace(READY, audio="yamnet", rate=16_000)).eval()
    assert model.embed("audio", torch.rand(2, 16_000) - 0.5, "va").shape == (2, 16)
    assert not np.isnan(model.embed("audio", torch.zeros(1, 16_000), "vat").numpy()).any()
