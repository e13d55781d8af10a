"""A trained model as an encoder: spaces by graph, windows averaged, the bridge exact, pictures by deflation."""

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from quiver import registry
from quiver.encoders.mmv import load
from quiver.encoders.mmv.config import Config, Graph
from quiver.encoders.mmv.data import hear
from quiver.encoders.mmv.deflate import Deflated
from quiver.encoders.mmv.encoder import DEFLATED, MMVEncoder, load_deflation, save_deflation
from quiver.encoders.mmv.model import MMV
from quiver.encoders.mmv.reader import SoundReader, WordReader
from quiver.encoders.mmv.word import Tokeniser, Words
from quiver.errors import BadMedia, BadSpec, MissingWeights, SpaceMismatch

WORDS = Words.gather(["red dog green cat blue bird grey mouse"], width=8)
READY = replace(
    Config.tiny(), video="features:1120", video_spec="classic", audio="features:76", audio_spec="classic",
    text="features:16", text_spec="classic dim=16",
)  # fmt: skip


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def saved(folder: Path, config: Config) -> MMV:
    """Write a model whose running statistics are not those of the start."""
    model = MMV(config, words=WORDS if config.text == "words" else None)
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    model.save_pretrained(folder)
    return model.eval()


def built(folder: Path, graph: Graph = "fac", **options: Any) -> MMVEncoder:
    saved(folder, Config.tiny(graph))
    encoder = load(checkpoint=folder, **options)
    assert isinstance(encoder, MMVEncoder)
    return encoder


def clip(frames: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, 24, 20, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("graph", "want"),
    [
        ("fac", {"text": ["mmv/vat"], "audio": ["mmv/va", "mmv/vat"], "video": ["mmv/va", "mmv/vat"]}),
        ("disjoint", {"text": ["mmv/vt"], "audio": ["mmv/va"], "video": ["mmv/va", "mmv/vt"]}),
        ("shared", {"text": ["mmv/vat"], "audio": ["mmv/vat"], "video": ["mmv/vat"]}),
    ],
)
def test_spaces_are_those_of_the_graph(tmp_path: Path, graph: Graph, want: dict[str, list[str]]) -> None:
    encoder = built(tmp_path, graph)
    assert {key: [space.name for space in encoder.spaces(key)] for key in want} == want
    assert encoder.spaces("image") == encoder.spaces("video")
    assert len({space.revision for key in encoder.keys for space in encoder.spaces(key)}) == 1


def test_vectors_are_the_models_at_unit_length(tmp_path: Path) -> None:
    model = saved(tmp_path, Config.tiny())
    encoder = load(checkpoint=tmp_path)
    frames, sound = clip(), np.random.default_rng(1).normal(0, 0.1, 4000).astype(np.float32)
    given = {
        "video": torch.tensor(encoder.reader("video")(frames))[None].float() / 255,
        "audio": hear(torch.tensor(sound)[None], model.config),
        "text": torch.tensor(encoder.reader("text")("a red cat"))[None],
    }
    assert given["video"].shape == (1, 4, 16, 16, 3)
    for key, source in {"video": frames, "audio": sound, "text": "a red cat"}.items():
        for space in encoder.spaces(key):
            want = model.embed(key, given[key], space.name.removeprefix("mmv/"))
            got = encoder.embed(key, [encoder.reader(key)(source)], space)
            torch.testing.assert_close(torch.tensor(got), torch.nn.functional.normalize(want), atol=1e-5, rtol=0)


def test_windows_are_averaged_before_they_are_scaled(tmp_path: Path) -> None:
    one, three = built(tmp_path), load(checkpoint=tmp_path, windows=3)
    sound = np.random.default_rng(1).normal(0, 0.1, 16_000).astype(np.float32) * np.linspace(0, 1, 16_000)
    space = one.spaces("audio")[0]
    assert three.spaces("audio")[0] != space  # other vectors, another space
    reader = three.reader("audio")
    windows = reader(sound.astype(np.float32))
    assert windows.shape == (3, 4000)
    np.testing.assert_array_equal(windows[1], sound[6000:10_000].astype(np.float32))
    model = one.model
    parts = torch.stack([model.embed("audio", hear(torch.tensor(w)[None], model.config), "va")[0] for w in windows])
    want = torch.nn.functional.normalize(parts.mean(0), dim=0)
    got = three.embed("audio", [windows], three.spaces("audio")[0])[0]
    np.testing.assert_allclose(got, want.numpy(), atol=1e-5)
    frames = three.reader("video")(clip())
    assert frames.shape == (12, 16, 16, 3)
    again = three.embed("video", [frames], three.spaces("video")[0])
    np.testing.assert_allclose(again, one.embed("video", [frames[:4]], space), atol=1e-5)  # a clip has no clock here


def test_short_sound_is_followed_by_silence() -> None:
    windows = SoundReader(4000, 1.0, 2)(np.full(1000, 0.5, np.float32))
    assert windows.shape == (2, 4000)
    assert windows[:, :1000].min() == 0.5
    assert not windows[:, 1000:].any()


@pytest.mark.parametrize("windows", [1, 3])
def test_bridge_leads_where_the_model_goes(tmp_path: Path, windows: int) -> None:
    stored = built(tmp_path, windows=windows)
    computed = load(checkpoint=tmp_path, coarse="computed", windows=windows)
    assert isinstance(computed, MMVEncoder)
    fine, coarse = stored.spaces("audio")
    sounds = [np.random.default_rng(n).normal(0, 0.1 * np.arange(9000) / 4000).astype(np.float32) for n in range(3)]
    batch = [stored.reader("audio")(sound) for sound in sounds]
    for encoder in (stored, computed):
        (bridge,) = encoder.bridges
        assert (bridge.source, bridge.target) == (fine, coarse)
        crossed = bridge.map(encoder.embed("audio", batch, fine))
        np.testing.assert_allclose(crossed, stored.embed("audio", batch, coarse), atol=1e-5)
    assert bridge.map(np.empty((0, fine.dim), np.float32)).shape == (0, coarse.dim)
    assert [computed.spaces(key) for key in ("video", "audio", "image", "text")] == [(fine,)] * 3 + [(coarse,)]
    with pytest.raises(SpaceMismatch, match="mmv embeds audio into mmv/va"):
        computed.embed("audio", batch, coarse)


def test_videos_of_several_windows_are_where_the_bridge_leads(tmp_path: Path) -> None:
    encoder = built(tmp_path, windows=2)
    fine, coarse = encoder.spaces("video")
    batch = [clip(8), 255 - clip(8)]
    np.testing.assert_allclose(
        encoder.embed("video", batch, coarse), encoder.bridges[0].map(encoder.embed("video", batch, fine)), atol=1e-6
    )
    single = load(checkpoint=tmp_path)
    assert single.spaces("video")[0].revision != fine.revision


def test_paper_head_has_no_bridge(tmp_path: Path) -> None:
    saved(tmp_path, replace(Config.tiny(), unit=False))
    assert load(checkpoint=tmp_path).bridges == ()  # type: ignore[attr-defined]
    with pytest.raises(BadSpec, match="coarse=computed"):
        load(checkpoint=tmp_path, coarse="computed")


def test_pictures_go_through_the_calibrated_deflated_tower(tmp_path: Path) -> None:
    model = saved(tmp_path, Config.tiny())
    plain = load(checkpoint=tmp_path)
    deflated = Deflated(model.towers["video"])  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in deflated.named_parameters():
            if "norm" in name:
                parameter.add_(0.1)
    save_deflation(deflated, tmp_path)
    encoder = load(checkpoint=tmp_path)
    picture = encoder.reader("image")(clip()[0])
    with torch.inference_mode():
        features = deflated(torch.tensor(picture)[None].float() / 255)
        want = torch.nn.functional.normalize(model.graph.project("video", features, "va"))
    space = encoder.spaces("image")[0]
    np.testing.assert_allclose(encoder.embed("image", [picture], space), want.numpy(), atol=1e-5)
    assert space != plain.spaces("image")[0]
    assert {name.split(".")[-2] for name in load_file(tmp_path / DEFLATED)} <= {"norm", "norm_1", "norm_2"}
    save_file({"norm.weight": torch.ones(3)}, tmp_path / DEFLATED)
    with pytest.raises(MissingWeights, match="another video tower"):
        load_deflation(model, tmp_path)


def test_towers_of_other_encoders_read_and_embed_through_them(tmp_path: Path) -> None:
    model = saved(tmp_path, READY)
    encoder = load(checkpoint=tmp_path)
    assert encoder.keys == ("text", "audio", "video")
    classic = registry.load("encoders", "classic")
    frames = clip(6)
    features = classic.embed("video", [classic.reader("video")(frames)], classic.spaces("video")[0])
    want = torch.nn.functional.normalize(model.embed("video", torch.tensor(features), "va"))
    got = encoder.embed("video", [encoder.reader("video")(frames)], encoder.spaces("video")[0])
    np.testing.assert_allclose(got, want.numpy(), atol=1e-5)
    text = encoder.embed("text", [encoder.reader("text")("a red dog")], encoder.spaces("text")[0])
    assert text.shape == (1, 8)
    described = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**described, "text_spec": "classic dim=16 "}))
    assert load(checkpoint=tmp_path).spaces("text")[0].revision != encoder.spaces("text")[0].revision


def test_text_of_unknown_words_is_refused_and_one_without_words_is_not() -> None:
    reader = WordReader(Tokeniser(WORDS.tokens, 6))
    assert reader("the red, RED dog!").tolist()[:4] == [
        *(1 + WORDS.tokens.index(word) for word in ("red", "red", "dog")), 0,
    ]  # fmt: skip
    assert not reader("?!").any()
    with pytest.raises(BadMedia, match="no word of 'zebra'"):
        reader("zebra")
    assert pickle.loads(pickle.dumps(reader)) == reader


def test_what_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match="no-such-folder"):
        load(checkpoint=tmp_path / "no-such-folder")
    saved(tmp_path, Config.tiny())
    with pytest.raises(BadSpec, match="windows"):
        load(checkpoint=tmp_path, windows=0)
