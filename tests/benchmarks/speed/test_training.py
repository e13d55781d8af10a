"""The measurement of trainings gives figures that can be; each case runs here as it does in its own process."""

import json

import pytest

from quiver.benchmarks.speed import training


@pytest.mark.parametrize(("name", "parts"), [("pixels", ["train"]), ("pairs", ["read", "gather", "train"])])
def test_a_case_is_measured(name, parts, tmp_path, capsys):
    training.main([name, "--rows", "24", "--steps", "2", "--within", str(tmp_path), "loop.workers=1"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["rows_per_second"] > 0 and found["loss"] > 0
    peaks = [found[part]["peak_mib"] for part in ("imports", *parts)]
    assert peaks == sorted(peaks) and peaks[0] > 20
    assert all(found[part]["processor_seconds"] > 0 and found[part]["seconds"] > 0 for part in parts)
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2]


def test_a_case_that_is_not_there_is_named(capsys):
    with pytest.raises(SystemExit):
        training.main(["pixel"])
    assert "there is no case 'pixel': the cases are pixels, pairs" in capsys.readouterr().err
