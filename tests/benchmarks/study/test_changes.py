import json
from pathlib import Path

import numpy as np
import pytest
import torch

from quiver.benchmarks.study import changes
from quiver.benchmarks.study.changes import Pooled
from quiver.encoders.clip4idc.model import Clip4Idc
from quiver.errors import BadSpec

SIZES = (
    "grid.rows=2 grid.columns=2 grid.side=4 model.dim=16 model.vision.width=24 model.text.width=24 loop.steps=1 "
    "loop.warmup=0 loop.batch=16 loop.log_every=100"
)


def command(out: Path, *methods: str, image: str = "tokens:pixels") -> list[str]:
    data = ["--data", "world track=changes_views size=16", "--counts", "30", "15", "15", "--image", image]
    return ["--out", str(out), *data, "--seeds", "0", "1", "--methods", *methods, "--", *SIZES.split()]


def test_every_method_is_trained_and_measured_once_with_every_seed(tmp_path, capsys, monkeypatch):
    methods = ("clip4idc", "untrained", "mean", "difference")
    changes.main(command(tmp_path, *methods))
    report = json.loads((tmp_path / "report.json").read_text())
    assert [each["name"] for each in report["systems"]] == list(methods)
    assert {(each["a"], each["b"]) for each in report["compared"]} == {("clip4idc", other) for other in methods[1:]}
    assert len(report["compared"]) == 2 * 3 * 3  # both ways, three methods, three cuts
    tables = capsys.readouterr().out
    for system in report["systems"]:
        for part in ("words", "pair", "reversed"):
            figures = [system[part][f"R@{k}"] for k in (1, 5, 10)]
            assert [each["value"] for each in figures] == sorted(each["value"] for each in figures)
            assert all(each["low"] <= each["value"] <= each["high"] and len(each["seeds"]) == 2 for each in figures)
    orders = {each["name"]: each["order"]["R@1"]["value"] for each in report["systems"]}
    assert orders["mean"] == 0  # it cannot tell the order
    assert orders["difference"] > 0
    model = Clip4Idc.open(tmp_path / "clip4idc-0/model")
    assert model.config.vision.patches == 4
    monkeypatch.setattr(changes, "learn", lambda *_: pytest.fail("trained again"))
    changes.main(command(tmp_path, *methods))
    assert capsys.readouterr().out == tables


def test_pooled_vectors_are_those_of_their_name():
    pictures = torch.rand(3, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    turned = pictures.flip(1)
    made = {kind: Pooled(kind, 6, 5).eval() for kind in changes.KINDS}
    for module in made.values():
        module.measure(pictures.flatten(0, 1))
    with torch.no_grad():
        vectors = {kind: module.pool(module(pictures)) for kind, module in made.items()}
        backwards = {kind: module.pool(module(turned)) for kind, module in made.items()}
        same = torch.cat([made[kind].pool(made[kind](pictures[:, [0, 0]])) for kind in ("difference", "pooled")])
        moved = made["pooled"].pool(made["pooled"](pictures.roll(1, dims=2)))
    np.testing.assert_allclose(vectors["mean"], backwards["mean"], atol=1e-6)
    for kind in ("difference", "both", "pooled"):
        assert (vectors[kind] - backwards[kind]).abs().max() > 0.01
    for rows in (same[:3], same[3:]):
        np.testing.assert_allclose(rows, rows[:1].expand(3, -1), atol=1e-6)  # nothing but the change is in it
    np.testing.assert_allclose(moved, vectors["pooled"], atol=1e-5)  # where things are does not matter
    assert (vectors["pooled"] - vectors["difference"]).abs().max() > 0.01


def test_a_clip_is_refused(tmp_path):
    with pytest.raises(BadSpec, match="give --image tokens:NETWORK"):
        changes.main(command(tmp_path, "clip4idc", image="open_clip model=ViT-B-32 pretrained=openai"))
