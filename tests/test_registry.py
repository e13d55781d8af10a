import pytest

from quiver import registry
from quiver.errors import BadSpec


def test_a_name_is_a_module_and_private_modules_are_no_names():
    names = registry.names("encoders")
    assert "classic" in names and "timm" in names
    assert not [name for name in names if name.startswith("_")]


def test_an_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(BadSpec, match="did you mean timm"):
        registry.module("encoders", "tim")


def test_a_dotted_name_that_is_not_installed_is_named():
    with pytest.raises(BadSpec, match=r"no\.such\.thing"):
        registry.module("encoders", "no.such.thing")


@pytest.mark.parametrize(("spec", "problem"), [("", "empty"), ("timm model", "key=value"), ("timm 'x", "cannot read")])
def test_a_spec_that_cannot_be_read_says_why(spec, problem):
    with pytest.raises(BadSpec, match=problem):
        registry.split(spec)


def test_options_take_the_types_the_module_declares(tmp_path, monkeypatch):
    (tmp_path / "thirdparty.py").write_text(
        "from pathlib import Path\nfrom typing import Literal\n"
        "def load(*, n: int, x: float = 1.0, on: bool = False, file: Path | None = None) -> tuple:\n"
        "    return n, x, on, file\n"
        "def choose(*, kind: Literal['a', 'b'] | None = None) -> str | None: return kind\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    module = "thirdparty"
    load, choose = (getattr(registry.importlib.import_module(module), name) for name in ("load", "choose"))
    convert = registry.convert
    assert convert(choose, {"kind": "b"}, name="t") == {"kind": "b"}
    with pytest.raises(BadSpec, match="t kind must be one of a, b, not 'c'"):
        convert(choose, {"kind": "c"}, name="t")
    assert load(**convert(load, {"n": "3", "x": "2.5", "on": "yes", "file": "none"}, name="t")) == (3, 2.5, True, None)
    with pytest.raises(BadSpec, match="t needs n="):
        convert(load, {}, name="t")
    with pytest.raises(BadSpec, match="no option 'm'; it takes n, x, on, file"):
        convert(load, {"n": "1", "m": "1"}, name="t")
    with pytest.raises(BadSpec, match=r"'mine/q\.csv' is a file, but a data set is wanted: `quiver bench list`"):
        registry.module("benchmarks.datasets", "mine/q.csv")
    with pytest.raises(BadSpec, match="no data set is called 'clohting': did you mean clothing"):
        registry.module("benchmarks.datasets", "clohting")
    with pytest.raises(BadSpec, match="t n must be a whole number, not 'three'"):
        convert(load, {"n": "three"}, name="t")


def test_a_spec_means_the_same_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "w.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    assert registry.canonical("timm model=m checkpoint=w.safetensors") == (
        f"timm model=m checkpoint={tmp_path / 'w.safetensors'}"
    )
    assert registry.canonical("open_clip model=ViT-B-32") == "open_clip model=ViT-B-32"
