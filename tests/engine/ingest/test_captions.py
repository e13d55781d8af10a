"""Captions: written in batches, current ones kept, a user's own never replaced, old ones not searched."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image
from typer.testing import CliRunner

import quiver
from quiver.cli import app
from quiver.errors import BadData, BadMedia, BadSpec, Untrusted

#: A model of a third party: it names the strongest colour of a picture; text options make it fail.
COLOURS = """
import numpy as np
from quiver.media import ImageReader, PairReader, VideoReader
from quiver.protocols import Told

READ = ImageReader(8, fit="squash")
READERS = {"image": READ, "pair": PairReader(READ), "video": VideoReader(2, READ)}


def name(pixels):
    return ("red", "green", "blue")[int(pixels.reshape(-1, 3).mean(0).argmax())]


class Teller:
    name = "colours"
    at_once = 4

    def __init__(self, word, keys, fail):
        self.word, self.keys, self.fail, self.revision = word, keys, fail, (word.encode().hex() + "0" * 64)[:64]

    def reader(self, key):
        return READERS[key]

    def tell(self, key, batch, *, beams=1, most=1):
        said = []
        for each in batch:
            shade = [name(part) for part in each] if key == "pair" else name(each)
            if shade == self.fail:
                raise ValueError(f"cannot bear {shade}")
            sentence = " to ".join(shade) if key == "pair" else f"a {shade} {self.word}"
            said.append("" if self.word == "nothing" else sentence)
        return [[Told(f"{text} {n}" if n else text, -0.5 - n) for n in range(most)] for text in said]


class Made:
    keys = ()

    def __init__(self, *tellers):
        self.tellers = tellers

    def spaces(self, key):
        return ()


def load(*, word: str = "tile", keys: str = "image,pair", fail: str = ""):
    return Made(Teller(word, tuple(keys.split(",")), fail))
"""


@pytest.fixture
def colours(lab):
    (lab / "colours.py").write_text(COLOURS)
    return "lab.colours"


@pytest.fixture
def shop(tmp_path):
    return quiver.open(tmp_path / "shop", catch_up=False)


def captions(collection):
    return {item.id: item.meta.get("caption") for item in collection.get([*ids(collection)])}


def ids(collection):
    return [f"photos/{colour}{n}.png" for colour in ("red", "green", "blue") for n in range(8)]


def reasons(collection):
    return {row["id"]: row["reason"] for row in collection.info()["quarantine"]}


def test_captions_are_written_and_found_by_full_text_search_but_the_model_is_not(shop, photos, colours):
    report = shop.add(photos, tell=colours, workers=0)
    assert (report.added, report.captioned, report.quarantined) == (24, 24, 0)
    assert captions(shop)["photos/red0.png"] == "a red tile"
    found = shop.search(text="tile of a red", k=8)
    assert {hit.id for hit in found} == {f"photos/red{n}.png" for n in range(8)}
    by = shop.get("photos/red0.png")[0].meta["caption_by"]
    assert by.startswith("colours@74696c65 of ")
    assert list(shop.search(text="colours", k=8)) == []
    assert shop.count("caption_by LIKE 'colours@74696c65%'") == 24


def test_what_has_a_current_caption_is_not_described_again(shop, photos, colours):
    shop.add(photos, workers=0)
    first = shop.add(tell=colours, workers=0)
    assert (first.captioned, first.embedded, first.unchanged) == (24, 0, 0)
    version = shop.info()["version"]
    again = shop.add(tell=True, workers=0)
    assert again.captioned == 0 and again.notes == ["captions that are current: 24"]
    assert shop.info()["version"] == version
    assert shop.add(photos, tell=True, workers=0).captioned == 0


def test_only_the_items_of_an_add_are_described(shop, photos, colours, tmp_path):
    shop.add(photos, workers=0)
    (tmp_path / "more").mkdir()
    shutil.copy(photos / "red0.png", tmp_path / "more" / "a.png")
    assert shop.add(tmp_path / "more", tell=colours, workers=0).captioned == 1
    assert set(captions(shop).values()) == {None}
    assert shop.add(tell=True, workers=0).captioned == 24


def test_another_model_or_beam_width_replaces_the_captions_of_a_model(shop, photos, colours):
    shop.add(photos, tell=colours, workers=0)
    assert shop.add(tell=f"{colours} word=card", workers=0).captioned == 24
    assert captions(shop)["photos/blue7.png"] == "a blue card"
    assert list(shop.search(text="tile", k=3)) == [] and len(shop.search(text="card", k=3)) == 3
    assert shop.add(tell=True, workers=0).captioned == 0  # the model that wrote them last
    assert shop.add(tell=True, beams=3, workers=0).captioned == 24
    assert "beams=3" in shop.get("photos/blue7.png")[0].meta["caption_by"]


def test_a_caption_that_a_user_wrote_changed_or_cleared_is_kept(shop, photos, colours):
    shop.add(photos, tell=colours, workers=0)
    shop.update_meta({"photos/red0.png": {"caption": "my door"}, "photos/red1.png": {"caption": None}})
    new = photos.parent / "photos" / "red9.png"
    Image.new("RGB", (24, 24), "red").save(new)
    shop.add(quiver.Item("photos/red9.png", {"image": str(new)}, {"caption": "all mine"}), workers=0)
    report = shop.add(tell=f"{colours} word=card", workers=0)
    assert report.captioned == 22
    assert "captions of your own, which stay: 3" in report.notes
    held = captions(shop)
    assert (held["photos/red0.png"], held["photos/red1.png"]) == ("my door", None)
    assert shop.get("photos/red9.png")[0].meta["caption"] == "all mine"


def test_a_column_of_the_user_is_refused_before_anything_is_added(shop, photos, colours, tmp_path):
    table = tmp_path / "captions.csv"
    table.write_text("file,caption\n" + "".join(f"{path.name},words of my own\n" for path in photos.iterdir()))
    with pytest.raises(BadSpec, match=r"'caption' is your own.*caption_column="):
        shop.add(photos, meta=table, tell=colours, workers=0)
    assert not os.path.exists(shop.uri)
    shop.add(photos, meta=table, workers=0)
    with pytest.raises(BadSpec, match="'caption' is your own"):
        shop.add(tell=colours, workers=0)
    assert shop.add(tell=colours, caption_column="said", workers=0).captioned == 24
    item = shop.get("photos/red0.png")[0]
    assert (item.meta["caption"], item.meta["said"]) == ("words of my own", "a red tile")


def test_the_caption_of_former_content_goes_with_it(shop, photos, colours):
    shop.add(photos, tell=colours, workers=0)
    shop.update_meta({"photos/red1.png": {"caption": "my door"}})
    for name in ("red0", "red1"):
        Image.new("RGB", (24, 24), "blue").save(photos / f"{name}.png")
    assert shop.add(photos, workers=0).updated == 2
    held = captions(shop)
    assert (held["photos/red0.png"], held["photos/red1.png"]) == (None, "my door")
    assert "photos/red0.png" not in {hit.id for hit in shop.search(text="red", k=24)}
    assert shop.add(photos, tell=True, workers=0).captioned == 1
    assert captions(shop)["photos/red0.png"] == "a blue tile"


def test_a_file_that_changed_or_is_gone_is_quarantined_and_the_rest_is_described(shop, photos, colours):
    shop.add(photos, workers=0)
    Image.new("RGB", (24, 24), "blue").save(photos / "red0.png")
    (photos / "red1.png").unlink()
    report = shop.add(tell=colours, workers=1)
    assert (report.captioned, report.quarantined) == (22, 2)
    assert "no caption: its files have changed since it was added" in reasons(shop)["photos/red0.png"]
    assert "no caption: " in reasons(shop)["photos/red1.png"]
    assert len(shop) == 24
    shop.add(photos / "red0.png", tell=True, workers=0)
    assert set(reasons(shop)) == {"photos/red1.png"}


def test_an_input_that_the_model_cannot_bear_takes_only_itself_down(shop, photos, colours):
    report = shop.add(photos, tell=f"{colours} fail=green", workers=0)
    assert (report.captioned, report.quarantined) == (16, 8)
    assert reasons(shop)["photos/green3.png"] == "no caption: colours: ValueError: cannot bear green"
    assert captions(shop)["photos/red3.png"] == "a red tile"
    assert shop.add(tell=colours, workers=0).captioned == 8 and reasons(shop) == {}


def test_a_quarantine_of_another_reason_is_not_cured_by_a_caption(shop, photos, colours, lab):
    (lab / "shy.py").write_text(
        "import numpy as np\nfrom quiver.media import ImageReader\nfrom quiver.types import Space\n"
        "class Made:\n    keys = ('image',)\n"
        "    def spaces(self, key): return (Space('shy', 2, 'l2', '0'),) if key == 'image' else ()\n"
        "    def reader(self, key): return ImageReader(8)\n"
        "    def embed(self, key, batch, space): raise ValueError('no')\n"
        "def load(): return Made()\n"
    )
    shop.add(photos, workers=0)
    assert shop.add(encoder="lab.shy", workers=0).quarantined == 24
    assert shop.add(tell=colours, workers=0).captioned == 24
    assert len(reasons(shop)) == 24


def test_a_model_that_says_nothing_is_not_asked_again(shop, photos, colours):
    report = shop.add(photos, tell=f"{colours} word=nothing", workers=0)
    assert "items about which the model said nothing: 24" in report.notes
    assert set(captions(shop).values()) == {None}
    assert shop.add(tell=True, workers=0).captioned == 0


def test_a_pair_is_described_by_its_change_and_other_media_are_counted(shop, photos, colours):
    pair = {"before": str(photos / "red0.png"), "after": str(photos / "blue0.png")}
    shop.add(quiver.Item("change", pair), quiver.Item("words", {"text": "only a text"}), photos, workers=0)
    report = shop.add(tell=colours, workers=0)
    assert (
        report.captioned == 25 and "items without the media that the model describes (pair or image): 1" in report.notes
    )
    assert shop.get("change")[0].meta["caption"] == "red to blue"


def test_a_killed_run_keeps_its_commits_and_goes_on(shop, photos, colours, lab, monkeypatch):
    shop.add(photos, workers=0)
    code = (
        "import os, sys\nimport quiver\nfrom quiver.engine.ingest import captions\n"
        "captions._SECONDS = 0.0\nheld, done = captions.write, []\n"
        "def write(*args):\n    count = held(*args)\n    done.append(count)\n"
        "    if len(done) == 2: os._exit(9)\n    return count\n"
        "captions.write = write\nquiver.open(sys.argv[1], catch_up=False).add(tell='lab.colours', workers=0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(lab.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code, shop.uri], env=environment, check=False)
    assert done.returncode == 9
    assert shop.count("caption IS NOT NULL") == 8
    assert shop.add(tell=True, workers=0).captioned == 16
    assert None not in captions(shop).values()


def test_a_change_by_another_writer_meanwhile_is_kept(shop, photos, colours, lab):
    (lab / "slow.py").write_text(
        COLOURS
        + "\nimport quiver\nheld = Teller.tell\n"
        + "def tell(self, key, batch, **options):\n"
        + "    quiver.open(PLACE, catch_up=False).update_meta({'photos/red0.png': {'caption': 'mine'}})\n"
        + "    return held(self, key, batch, **options)\n"
        + f"Teller.tell, PLACE = tell, {shop.uri!r}\n"
    )
    shop.add(photos, tell=colours, workers=0)
    assert shop.add(tell="lab.slow word=card", workers=0).captioned == 23
    assert captions(shop)["photos/red0.png"] == "mine"


def test_stored_items_and_media_are_described_in_python(shop, photos, colours):
    shop.add(photos, tell=colours, workers=0)
    assert [told.text for told in shop.caption("photos/red0.png", beams=2, most=2)] == ["a red tile", "a red tile 1"]
    assert shop.caption("photos/red0.png", encoder=f"{colours} word=card")[0].text == "a red card"
    assert shop.get("photos/red0.png")[0].meta["caption"] == "a red tile"
    told = quiver.caption(before=photos / "red0.png", after=photos / "green1.png", encoder=colours)
    assert told == [quiver.Told("red to green", -0.5)]
    with pytest.raises(BadSpec, match="no item has the id 'absent'"):
        shop.caption("absent")


@pytest.mark.parametrize(
    ("media", "problem"),
    [
        ({}, "nothing to describe"),
        ({"before": "a.png"}, "a pair needs both before and after"),
        ({"picture": "a.png"}, "caption has no option 'picture'"),
        ({"audio": "a.wav"}, "describes image and pair, not audio"),
        ({"image": "a.png", "most": 2}, "most must be"),
        ({"image": "a.png", "beams": 0}, "beams must be"),
    ],
)
def test_a_bad_request_is_one_clear_line(media, problem, colours):
    with pytest.raises(BadSpec, match=problem):
        quiver.caption(encoder=colours, **media)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"before": "a.png"}, "a pair needs both before and after"),
        ({}, "nothing to describe"),
        ({"image": "a.png", "beams": 0}, "beams must be"),
        ({"image": "a.png", "most": 2}, "most must be"),
    ],
)
def test_a_bad_request_is_refused_before_a_model_is_loaded(given, problem):
    with pytest.raises(BadSpec, match=problem):
        quiver.caption(encoder="lab.nowhere", **given)


def test_a_missing_file_is_named(colours):
    with pytest.raises(BadMedia, match=r"absent\.png"):
        quiver.caption(image="absent.png", encoder=colours)


def test_one_bad_file_of_several_keeps_no_other_from_being_described(colours, photos, tmp_path):
    (tmp_path / "bad.png").write_text("no picture")
    good = next(photos.glob("*.png"))
    words = ["caption", "--image", str(good), "--image", str(tmp_path / "bad.png"), "--encoder", colours]
    done = CliRunner().invoke(app, words)
    assert (
        done.exit_code == 1
        and " tile" in done.stdout
        and "bad.png" in done.stderr
        and len(done.stderr.splitlines()) == 1
    )
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert [bool(each["captions"]) for each in found] == [True, False] and "bad.png" in found[1]["problem"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"tell": "classic"}, "'classic' does not describe media"),
        ({"tell": True}, "no encoder of the collection describes media"),
        ({"tell": ""}, "tell must be"),
        ({"tell": 3}, "tell must be"),
        ({"beams": 2}, "beams needs tell"),
        ({"caption_column": "said"}, "caption_column needs tell"),
        ({"tell": "lab.colours", "beams": True}, "beams must be"),
        ({"encoder": "lab.colours"}, "embeds nothing, it only describes"),
    ],
)
def test_a_bad_option_adds_nothing(options, problem, shop, photos, colours):
    with pytest.raises(BadSpec, match=problem):
        shop.add(photos, workers=0, **options)
    assert not os.path.exists(shop.uri)


def test_a_bad_column_name_adds_nothing(shop, photos, colours):
    with pytest.raises(BadData, match="every item has a column of that name"):
        shop.add(photos, tell=colours, caption_column="text", workers=0)
    assert not os.path.exists(shop.uri)


def test_a_model_that_only_the_collection_names_is_not_loaded(shop, photos, colours, tmp_path, monkeypatch):
    shop.add(photos, tell=colours, workers=0)
    monkeypatch.setenv("QUIVER_CONFIG", str(tmp_path / "stranger"))
    monkeypatch.setattr("quiver.trust._remembered", set())
    with pytest.raises(Untrusted, match=r"lab\.colours"):
        quiver.open(shop.uri).add(tell=True, workers=0)
    assert quiver.open(shop.uri, trust=True).caption("photos/red0.png")[0].text == "a red tile"


def test_a_file_of_a_folder_that_was_not_named_is_not_read(shop, photos, colours, tmp_path, monkeypatch):
    shop.add(photos, workers=0)
    monkeypatch.setenv("QUIVER_CONFIG", str(tmp_path / "stranger"))
    stranger = quiver.open(shop.uri)
    with pytest.raises(Untrusted, match="is not read"):
        stranger.caption("photos/red0.png", encoder=colours)
    report = stranger.add(tell=colours, workers=0)
    assert (report.captioned, report.quarantined) == (0, 24)


def test_items_that_are_not_asked_for_are_not_set_aside(shop, photos, colours, tmp_path, monkeypatch):
    shop.add(photos, workers=0)
    monkeypatch.setenv("QUIVER_CONFIG", str(tmp_path / "stranger"))
    (tmp_path / "more").mkdir()
    Image.new("RGB", (8, 8), (0, 0, 255)).save(tmp_path / "more" / "new.png")
    stranger = quiver.open(shop.uri)
    report = stranger.add(tmp_path / "more", encoder="classic", tell=colours, workers=0)
    assert (report.captioned, report.quarantined, reasons(stranger)) == (1, 0, {})


def test_a_teller_that_says_it_takes_none_at_once_is_given_one(shop, photos, lab):
    (lab / "slow.py").write_text(COLOURS.replace("at_once = 4", "at_once = 0"))
    assert shop.add(photos, tell="lab.slow", workers=0).captioned == 24
