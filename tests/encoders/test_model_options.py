"""Options that many adapters have: dim, precision, at_once, revision and custom_code."""

import json

import numpy as np
import pytest
from tests.encoders import families

from quiver.encoders import _custom_code, _hub, cross_encoder, multi_vector, open_clip, sentence_transformers, timm
from quiver.encoders import transformers as adapter
from quiver.encoders._custom_code import Code
from quiver.encoders._packed import Small, pack_pictures, unpack_pictures
from quiver.errors import BadSpec, MissingWeights

TEXTS = ["a red ball", "a dog, running", "x"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
#: A module that adds 1 to the first number of a vector, as a model's author could write it.
SHIFT = """
import torch
from sentence_transformers.base.modules import Module

class Shift(Module):
    config_keys = []

    def forward(self, features, **kwargs):
        vectors = features["sentence_embedding"].clone()
        vectors[:, 0] += 1
        features["sentence_embedding"] = vectors
        return features

    def save(self, output_path, *args, **kwargs):
        pass

    @classmethod
    def load(cls, *args, **kwargs):
        return cls()
"""


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return families.sentence(tmp_path_factory.mktemp("bert"), families.bert, pooling="mean")


def embedded(encoder, key, batch):
    (space,) = encoder.spaces(key)
    return encoder.embed(key, batch, space)


def pictures(count=3):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (24, 24, 3), dtype=np.uint8) for _ in range(count)]


def opened(kind, bert, request, tmp_path, **options):
    """Open a tiny model by each adapter."""
    if kind == "sentence_transformers":
        return sentence_transformers.load(model=str(bert), device="cpu", **options)
    if kind == "open_clip":
        seen = {"image_size": 24, "layers": 1, "width": 32, "head_width": 8, "patch_size": 8}
        config = {"embed_dim": 16, "vision_cfg": seen}
        config["text_cfg"] = {"context_length": 16, "width": 32, "heads": 4, "layers": 1}
        cut = {"size": 24, "mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
        folder = request.getfixturevalue("write_open_clip")(tmp_path / "open_clip", config, preprocess=cut)
        return open_clip.load(model=f"local-dir:{folder}", device="cpu", **options)
    write = request.getfixturevalue("write_transformers").build[kind]
    return adapter.load(model=str(write(tmp_path / kind)), device="cpu", **options)


ADAPTERS = ["sentence_transformers", "open_clip", "clip", "bert"]


@pytest.mark.parametrize("kind", ADAPTERS)
def test_dim_keeps_the_first_numbers_and_is_a_space_of_its_own(kind, bert, request, tmp_path):
    whole, short = (opened(kind, bert, request, tmp_path, dim=dim) for dim in (None, 8))
    rows, kept = embedded(whole, "text", TEXTS), embedded(short, "text", TEXTS)
    assert kept.shape == (3, 8)
    wanted = rows[:, :8] / np.linalg.norm(rows[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose(kept, wanted, atol=1e-6)
    assert whole.spaces("text")[0].revision != short.spaces("text")[0].revision
    if "image" in whole.keys:
        seen = embedded(short, "image", pictures(2))
        still = embedded(short, "video", [np.stack([picture] * 3) for picture in pictures(2)])
        np.testing.assert_allclose(still, seen, atol=1e-6)
    width = whole.spaces("text")[0].dim
    with pytest.raises(BadSpec, match=f"dim must be from 1 to {width}, not 999"):
        opened(kind, bert, request, tmp_path, dim=999)


def test_dim_is_the_librarys_truncation(bert):
    from sentence_transformers import SentenceTransformer

    ours = embedded(sentence_transformers.load(model=str(bert), dim=12, device="cpu"), "text", TEXTS)
    theirs = SentenceTransformer(str(bert), device="cpu", truncate_dim=12).encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_and_a_space_of_its_own(kind, precision, bert, request, tmp_path):
    full, half = (opened(kind, bert, request, tmp_path, precision=p) for p in ("fp32", precision))
    for key in full.keys:
        given = {"text": TEXTS, "image": pictures(), "video": [np.stack(pictures())]}[key]
        ours = embedded(half, key, given)
        assert ours.dtype == np.float32
        assert (ours * embedded(full, key, given)).sum(1).min() > 0.999, key
    assert full.spaces("text")[0].revision != half.spaces("text")[0].revision


@pytest.mark.parametrize("kind", ADAPTERS)
def test_at_once_changes_no_vector_and_no_space(kind, bert, request, tmp_path):
    usual, one = (opened(kind, bert, request, tmp_path, at_once=size) for size in (None, 1))
    assert usual.spaces("text") == one.spaces("text")
    assert (usual.at_once, one.at_once) == (None, 1)
    np.testing.assert_allclose(embedded(one, "text", TEXTS), embedded(usual, "text", TEXTS), atol=1e-6)


def test_timm_in_half_precision(tmp_path):
    def load(**options):
        return timm.load(model="test_vit", pretrained=False, size=32, device="cpu", **options)

    full, half, few = load(), load(precision="bf16"), load(at_once=2)
    given = [full.reader("image")(picture) for picture in pictures(5)]
    rows = embedded(full, "image", given)
    assert (embedded(half, "image", given) * rows).sum(1).min() > 0.999
    np.testing.assert_allclose(embedded(few, "image", given), rows, atol=1e-6)
    assert few.spaces("image") == full.spaces("image") != half.spaces("image")


@pytest.mark.parametrize("option", ["dim", "at_once"])
def test_sizes_are_positive(option, bert):
    with pytest.raises(BadSpec, match=f"{option} must be at least 1, not 0"):
        sentence_transformers.load(model=str(bert), device="cpu", **{option: 0})


@pytest.mark.parametrize("revision", ["main", "v1.5", "0123abc", COMMIT.upper(), COMMIT + "0"])
def test_a_revision_is_a_whole_commit(revision):
    with pytest.raises(BadSpec, match="revision must be a commit hash of 40 hexadecimal digits"):
        Code.of("someone/model", False, revision)


def test_custom_code_of_a_repository_needs_a_commit():
    for load in (sentence_transformers.load, cross_encoder.load, multi_vector.load):
        with pytest.raises(BadSpec, match=r"runs Python code of someone/model: .* revision=COMMIT"):
            load(model="someone/model", custom_code=True, device="cpu")


def test_a_folder_has_no_commits(bert):
    with pytest.raises(BadSpec, match="is a folder and has no commits"):
        sentence_transformers.load(model=str(bert), revision=COMMIT, device="cpu")


def test_only_the_named_commit_is_loaded(tmp_path, monkeypatch, bert):
    """Two commits of a repository lie in the cache: each gives its own vectors."""
    import shutil

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    home = tmp_path / "models--someone--model"
    shutil.copytree(bert, home / "snapshots" / COMMIT)
    newest = "f" * 40
    other = families.sentence(tmp_path / "other", families.bert, pooling="cls")
    shutil.copytree(other, home / "snapshots" / newest)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(newest)
    old, new = (sentence_transformers.load(model="someone/model", revision=r, device="cpu") for r in (COMMIT, None))
    plain = sentence_transformers.load(model=str(bert), device="cpu")
    np.testing.assert_allclose(embedded(old, "text", TEXTS), embedded(plain, "text", TEXTS), atol=1e-6)
    assert np.abs(embedded(new, "text", TEXTS) - embedded(plain, "text", TEXTS)).max() > 0.01


def test_a_commit_that_is_not_here_is_asked_of_the_hub(offline):
    with pytest.raises(MissingWeights, match="cannot be downloaded from here"):
        sentence_transformers.load(model="someone/model", revision=COMMIT, device="cpu")


@pytest.fixture
def coded(bert, tmp_path, monkeypatch):
    """A model that ends with a module of its own."""
    import shutil

    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / "coded"
    shutil.copytree(bert, folder)
    (folder / "shift.py").write_text(SHIFT)
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": len(modules), "name": str(len(modules)), "path": "", "type": "shift.Shift"})
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def test_code_runs_only_if_it_is_asked_for_and_pinned(coded, bert):
    with pytest.raises(
        BadSpec, match=r"needs Python code of its own \(shift.Shift\), which is never run unasked"
    ) as told:
        sentence_transformers.load(model=str(coded), device="cpu")
    digest = _custom_code.hash_of(coded)
    assert f"custom_code=true revision={digest}" in str(told.value)
    with pytest.raises(BadSpec, match=f"have the hash {digest}: if you have read them"):
        sentence_transformers.load(model=str(coded), custom_code=True, device="cpu")
    encoder = sentence_transformers.load(model=str(coded), custom_code=True, revision=digest, device="cpu")
    plain = embedded(sentence_transformers.load(model=str(bert), device="cpu"), "text", TEXTS)
    shifted = plain + np.eye(32)[0]
    np.testing.assert_allclose(
        embedded(encoder, "text", TEXTS), shifted / np.linalg.norm(shifted, axis=1, keepdims=True), atol=1e-5
    )


def test_code_that_changed_since_it_was_read_does_not_run(coded):
    digest = _custom_code.hash_of(coded)
    (coded / "shift.py").write_text(f"{SHIFT}\nraise SystemExit('stolen')\n")
    with pytest.raises(BadSpec, match="have the hash"):
        sentence_transformers.load(model=str(coded), custom_code=True, revision=digest, device="cpu")


def test_code_of_another_repository_is_refused(coded):
    config = json.loads((coded / "config.json").read_text()) if (coded / "config.json").is_file() else {}
    config["auto_map"] = {"AutoModel": "elsewhere/code--modeling.Model"}
    (coded / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadSpec, match=r"another repository, elsewhere/code, whose commit cannot be pinned"):
        digest = _custom_code.hash_of(coded)
        sentence_transformers.load(model=str(coded), custom_code=True, revision=digest, device="cpu")


def test_python_files_are_downloaded_only_for_custom_code():
    held = ["config.json", "modeling.py", "model.safetensors", "README.md"]
    assert "modeling.py" not in _hub._needed(held, _hub._SETTINGS + _hub._WEIGHTS)
    assert "modeling.py" in _hub._needed(held, _hub._SETTINGS + _hub._WEIGHTS + _hub._CODE)


def test_an_unknown_class_with_code_is_told_apart(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "mine", "auto_map": {"AutoModel": "modeling_mine.Mine"}}')
    with pytest.raises(
        BadSpec, match=r"needs Python code of its own \(modeling_mine.Mine\).*'sentence_transformers mod"
    ):
        adapter.load(model=str(tmp_path), device="cpu")


def test_pictures_are_stored_bit_for_bit_in_float32():
    rng = np.random.default_rng(0)
    given = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((5, 9), (9, 5), (1, 1), (7, 7))]
    given.append(np.full((3, 15, 3), 255, np.uint8))
    for one, other in zip(given, unpack_pictures(pack_pictures(given, 49)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (100, 50), (60, 60), (3, 3), (2000, 3)])
def test_pictures_are_shrunk_to_a_number_of_pixels(shape):
    picture = np.zeros((*shape, 3), np.uint8)
    small = Small(3000)(picture)
    assert small.shape[0] * small.shape[1] <= 3000
    if shape[0] * shape[1] <= 3000:
        assert small.shape == picture.shape
    elif min(shape) > 10:
        assert small.shape[0] / small.shape[1] == pytest.approx(shape[0] / shape[1], rel=0.05)
