"""ESC-50, Fashion-Gen and the activity manifest, on made files of the official form."""

import csv

import numpy as np
import pytest
from PIL import Image

from quiver.benchmarks.datasets import _place, activity, esc50, fashion_gen
from quiver.errors import BadData, BadSpec, MissingExtra
from quiver.registry import load
from quiver.task import check


def table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def sounds(tmp_path):
    """Three classes in five folds; each fold has two takes of one recording per class, and a single of class 2."""
    rows = [
        {
            "filename": f"{fold}-{10 * fold + kind}-{take}-{kind}.wav",
            "fold": fold,
            "target": kind,
            "category": ("dog", "sea_waves", "hen")[kind],
            "esc10": kind < 2,
            "src_file": 10 * fold + kind,
            "take": take,
        }
        for fold in range(1, 6)
        for kind in range(3)
        for take in "AB"
        if kind < 2 or (fold, take) == (1, "A")
    ]
    table(tmp_path / "meta" / "esc50.csv", rows)
    return tmp_path


def test_class_names_ask_for_their_clips(sounds):
    task = check(esc50.load(folder=sounds, partial=True))
    assert [(question.id, question.query.media["text"]) for question in task.questions][2] == ("sea_waves", "sea waves")
    assert [len(question.relevant) for question in task.questions] == [10, 1, 10]
    assert task.items[0].media == {"audio": str(sounds / "audio" / "1-10-A-0.wav")}
    ten = check(load("benchmarks.datasets", f"esc50 folder={sounds} split=esc10 fold=2 partial=true"))
    assert (len(ten.items), [len(question.relevant) for question in ten.questions]) == (4, [2, 2])
    assert {item.meta["fold"] for item in ten.items} == {2}


def test_clips_of_the_same_recording_do_not_compete(sounds):
    task = check(esc50.load(folder=sounds, track="audio_to_audio", partial=True))
    first = task.questions[0]
    assert first.exclude == ("1-10-A-0.wav", "1-10-B-0.wav")
    assert len(first.relevant) == 8
    assert len(task.questions) == 20
    assert "1 clips have no other recording of their class: left out" in task.notes


def test_a_fold_asks_the_other_folds(sounds):
    task = check(esc50.load(folder=sounds, track="audio_to_audio", fold=3, partial=True))
    assert {item.meta["fold"] for item in task.items} == {1, 2, 4, 5}
    assert [question.id for question in task.questions] == [
        "3-30-A-0.wav",
        "3-30-B-0.wav",
        "3-31-A-1.wav",
        "3-31-B-1.wav",
    ]
    assert {question.exclude for question in task.questions} == {()}
    with pytest.raises(BadSpec, match="fold must be 1 to 5, not 6"):
        esc50.load(folder=sounds, fold=6)


def test_esc50_has_two_thousand_clips(sounds):
    with pytest.raises(BadData, match=r"esc50\.csv: 21 clips, expected 2,000"):
        esc50.load(folder=sounds)
    rows = [
        {
            "filename": f"{fold}-{1000 * fold + n}-A-{kind}.wav",
            "fold": fold,
            "target": kind,
            "category": f"class_{kind}",
            "esc10": str(kind < 10),
            "src_file": 1000 * fold + n,
            "take": "A",
        }
        for fold in range(1, 6)
        for n, kind in enumerate(kind for kind in range(50) for _ in range(8))
    ]
    table(sounds / "meta" / "esc50.csv", rows)
    task = check(esc50.load(folder=sounds))
    assert (len(task.items), len(task.questions), task.notes) == (2000, 50, ())
    assert {len(question.relevant) for question in task.questions} == {40}
    assert len(esc50.load(folder=sounds, split="esc10", track="audio_to_audio").questions) == 400


def shelf(path, count=24, kinds=2, text=None):
    """Write a Fashion-Gen file: product n has two views, and its description is Latin-1."""
    h5py = pytest.importorskip("h5py")
    rows = [n for n in range(count) for _ in range(2)]
    cells = {
        "input_description": [(text or "robe légère {}").format(n).encode("latin-1") for n in rows],
        "input_category": [b"DRESSES" for n in rows],
        "input_subcategory": [f"KIND {n % kinds}".encode() for n in rows],
        "input_name": [f"Robe {n}".encode() for n in rows],
    }
    with h5py.File(path, "w") as file:
        for name, values in cells.items():
            file[name] = np.array(values)[:, None]
        file["input_productID"] = np.array(rows)[:, None]
        shade = np.arange(len(rows), dtype=np.uint8)[:, None, None, None]
        file["input_image"] = np.broadcast_to(shade, (len(rows), 8, 8, 3))
    return path.parent


VALIDATION = "fashiongen_256_256_validation.h5"


def test_a_description_finds_any_view_of_its_product(tmp_path):
    folder = shelf(tmp_path / VALIDATION)
    task = check(fashion_gen.load(folder=folder, partial=True))
    assert (len(task.items), len(task.questions)) == (48, 24)
    assert task.questions[3].query.media == {"text": "robe légère 3"}
    assert task.questions[3].relevant == {"photo000006": 1, "photo000007": 1}
    assert task.items[7].meta == {"product": "3", "category": "DRESSES", "subcategory": "KIND 1"}
    assert task.items[7].media == {"image": str(folder / "images" / "validation" / "000007.png")}


def test_a_photo_finds_its_description(tmp_path):
    task = check(fashion_gen.load(folder=shelf(tmp_path / VALIDATION), track="image_to_text", partial=True))
    assert (len(task.items), len(task.questions)) == (24, 48)
    assert task.questions[7].relevant == {"product3": 1}
    assert task.items[3].media == {"text": "robe légère 3"}


@pytest.mark.parametrize("track", ["text_to_image", "image_to_text"])
def test_the_sampled_protocol_sets_a_hundred_products_of_the_kind_against_one(tmp_path, track):
    folder = shelf(tmp_path / VALIDATION, count=220)
    task = check(fashion_gen.load(folder=folder, track=track, protocol="sampled", draws=2, partial=True))
    per_draw = 220 if track == "text_to_image" else 440
    assert len(task.questions) == 2 * per_draw
    products = {item.id: item.meta["product"] for item in task.items}
    kinds = {item.id: item.meta["subcategory"] for item in task.items}
    for question in task.questions:
        assert len({products[id] for id in question.candidates}) == len(question.candidates) == 101
        assert len({kinds[id] for id in question.candidates}) == 1
    assert task.name.endswith("protocol=sampled draws=2 seed=0")
    assert not any("filled up" in note for note in task.notes)


def test_fashion_gen_counts_are_checked(tmp_path):
    with pytest.raises(BadData, match=r"validation\.h5: 48 photos, expected 32,528"):
        fashion_gen.load(folder=shelf(tmp_path / VALIDATION))


def test_photos_are_extracted_once_and_whole(tmp_path):
    folder = shelf(tmp_path / VALIDATION, count=3)
    images = fashion_gen.extract(folder)
    assert sorted(path.name for path in images.iterdir()) == [f"{n:06d}.png" for n in range(6)]
    assert np.array(Image.open(images / "000004.png")).tolist() == np.full((8, 8, 3), 4).tolist()
    before = (images / "000004.png").stat().st_mtime_ns
    (images / "000005.png").unlink()
    fashion_gen.extract(folder)
    assert (images / "000004.png").stat().st_mtime_ns == before
    assert _place.missing(fashion_gen.load(folder=folder, partial=True)) == []


def test_a_product_without_words_is_not_asked_for(tmp_path):
    task = fashion_gen.load(folder=shelf(tmp_path / VALIDATION, count=2, text=" "), partial=True)
    assert (len(task.items), len(task.questions)) == (4, 0)
    assert "2 products have no description: left out as questions" in task.notes


def test_files_of_another_form_and_a_missing_library_are_told(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    (tmp_path / VALIDATION).write_bytes(b"no")
    with pytest.raises(BadData, match="is not an HDF5 file"):
        fashion_gen.load(folder=tmp_path)
    with h5py.File(tmp_path / VALIDATION, "w") as file:
        file["input_description"] = np.array([[b"x"]])
    with pytest.raises(BadData, match="has no field 'input_productID'; it has input_description"):
        fashion_gen.load(folder=tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"h5py is not installed: pip install 'quiver-search\[bench\]'"):
        fashion_gen.load(folder=tmp_path)


ROWS = [
    ("s1", "image", "s1.jpg", "run", "v1"),
    ("s2", "image", "s2.jpg", "swim|run", ""),
    ("s3", "image", "s3.jpg", "fly", ""),
    ("v1", "video", "v1.mp4", "run", ""),
    ("v2", "video", "v2.mp4", "run | jump", ""),
    ("v3", "video", "v3.mp4", "swim", ""),
]


def manifest(folder, rows, split="test"):
    names = ("id", "kind", "path", "labels", "source")
    table(folder / "manifest.csv", [{**dict(zip(names, row, strict=True)), "split": split} for row in rows])
    return folder


def test_a_still_finds_the_videos_that_share_its_activity_but_its_own(tmp_path):
    task = check(activity.load(folder=manifest(tmp_path, ROWS)))
    assert {question.id: set(question.relevant) for question in task.questions} == {
        "s1": {"v2"},
        "s2": {"v1", "v2", "v3"},
    }
    assert [question.exclude for question in task.questions] == [("v1",), ()]
    assert "1 stills show what no other video of the split does: left out" in task.notes
    assert task.items[0].media == {"video": str(tmp_path / "v1.mp4")}
    assert "APh@100" in task.measures


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("v1", "video", "x", "run", ""), "id 'v1' occurs twice"),
        (("v9", "film", "x", "run", ""), "v9 is of kind 'film'"),
        (("v9", "video", "x", " | ", ""), "v9 has no label"),
    ],
)
def test_a_faulty_manifest_is_refused(tmp_path, row, message):
    with pytest.raises(BadData, match=message):
        activity.load(folder=manifest(tmp_path, [*ROWS, row]))


def test_a_split_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    with pytest.raises(BadData, match="has no split 'val'; it has test"):
        activity.load(folder=manifest(tmp_path, ROWS), split="val")
