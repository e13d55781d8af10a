import json

import numpy as np
import pytest

from quiver import registry
from quiver.encoders import _frozen
from quiver.encoders._frozen import Frozen
from quiver.encoders._train import extract
from quiver.errors import BadMedia, BadSpec
from quiver.types import Space


@pytest.fixture
def pictures(photos):
    """Paths of 24 pictures, of which the sixth cannot be decoded."""
    paths = sorted(map(str, photos.iterdir()))
    with open(paths[5], "wb") as file:
        file.write(b"no picture at all")
    return paths


def quarantined(cache):
    return [json.loads(line) for line in (cache / "quarantine.jsonl").read_text().splitlines()]


def test_rows_are_those_of_the_encoder_and_a_bad_file_is_zero_masked_and_named(tmp_path, pictures, capsys):
    rows, mask = extract("classic", "image", pictures, cache=tmp_path / "cache")
    encoder = registry.load("encoders", "classic")
    read, (space,) = encoder.reader("image"), encoder.spaces("image")
    good = [path for place, path in enumerate(pictures) if place != 5]
    expected = encoder.embed("image", [read(path) for path in good], space)
    np.testing.assert_allclose(rows[mask], expected, atol=1e-6)
    assert np.flatnonzero(~mask).tolist() == [5] and not rows[5].any() and rows.dtype == np.float32
    (line,) = quarantined(tmp_path / "cache")
    assert line["ref"] == pictures[5] and pictures[5].rsplit("/", 1)[1] in line["reason"]
    assert capsys.readouterr().err.startswith("note: 1 of 24 image references cannot be read: see ")


def test_a_second_call_reads_the_cache_and_a_changed_file_is_read_again(tmp_path, pictures):
    cache = tmp_path / "cache"
    rows, mask = extract("classic", "image", pictures, cache=cache)
    (kept,) = cache.glob("*.safetensors")
    before = kept.stat().st_mtime_ns
    again, mask_again = extract("classic", "image", pictures, cache=cache)
    assert kept.stat().st_mtime_ns == before and len(quarantined(cache)) == 1
    assert np.array_equal(rows, again) and np.array_equal(mask, mask_again)
    with open(pictures[5], "wb") as file, open(pictures[0], "rb") as other:
        file.write(other.read())
    cured, mask = extract("classic", "image", pictures, cache=cache)
    assert mask.all() and np.array_equal(cured[5], cured[0]) and len(list(cache.glob("*.safetensors"))) == 2


def test_work_is_kept_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr("quiver.encoders._train.feature.BLOCK", 10)
    texts = [f"word{n} and word{n * n}" for n in range(25)]
    whole, mask = extract("classic dim=64", "text", texts, cache=None)
    blocks, _ = extract("classic dim=64", "text", texts, cache=tmp_path)
    assert mask.all() and np.array_equal(whole, blocks) and len(list(tmp_path.glob("*.safetensors"))) == 3
    extract("classic dim=64", "text", texts[:20], cache=tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    extract("classic dim=32", "text", texts[:20], cache=tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 5


def test_many_rows_are_mapped_from_one_file_that_is_made_once(tmp_path, monkeypatch, pictures):
    held, held_mask = extract("classic", "image", pictures, cache=None)
    monkeypatch.setattr("quiver.encoders._train.feature.BLOCK", 10)
    monkeypatch.setattr("quiver.encoders._train.feature.MAPPED", 1000)
    rows, mask = extract("classic", "image", pictures, cache=tmp_path)
    assert isinstance(rows, np.memmap) and np.array_equal(rows, held) and np.array_equal(mask, held_mask)
    (folder,) = tmp_path.glob("rows-*")
    before = (folder / "rows.npy").stat().st_mtime_ns
    again, _ = extract("classic", "image", pictures, cache=tmp_path)
    assert isinstance(again, np.memmap) and np.array_equal(again, held)
    assert (folder / "rows.npy").stat().st_mtime_ns == before and not mask.all()
    assert [each.name for each in tmp_path.glob("rows-*")] == [folder.name]


def test_several_encoders_are_joined_side_by_side():
    texts = ["a red dress", "a blue shoe"]
    narrow, wide = (extract(f"classic dim={dim}", "text", texts, cache=None)[0] for dim in (16, 64))
    both, _ = extract("classic dim=16 + classic dim=64", "text", texts, cache=None)
    assert np.array_equal(both, np.concatenate([narrow, wide], axis=1))


def test_no_references_give_no_rows_and_a_foreign_key_is_refused():
    rows, mask = extract("classic dim=16", "text", [], cache=None)
    assert rows.shape == (0, 16) and mask.shape == (0,)
    with pytest.raises(BadSpec, match=r"timm.*embeds image, video, not text"):
        extract("timm model=resnet10t pretrained=false", "text", ["a"], cache=None)


class Deaf:
    """An encoder of numbers that refuses a batch with a negative one, as one does whose vector is not finite."""

    keys = ("text",)
    space = Space("deaf", 2, "dot", "1")

    def spaces(self, key):
        return (self.space,)

    def reader(self, key):
        return float

    def embed(self, key, batch, space):
        if min(batch) < 0:
            raise BadMedia(f"{min(batch)} gives no vector")
        return np.float32([[each, 1] for each in batch])


def test_what_an_encoder_refuses_is_left_out_and_costs_its_neighbours_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(_frozen, "open", lambda spec, key: Frozen(key, ((Deaf(), Deaf.space),)))
    rows, mask = extract("deaf", "text", ["1", "-2", "x", "3"], cache=tmp_path)
    assert mask.tolist() == [True, False, False, True] and rows[mask].tolist() == [[1, 1], [3, 1]]
    assert [line["ref"] for line in quarantined(tmp_path)] == ["-2", "x"]
    assert quarantined(tmp_path)[0]["reason"] == "-2.0 gives no vector"
