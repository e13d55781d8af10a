import json

import numpy as np
import pytest
from tests.benchmarks.study.test_changes import SIZES

from quiver.benchmarks import datasets
from quiver.benchmarks.datasets.world import World
from quiver.benchmarks.study import change_maps
from quiver.encoders._settings import changed, parse
from quiver.encoders.clip4idc.train import PRESETS, train
from quiver.errors import BadSpec


def test_a_hit_is_the_cell_that_holds_the_middle_of_the_body():
    maps = np.zeros((3, 2, 2, 4), np.float32)
    maps[0, 0, 1, 3] = maps[0, 1, 0, 0] = 1.0  # bottom right, top left
    maps[1, 1, 0, 2] = 1.0
    points = [((0.9, 0.6), (0.3, 0.1)), (None, (0.5, 0.49)), ((1.2, -0.1), None)]
    np.testing.assert_array_equal(change_maps.hits(maps, points), [0.5, 1.0, 0.0])
    maps[2, 0, 0, 3] = 1.0  # a body beyond the border counts for the cell at the border
    assert change_maps.hits(maps, points)[2] == 1


def test_the_changed_body_is_where_the_pictures_differ():
    world = World(seed=5, nuisance=0.0)  # one camera, one light, no noise: nothing else differs
    seen = set()
    for pair in (world.pair(number) for number in range(40)):
        before, after = pair.changed_at
        change = pair.table.change
        assert (before is None, after is None) == (change in ("none", "add"), change in ("none", "remove"))
        gap = np.abs(pair.before.astype(int) - pair.after).sum(axis=2)
        for point in (before, after):
            if point is not None and change != "texture":  # a plain body's middle may be between two stripes
                x, y = (int(each * world.size) for each in point)
                assert gap[max(y - 5, 0) : y + 6, max(x - 5, 0) : x + 6].max() > 0, (pair.id, change)
        seen.add(change)
    assert len(seen) > 6


def test_maps_of_both_stages_are_measured_by_one_command(tmp_path, capsys):
    data = f"world track=changes_views size=16 folder={tmp_path / 'world'} count=20"
    learn = datasets.load(f"{data} split=train")
    for generator in ("clip4idc", "duda"):
        given = dict(each.split("=", 1) for each in SIZES.split())
        given |= {"image": "tokens:pixels", "caption.generator": generator, "caption.steps": "1"}
        recipe = changed(PRESETS["cpu"], parse(PRESETS["cpu"], given, model="clip4idc"))
        train(learn, None, tmp_path / generator, recipe=recipe)
    runs = [part for name in ("clip4idc", "duda") for part in ("--run", f"{name}={tmp_path / name / 'model'}")]
    change_maps.main(["--data", f"{data} split=test", *runs, "--out", str(tmp_path / "maps.json")])
    report = json.loads((tmp_path / "maps.json").read_text())
    for figures in report["runs"].values():
        assert list(figures) == ["chance", "attention", "captions", "difference"]
        assert figures["chance"]["value"] == 0.25
        assert all(0 <= each["low"] <= each["value"] <= each["high"] <= 1 for each in list(figures.values())[1:])
    assert report["runs"]["clip4idc"]["difference"] == report["runs"]["duda"]["difference"]
    assert "duda captions: " in capsys.readouterr().out


def test_data_that_does_not_know_where_the_change_is_is_refused():
    with pytest.raises(BadSpec, match="only world track=changes and track=changes_views know"):
        change_maps.shown("spot_the_diff")
