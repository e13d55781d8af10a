"""``quiver bench caption``: references of a task, baselines, figures by kind, and what cannot be captioned."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from quiver.benchmarks import captioning
from quiver.benchmarks.captioning import sheet
from quiver.benchmarks.captioning.reference import gather
from quiver.benchmarks.datasets import clevr_change, image_editing_request, spot_the_diff, world
from quiver.cli import app
from quiver.errors import BadData, BadSpec

SMALL = "count=24 size=16 seed=3"
FAST = captioning.Options(measures=("BLEU-4", "ROUGE-L", "CIDEr-D"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("world")


def put(folder, name, value):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def system(report, name):
    return next(each for each in report["systems"] if each["name"] == name)


def test_both_directions_of_a_task_have_the_same_references(tmp_path):
    rows = [
        {"uid": "a", "img0": "x.jpg", "img1": "y.jpg", "sents": ["make it red", "red please"]},
        {"uid": "b", "img0": "x.jpg", "img1": "z.jpg", "sents": ["crop it"]},
    ]
    put(tmp_path, "dataset/adobe/test.json", rows)
    found = [
        gather(image_editing_request.load(folder=tmp_path, partial=True, track=track))
        for track in ("text_to_pair", "pair_to_text")
    ]
    assert [key for key, _ in found] == ["pair", "pair"]
    assert [[list(thing.texts) for thing in things] for _, things in found] == [
        [["make it red", "red please"], ["crop it"]]
    ] * 2
    assert [thing.media["after"].rpartition("/")[2] for thing in found[0][1]] == ["y.jpg", "z.jpg"]


def test_unchanged_pairs_of_clevr_are_a_part_of_their_own(tmp_path):
    names = [f"CLEVR_default_{n:06d}.png" for n in range(3)]
    put(tmp_path, "splits.json", {"test": [0, 1, 2]})
    put(tmp_path, "change_captions.json", {name: [f"the ball number {n} moved away"] for n, name in enumerate(names)})
    put(tmp_path, "no_change_captions.json", {name: ["no change was made there"] for name in names})
    put(tmp_path, "type_mapping.json", {"move": ["000000.png", "000001.png"], "drop": ["000002.png"]})
    spec = f"clevr_change pairs=all partial=true folder={tmp_path}"
    assert len(gather(clevr_change.load(folder=tmp_path, pairs="all", partial=True))[1]) == 6
    found = system(captioning.measure(spec, options=FAST), "constant")
    assert {part: each["n"] for part, each in found["parts"].items()} == {
        "all": 6, "changed": 3, "drop": 1, "move": 2, "none": 3,
    }  # fmt: skip
    assert set(found["captions"].values()) == {"no change was made there"}
    assert found["parts"]["none"]["figures"]["ROUGE-L"] == 1
    assert found["parts"]["changed"]["figures"]["BLEU-4"] == pytest.approx(0, abs=1e-3)


def test_spot_the_diff_has_one_thing_for_a_pair_of_several_records(tmp_path):
    put(tmp_path, "annotations/test.json", [
        {"img_id": "7", "sentences": ["a car left"]}, {"img_id": "7", "sentences": ["a man came", ""]},
    ])  # fmt: skip
    _, (thing,) = gather(spot_the_diff.load(folder=tmp_path, partial=True))
    assert thing.texts == ["a car left", "a man came"]


def test_the_random_baseline_never_says_a_things_own_sentence_by_place(folder):
    report = captioning.measure(f"world track=changes {SMALL} folder={folder}", options=FAST)
    _, things = gather(world.load(track="changes", count=24, size=16, seed=3, folder=folder))
    said = system(report, "random")["captions"]
    everything = {text for thing in things for text in thing.texts}
    assert all(said[thing.id] in everything for thing in things)
    figures = [system(report, name)["parts"]["all"]["figures"]["CIDEr-D"] for name in ("random", "constant")]
    assert all(0 <= figure < 3 for figure in figures)


def test_a_report_is_the_same_again(folder):
    spec = f"world track=changes {SMALL} folder={folder}"
    first, again = (captioning.measure(spec, options=FAST) for _ in range(2))
    assert first["systems"] == again["systems"]


def test_a_limit_draws_things(folder):
    options = captioning.Options(measures=("ROUGE-L",), limit=5)
    assert captioning.measure(f"world track=changes {SMALL} folder={folder}", options=options)["things"] == 5


def test_what_cannot_be_computed_stands_beside_the_table(folder, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    report = captioning.measure(f"world track=changes {SMALL} folder={folder}")
    assert sum("no METEOR: no Java" in line or "no SPICE: no Java" in line for line in captioning.remarks(report)) == 2
    assert captioning.table(report)[0] == ("captions by", "of", "n", "BLEU-4", "ROUGE-L", "CIDEr-D")


def test_wrong_input_is_one_clear_line(folder):
    spec = f"world track=changes {SMALL} folder={folder}"
    with pytest.raises(BadSpec, match="classic: this encoder does not describe pair in words"):
        captioning.measure(spec, ["classic"], options=FAST)
    with pytest.raises(BadData, match="no sentence about any media"):
        captioning.measure(f"world track=composed {SMALL} folder={folder}", options=FAST)
    with pytest.raises(BadSpec, match="beams must be at least 1"):
        captioning.measure(spec, options=captioning.Options(beams=0))


def test_the_command_writes_a_table_and_a_report(folder, tmp_path):
    words = ["bench", "caption", f"world track=changes {SMALL} folder={folder}", "--measure", "ROUGE-L"]
    done = CliRunner().invoke(app, [*words, "--json", str(tmp_path / "r.json"), "--markdown", str(tmp_path / "r.md")])
    assert done.exit_code == 0, done.output
    assert "constant" in done.output and "ROUGE-L" in done.output
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["medium"] == "pair" and len(report["systems"]) == 2
    assert "| constant | all | 24 |" in (tmp_path / "r.md").read_text(encoding="utf-8")


TELLS = """
import numpy as np
from quiver.media import ImageReader, PairReader
from quiver.protocols import Told

class Encoder:  # it tells nothing but that nothing has changed
    name, revision, keys = "told", "0", ("pair",)

    def spaces(self, key):
        return ()

    def reader(self, key):
        return PairReader(ImageReader(16))

    def tell(self, key, batch, *, beams=1, most=1):
        return [[Told("Nothing has changed.", -1.0)] for _ in batch]

    def differences(self, batch):
        return np.ones((len(batch), 2, 2, 2), np.float32)

def load():
    made = Encoder()
    made.tellers = (made,)
    return made
"""


def test_a_page_shows_captions_as_they_come(folder, tmp_path, lab):
    (lab / "told.py").write_text(TELLS)
    spec = f"world track=changes {SMALL} folder={folder}"
    page = tmp_path / "page.html"
    done = CliRunner().invoke(
        app, ["bench", "caption", spec, "--encoder", "lab.told", "--measure", "ROUGE-L", "--page", str(page)]
    )
    assert done.exit_code == 0, done.output
    shown = page.read_text(encoding="utf-8")
    task = world.load(track="changes", count=24, size=16, seed=3, folder=folder)
    still = sum(item.meta["change"] == "none" for item in task.items)
    assert 0 < still < 24
    assert shown.count("<figure class=right>") == still and shown.count("<figure>") == 24 - still
    assert f"lab.told: {still} of 24 captions are one of the sentences of their thing" in shown
    assert shown.count("src='data:image/jpeg") == 4 * 24  # two pictures and two maps of each pair
    assert "constant" not in shown


@pytest.mark.parametrize("name", ["sheet.png", "sheet.JPG"])
def test_a_page_may_be_one_picture(folder, tmp_path, lab, name):
    (lab / "told.py").write_text(TELLS)
    spec, file = f"world track=changes {SMALL} folder={folder}", tmp_path / name
    done = CliRunner().invoke(
        app, ["bench", "caption", spec, "--encoder", "lab.told", "--measure", "ROUGE-L", "--page", str(file)]
    )
    assert done.exit_code == 0, done.output
    shown = np.asarray(Image.open(file).convert("RGB")).astype(int)
    _, things = gather(world.load(track="changes", count=24, size=16, seed=3, folder=folder))
    order = np.random.default_rng(0).permutation(24)[: sheet.EXAMPLES]
    still = [things[place].kind == "none" for place in order]
    assert 0 < sum(still) < len(still)
    height, width = (side // count for side, count in zip(shown.shape[:2], (4, sheet.COLUMNS), strict=True))
    for place, right in enumerate(still):  # the caption under each example is green if it is right, and red if not
        row, column = divmod(place, sheet.COLUMNS)
        words = shown[row * height + 180 : (row + 1) * height, column * width + 12 : (column + 1) * width]
        red, green = (int((words[..., one] > words[..., other] + 40).sum()) for one, other in ((0, 1), (1, 0)))
        assert (green > red) == right
