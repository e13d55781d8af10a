"""The machine is measured once, and what was measured is kept by processor, threads and versions."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from typer.testing import CliRunner

import quiver
from quiver.cli import app
from quiver.engine.statistics import machine
from quiver.engine.statistics.cost_model import Machine
from quiver.engine.tuning.calibration import calibrated


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("QUIVER_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_an_index_choice_measures_the_machine_and_a_small_collection_stays_exact(home, monkeypatch):
    assert machine.machine() == Machine(key=machine.key())
    np.save(home / "base.npy", np.random.default_rng(0).standard_normal((400, 16), dtype=np.float32))
    collection = quiver.open(home / "c")
    collection.add_vectors(home / "base.npy", space="made", progress=False)
    (built,) = collection.index()
    assert built["kind"] == "exact" and built["promise"] is None and "400 vectors are scanned" in built["why"]
    assert collection.info()["columns"][0]["indexes"] == ["exact"]

    found = machine.machine()
    assert found.at is not None and found.bandwidth > 0.5
    assert min(found.scan.together, found.scan.alone, found.pick.alone, found.exact.alone, found.lance.alone) > 0
    assert found == calibrated(), "it is measured once"
    told = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert told["costs"] == asdict(found)

    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert machine.machine().at is None
