"""The measurement of trainings runs each case in a process of its own, with figures that can be."""

import json

import pytest

from quiver.benchmarks.speed import training


def test_both_cases_are_measured(capfd):
    training.main(["--rows", "24", "--steps", "3", "loop.workers=1"])
    report = json.loads(capfd.readouterr().out)
    assert report["seed"] == 0 and report["machine"]["cores"] and "torch" in report["versions"]
    for name, parts in (("pixels", ["imports", "train"]), ("pairs", ["imports", "read", "gather", "train"])):
        found = report[name]
        assert found["rows"] == 24 and found["settings"] == ["loop.workers=1"] and found["rows_per_second"] > 0
        peaks = [found[part]["peak_mib"] for part in parts]
        assert peaks == sorted(peaks) and peaks[0] > 20
        assert all(found[part]["processor_seconds"] > 0 for part in parts) and found["loss"] > 0
        assert found["train"]["peak_mib_of_a_child"] > 20


def test_a_case_that_is_not_there_is_named(capsys):
    with pytest.raises(SystemExit):
        training.main(["pixel"])
    assert "there is no case 'pixel': the cases are pixels, pairs" in capsys.readouterr().err
