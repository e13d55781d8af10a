"""Near-duplicates in a collection: equal files, almost equal vectors, groups that do not chain. Numbers by hand."""

import json
import math
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import quiver
from quiver.cli import app
from quiver.errors import BadSpec


def at(degrees):
    angle = np.radians(degrees)
    return [math.cos(angle), math.sin(angle)]


@pytest.fixture
def fan(tmp_path):
    collection = quiver.open(tmp_path / "fan", catch_up=False)
    degrees = [0, 40, 4, 8, 41, 90]
    meta = {"n": list(range(6))}
    collection.add_vectors(
        np.float32([at(each) for each in degrees]), ids=[f"v{each}" for each in degrees], space="plane", meta=meta
    )
    return collection


def groups(found):
    return [tuple(group.ids) for group in found.groups]


def test_every_member_resembles_the_first_of_its_group(fan):
    found = fan.duplicates(threshold=math.cos(math.radians(5)))
    assert groups(found) == [("v0", "v4"), ("v40", "v41")]  # v8 resembles v4, which v0 stands for
    assert found.groups[0].similarity == pytest.approx(math.cos(math.radians(4)), abs=1e-5)
    assert (found.items, found.extra, found.space, found.key) == (6, 2, "plane", "image")
    assert not found.groups[0].exact
    assert groups(fan.duplicates(threshold=math.cos(math.radians(9)))) == [("v0", "v4", "v8"), ("v40", "v41")]
    assert groups(fan.duplicates(threshold=1)) == [] and fan.duplicates(threshold=1).extra == 0


def test_a_condition_restricts_what_is_compared(fan):
    found = fan.duplicates("n > ?", [1], threshold=math.cos(math.radians(5)))
    assert groups(found) == [("v4", "v8")] and found.items == 4
    assert fan.duplicates("n > 99").items == 0


def test_changes_count_at_once(fan):
    fan.search(vector=at(0), k=1)  # the vectors are in memory now
    fan.add_vectors(np.float32([at(90.1)]), ids=["new"], space="plane", meta={"n": [9]})
    fan.delete("v4")
    assert groups(fan.duplicates(threshold=0.9999)) == [("v90", "new")]
    assert groups(fan.duplicates(threshold=math.cos(math.radians(9)))) == [("v0", "v8"), ("v40", "v41"), ("v90", "new")]


def test_equal_files_are_exact_and_near_ones_are_not(tmp_path, photos):
    shutil.copy(photos / "red0.png", photos / "again.png")
    pixels = np.asarray(Image.open(photos / "blue0.png")).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(photos / "almost.png")
    collection = quiver.open(tmp_path / "c", catch_up=False)
    collection.add(photos, encoder="classic", workers=0)
    found = collection.duplicates(threshold=0.99999)
    assert [(sorted(id.rpartition("/")[2] for id in group.ids), group.exact) for group in found.groups] == [
        (["again.png", "red0.png"], True),
        (["almost.png", "blue0.png"], False),
    ]
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["duplicates", str(tmp_path / "c"), "--threshold", "0.99999", "--html", str(page)])
    assert done.exit_code == 0 and len(done.stdout.splitlines()) == 4
    assert done.stdout.splitlines()[0].split("\t")[:2] == ["1", "equal files"]
    assert page.read_text().count("<img") == 4 and "2 items, equal files" in page.read_text()


def test_items_without_vectors_are_compared_by_their_files(tmp_path, photos):
    shutil.copy(photos / "red0.png", photos / "again.png")
    collection = quiver.open(tmp_path / "c", catch_up=False)
    collection.add(photos, encoder="classic", workers=0)
    collection.drop("classic")
    found = collection.duplicates()
    assert (len(found.groups), found.space, found.groups[0].similarity, found.groups[0].exact) == (1, None, None, True)


def test_many_equal_items_take_no_quadratic_memory(tmp_path):
    collection = quiver.open(tmp_path / "c", catch_up=False)
    ids = [str(n) for n in range(30_000)]
    collection.add_vectors(np.ones((30_000, 4), np.float32), ids=ids, space="mine", progress=False)
    found = collection.duplicates()
    assert (len(found.groups), found.extra) == (1, 29_999)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        ({"threshold": 0}, "threshold must be a cosine similarity above 0 and at most 1"),
        ({"threshold": "0.9"}, "not '0.9'"),
        ({"space": "other"}, "no vectors in a space 'other' to compare; vectors here: image in plane"),
        ({"target": "audio"}, "no audio vectors"),
        ({"target": "smell"}, "target must be one of text, image"),
        ({"where": "prize > 3"}, "prize"),
    ],
)
def test_what_cannot_be_compared_is_one_line(fan, ask, says):
    with pytest.raises(BadSpec, match=says):
        fan.duplicates(**ask)


def test_the_command_prints_json(fan):
    done = CliRunner().invoke(app, ["duplicates", fan.uri, "--threshold", "0.996", "--json"])
    assert [group["ids"] for group in json.loads(done.stdout)["groups"]] == [["v0", "v4"], ["v40", "v41"]]
