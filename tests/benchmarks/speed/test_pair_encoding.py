import pytest

from quiver.benchmarks.speed.pair_encoding import measure
from quiver.errors import BadSpec


def test_both_ways_are_measured_on_one_network(monkeypatch):
    import open_clip

    small = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 16, "patch_size": 8, "layers": 12, "width": 16, "head_width": 8},
        "text_cfg": {"layers": 1, "width": 16, "heads": 2},
    }
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small", small)
    found = measure("small", batch=2, turns=3, device="cpu")
    rates = found["pairs_per_second"]
    assert set(rates) == {"pair", "two pictures"}
    assert min(rates.values()) > 0
    assert found["ratio"]["low"] <= found["ratio"]["median"] <= found["ratio"]["high"]
    assert (found["model"], found["batch"]) == ("small", 2)
    with pytest.raises(BadSpec, match="no model 'smaller'"):
        measure("smaller", batch=2, turns=1, device="cpu")
