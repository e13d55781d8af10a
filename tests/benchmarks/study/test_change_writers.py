import pytest
import torch
from tests.benchmarks.study.test_changes import command

from quiver.benchmarks.study import change_writers, changes
from quiver.encoders.clip4idc.caption_model import CaptionModel
from quiver.encoders.clip4idc.model import Clip4Idc
from quiver.errors import BadSpec

STEPS = ["caption.steps=1", "caption.batch=8", "caption.encoder=0"]


def words(out, *writers):
    """The arguments of ``changes``, with writers in place of methods."""
    said = command(out)
    place = said.index("--methods")
    return [*said[:place], "--seeds", "0", "--writers", *writers, *said[place + 1 :], *STEPS]


def test_writers_go_on_from_stage_one_or_from_its_start(tmp_path, capsys, monkeypatch):
    said = command(tmp_path, "clip4idc", "untrained")
    changes.main(said)
    writers = ("adapted", "fresh caption.adapted=false", "duda caption.generator=duda")
    change_writers.main(words(tmp_path, *writers))
    told = capsys.readouterr().out
    assert all(f"{writer} seed 0: " in told for writer in writers)
    first = Clip4Idc.open(tmp_path / "clip4idc-0/model").pairs.state_dict()
    adapted, fresh, duda = (
        CaptionModel.open(tmp_path / f"{name}-0/model/caption") for name in ("adapted", "fresh", "duda")
    )
    torch.testing.assert_close(dict(adapted.pairs.state_dict()), dict(first))
    assert (fresh.pairs.change.layers[-1].weight - first["change.layers.3.weight"]).abs().max() > 1e-4
    assert not fresh.pairs.change.gain.any() and first["change.gain"].any()
    torch.testing.assert_close(fresh.pairs.centre, first["centre"])
    assert duda.config.generator == "duda" and duda.pairs is None
    assert Clip4Idc.open(tmp_path / "fresh-0/model").pairs.state_dict().keys() == first.keys()
    monkeypatch.setattr(change_writers.caption_train, "tell", lambda *_, **__: pytest.fail("trained again"))
    change_writers.main(words(tmp_path, *writers))
    assert capsys.readouterr().out.count("seed 0") == 3


def test_without_stage_one_there_is_nothing_to_go_on_from(tmp_path):
    with pytest.raises(BadSpec, match=r"run study\.changes with the same --out"):
        change_writers.main(words(tmp_path, "adapted"))
