"""The main job on real files: a folder into a collection, searched by example, by condition and by words."""

import csv

import pytest

import quiver

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def mobilenet(packs):
    network = "model=mobilenetv2_100 pad_type=same num_classes=1001 mean=0.5 std=0.5 frames=4"
    return f"timm {network} checkpoint={packs}/weights/mobilenetv2_100_imagenet1001.safetensors"


def nearest(collection, ids, label, **ask):
    """Share of items whose nearest other item has the same label."""
    queries = [quiver.Query(like=(id,), k=1, **ask) for id in ids]
    labels = {item.id: item.meta[label] for item in collection.get(ids)}
    return sum(
        result[0].meta[label] == labels[id] for id, result in zip(ids, collection.search_batch(queries), strict=True)
    ) / len(ids)


def test_sounds_find_sounds_of_their_class(packs, tmp_path):
    collection = quiver.open(tmp_path / "sounds")
    encoder = f"onnx file={packs}/weights/yamnet.onnx input=waveform output=embeddings pool=max min_samples=15600"
    report = collection.add(packs / "esc10" / "meta.csv", packs / "esc40" / "meta.csv", encoder=encoder)
    assert (report.added, report.quarantined) == (560, 0)
    with (packs / "esc10" / "meta.csv").open() as lines:
        ids = [f"esc10/{row['file']}" for row in csv.DictReader(lines)]
    assert nearest(collection, ids, "label") >= 0.95


@pytest.mark.slow
def test_products_are_found_by_example_by_condition_and_by_words(packs, tmp_path, mobilenet):
    folder = packs / "fashion_products"
    with (folder / "meta.csv").open() as lines:
        rows = list(csv.DictReader(lines))[::16]
    files = [str(folder / row["file"]) for row in rows]
    collection = quiver.open(tmp_path / "shop")
    report = collection.add(*files, meta=folder / "meta.csv", key="file", encoder=mobilenet)
    assert (report.added, report.quarantined) == (len(rows), 0)
    ids = [row["id"] for row in rows]
    assert nearest(collection, ids, "article_type") >= 0.6
    red = {row["id"] for row in rows if row["base_colour"] == "Red"}
    found = collection.search(like=ids[0], where="base_colour = 'Red'", k=1000)
    assert {hit.id for hit in found} == red - {ids[0]}
    assert collection.search(text=rows[5]["name"], k=1)[0].meta["name"] == rows[5]["name"]


@pytest.mark.slow
def test_still_photographs_find_clips_of_the_same_sign(packs, tmp_path, mobilenet):
    folder = packs / "asl_video"
    with (folder / "meta.csv").open() as lines:
        rows = list(csv.DictReader(lines))[::6]
    files = [str(folder / row["file"]) for row in rows]
    collection = quiver.open(tmp_path / "signs")
    collection.add(*files, meta=folder / "meta.csv", key="file", encoder=mobilenet)
    queries = [quiver.Query({"image": str(folder / row["still"])}, target="video", k=1) for row in rows]
    hits = [result[0].meta["letter"] for result in collection.search_batch(queries)]
    assert sum(hit == row["letter"] for hit, row in zip(hits, rows, strict=True)) / len(rows) >= 0.6
