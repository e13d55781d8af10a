"""The real packs, with the counts their MANIFEST.md states."""

import os
from pathlib import Path

import pytest

from quiver.engine import source
from quiver.errors import BadData

PACKS = Path(os.environ.get("QUIVER_DATA", Path(__file__).parents[3] / "../shared/data")).resolve()
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not PACKS.is_dir(), reason=f"no data packs in {PACKS}: set QUIVER_DATA"),
]


WORDS = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}


def rows(stream):
    return [row for batch in stream.batches(500) for row in batch.to_pylist()]


def both_ways(pack, **options):
    """Read a pack as a folder with its table and as its manifest."""
    folder, table = str(PACKS / pack), str(PACKS / pack / "meta.csv")
    return source.open([folder], meta=table, **options), source.open([table], **options)


@pytest.mark.parametrize(
    ("pack", "count", "kind"),
    [
        ("esc10", 320, "audio"),
        ("esc40", 240, "audio"),
        ("fashion_products", 7668, "image"),
        ("clothing", 4076, "image"),
        ("exercise_pairs", 1400, "image"),
        ("home_video", 19, "video"),
    ],
)
def test_a_folder_with_its_table_equals_its_manifest(pack, count, kind):
    joined, listed = both_ways(pack)
    assert joined.total == listed.total == count
    by_id = {row["id"]: row for row in rows(listed)}
    assert {row["id"]: row for row in rows(joined)} == by_id
    assert len(by_id) == count
    assert all(os.path.isfile(row[kind]) for row in by_id.values())
    assert joined.problems() == listed.problems() == []


def test_esc10_has_typed_columns_and_ids_from_paths():
    _, listed = both_ways("esc10")
    assert [str(kind) for kind in listed.schema.types] == ["int64", "string", "int64", "double", *["string"] * 4]
    first = rows(listed)[0]
    assert (first["id"], first["fold"], first["label"]) == ("esc10/audio/1-100032-A.ogg", 1, "dog_bark")


def test_fashion_products_are_named_by_their_id_column():
    joined, _ = both_ways("fashion_products")
    assert "meta.csv: column file names 7668 of 7668 files by path below the folder" in joined.notes
    found = {row["id"]: row for row in rows(joined)}
    assert found["10001"]["base_colour"] == "Blue"
    assert found["10001"]["image"].endswith("fashion_products/images/10001.jpg")
    assert "id" not in joined.schema.names


def test_asl_stills_have_no_row_unless_only_clips_are_wanted():
    joined, listed = both_ways("asl_video")
    assert (joined.total, listed.total) == (758, 379)
    assert "files without a row in meta.csv, their metadata null: 379" in joined.notes
    assert all(row["still"].startswith("stills/") for row in rows(listed))
    clips, _ = both_ways("asl_video", media="video")
    assert {row["id"]: row for row in rows(clips)} == {row["id"]: row for row in rows(listed)}


def test_an_asl_row_may_hold_clip_and_still():
    found = rows(source.open([str(PACKS / "asl_video/meta.csv")], media="image=still"))
    assert len(found) == 379
    assert all(os.path.isfile(row["image"]) and os.path.isfile(row["video"]) for row in found)


def test_stamps_are_pictures_with_captions_and_some_sounds():
    table = str(PACKS / "stamps/meta.csv")
    found = rows(source.open([table], media="image=file,audio=sound,text=caption"))
    assert len(found) == 429
    assert sum(row["audio"] is not None for row in found) == 82
    assert all(os.path.isfile(row["image"]) and row["text"] for row in found)
    assert source.open([str(PACKS / "stamps")]).total == 429 + 82


def test_spoken_digits_hold_their_word_as_text():
    found = rows(source.open([str(PACKS / "fsdd/meta.csv")]))
    assert len(found) == 2250
    assert {row["text"] for row in found} == WORDS
    assert found[0]["audio"].endswith("fsdd/audio/0_george_10.flac")


def test_exercise_pairs_can_be_listed_as_pairs(tmp_path):
    images = [row["image"] for row in rows(source.open([str(PACKS / "exercise_pairs/meta.csv")]))]
    pairs = zip(images[::2], images[1::2], strict=True)
    (tmp_path / "pairs.csv").write_text("before,after\n" + "".join(f"{a},{b}\n" for a, b in pairs))
    found = rows(source.open([str(tmp_path / "pairs.csv")]))
    assert len(found) == 700
    assert all(row["before"][:-5] == row["after"][:-5] for row in found)


def test_sift_vectors_are_read_from_their_npz():
    stream = source.open_vectors(str(PACKS / "sift100k/base.npz"))
    assert (stream.total, stream.dim) == (100_000, 128)
    assert sum(len(batch) for batch in stream.batches(30_000)) == 100_000
    with pytest.raises(BadData, match="name the array"):
        source.open_vectors(str(PACKS / "sift100k/queries.npz"))
    assert source.open_vectors(str(PACKS / "sift100k/queries.npz"), column="queries").total == 1000
