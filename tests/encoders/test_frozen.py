"""Frozen encoders beneath a model: their files are kept in its folder, and found wherever the folder is moved."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from quiver import trust
from quiver.encoders import _frozen
from quiver.errors import BadSpec, MissingWeights


@pytest.fixture
def ear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_onnx) -> str:
    """Two encoders of sounds, one of them named by a file below the working directory."""
    (tmp_path / "training").mkdir()
    monkeypatch.chdir(tmp_path / "training")
    write_onnx(Path("my ear.onnx"), "sounds", np.random.default_rng(0).normal(size=(4, 1, 8)))
    return "onnx file='my ear.onnx' input=waveform + classic"


def revision(spec: str) -> str:
    return _frozen.open(spec, "audio").revision


def test_files_are_copied_into_the_folder_and_found_wherever_it_is_moved(ear, tmp_path, monkeypatch):
    before = revision(ear)
    kept = _frozen.keep({"audio": ear}, tmp_path / "model")["audio"]
    content = Path("my ear.onnx").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert f"'file=./encoders/{digest[:12]}/my ear.onnx'" in kept and kept.endswith(" + classic")
    listed = json.loads((tmp_path / "model/files.json").read_text())
    assert listed == {f"./encoders/{digest[:12]}/my ear.onnx": {"bytes": len(content), "sha256": digest}}
    shutil.rmtree(tmp_path / "training", ignore_errors=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "model").rename("received")
    placed = _frozen.placed(kept, Path("received"))
    assert revision(placed) == before
    assert _frozen.keep({"audio": placed}, Path("again"))["audio"] == kept


def test_copies_that_no_spec_names_any_more_are_removed(ear, tmp_path):
    folder = tmp_path / "model"
    _frozen.keep({"audio": ear}, folder)
    assert _frozen.keep({"audio": "classic"}, folder) == {"audio": "classic"}
    assert list((folder / "encoders").iterdir()) == [] and not (folder / "files.json").exists()


def test_a_damaged_or_partial_copy_is_named(ear, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    kept = _frozen.keep({"audio": ear}, folder)["audio"]
    (copy,) = folder.glob("encoders/*/*.onnx")
    copy.write_bytes(copy.read_bytes()[:-1])
    with pytest.raises(MissingWeights, match=r"lacks encoders/.*/my ear.onnx or a part of it: copy the whole folder"):
        _frozen.placed(kept, folder)
    shutil.rmtree(folder / "encoders")
    monkeypatch.setenv("QUIVER_CONFIG", str(tmp_path))  # somebody else's, who is not asked to trust what is not there
    monkeypatch.setattr(trust, "_remembered", set())
    with pytest.raises(MissingWeights, match="lacks encoders/"):
        _frozen.placed(kept, folder)


def test_large_files_stay_where_they_are_and_are_asked_for_by_name_and_hash(ear, tmp_path, monkeypatch):
    monkeypatch.setattr(_frozen, "LARGEST", 10)
    before, folder, file = revision(ear), tmp_path / "model", Path("my ear.onnx").resolve()
    kept = _frozen.keep({"audio": ear}, folder)["audio"]
    assert str(file) in kept and not (folder / "encoders").exists()
    assert revision(_frozen.placed(kept, folder)) == before
    content = file.read_bytes()
    file.unlink()
    digest = hashlib.sha256(content).hexdigest()[:12]
    says = rf"was trained with .*my ear.onnx \({len(content)} bytes, SHA-256 {digest}...\), which is not here: put it"
    with pytest.raises(MissingWeights, match=says):
        _frozen.placed(kept, folder)
    (folder / "encoders").mkdir()
    (folder / "encoders/my ear.onnx").write_bytes(content[::-1])  # another file of that name and size
    with pytest.raises(MissingWeights, match="which is not here"):
        _frozen.placed(kept, folder)
    (folder / "encoders/my ear.onnx").write_bytes(content)
    monkeypatch.setenv("QUIVER_CONFIG", str(tmp_path))
    monkeypatch.setattr(trust, "_remembered", set())
    assert revision(_frozen.placed(kept, folder)) == before


def test_a_folder_of_an_older_version_says_which_file_it_wants(ear, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    assert revision(_frozen.placed(ear, folder)) == revision(ear)  # it works where it was trained
    content = Path("my ear.onnx").read_bytes()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingWeights, match=r"was trained with my ear\.onnx, which is not here: put it into"):
        _frozen.placed(ear, folder)
    (folder / "my ear.onnx").write_bytes(content)
    assert _frozen.open(_frozen.placed(ear, folder), "audio").width > 0


def test_second_files_of_weights_and_whole_folders_travel_too(tmp_path, monkeypatch):
    (tmp_path / "net.onnx").write_bytes(b"graph")
    (tmp_path / "net.onnx.data").write_bytes(b"weights")
    (tmp_path / "bert/sub").mkdir(parents=True)
    (tmp_path / "bert/config.json").write_text("{}")
    (tmp_path / "bert/sub/part.bin").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    specs = {"audio": "onnx file=net.onnx input=waveform", "text": "sentence_transformers model=bert"}
    specs["image"] = "open_clip model=local-dir:bert"
    kept = _frozen.keep(specs, tmp_path / "model")
    paths = {
        path.relative_to(tmp_path / "model/encoders").as_posix() for path in tmp_path.glob("model/encoders/**/*.*")
    }
    assert {path.partition("/")[2] for path in paths} == {
        "net.onnx", "net.onnx.data", "bert/config.json", "bert/sub/part.bin"
    }  # fmt: skip
    assert "model=./encoders/" in kept["text"] and "model=local-dir:./encoders/" in kept["image"]
    placed = _frozen.placed(kept["image"], tmp_path / "model")
    assert placed.startswith(f"open_clip model=local-dir:{tmp_path}/model/encoders/") and placed.endswith("/bert")


def test_names_that_are_no_files_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet50").mkdir()  # a folder that happens to have a model's name
    spec = "timm model=resnet50 size=64 + sentence_transformers model=owner/name"
    assert _frozen.keep({"a": spec}, tmp_path / "model") == {"a": spec}
    assert _frozen.placed(spec, tmp_path / "model") == spec
    assert _frozen.placed("timm model=resnet50", None, device="cpu") == "timm model=resnet50 device=cpu"


def test_an_encoder_that_does_not_embed_the_key_is_refused(ear):
    with pytest.raises(BadSpec, match=r"onnx .* embeds audio, not image"):
        _frozen.open(ear, "image")
