import json
import sys

from quiver.encoders._train import curve


def write(out, lines):
    (out / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"cut off')


def test_phases_are_drawn_one_after_the_other():
    lines = [{"phase": phase, "kind": "train", "step": step} for phase, step in [("a", 5), ("a", 10), ("b", 5)]]
    assert [line["at"] for line in curve._placed(lines)] == [5, 10, 15]


def test_a_line_that_was_cut_off_does_not_spoil_the_picture(tmp_path):
    write(tmp_path, [{"phase": "", "kind": "train", "step": 1, "loss": 1.0}])
    assert curve.draw(tmp_path) is None
    assert (tmp_path / "curve.png").read_bytes()[1:4] == b"PNG"


def test_without_matplotlib_it_says_so_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert curve.draw(tmp_path) == "no curve.png: matplotlib is not installed (pip install 'quiver-search[bench]')"


def test_nothing_logged_gives_no_picture(tmp_path):
    assert curve.draw(tmp_path) == "no curve.png: nothing was logged"
