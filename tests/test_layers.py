"""The core works without any optional package, commands import no more than they need, and errors name the extra."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import quiver
from quiver.errors import EXTRAS, MissingExtra, explained, optional, require
from quiver.indexers import exact
from quiver.types import Space, Vectors

ROOT = Path(__file__).parents[1]
#: Import names of what every installation has.
CORE = {
    "faiss", "filelock", "lance", "msgspec", "numpy", "PIL", "psutil", "pyarrow", "rich", "safetensors", "sqlglot",
    "tqdm", "typer",
}  # fmt: skip
#: Optional packages that code does without where they are missing, a data pack that only benchmarks
#: read, and the libraries of data frames, which answers can be turned into.
SPARED = {"all_minilm_l6_v2", "opentelemetry", "tensorboard", "pandas", "polars"}

BLOCKED = f"import sys\nfor name in {sorted(EXTRAS)}: sys.modules[name] = None\n"


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, vectors, and a collection of both."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "photos").mkdir()
    for name, colour in {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}.items():
        Image.new("RGB", (32, 32), colour).save(folder / "photos" / f"{name}.png")
    np.save(folder / "vectors.npy", np.eye(6, dtype=np.float32))
    collection = quiver.open(folder / "c", catch_up=False)
    collection.add(str(folder / "photos"), encoder="classic", workers=0, progress=False)
    quiver.open(folder / "v", catch_up=False).add_vectors(folder / "vectors.npy", space="mine")
    return folder


def test_the_core_jobs_work_without_any_optional_package(shop: Path, tmp_path: Path) -> None:
    script = """
import numpy as np
import quiver
photos, vectors = sys.argv[1:]
shop = quiver.open("c", catch_up=False)
report = shop.add(photos, encoder="classic", workers=0, progress=False)
assert (report.added, report.quarantined) == (3, 0)
red = f"{photos}/red.png"
assert [hit.id for hit in shop.search(image=red, k=1)] == ["photos/red.png"]
assert [hit.id for hit in shop.search(image=red, k=1, where="id <> 'photos/red.png'")] != ["photos/red.png"]
shop.update_meta({"photos/blue.png": {"note": "a blue hat", "price": 3}})
shop.delete(["photos/green.png"])
assert shop.get(["photos/blue.png"])[0].meta["price"] == 3
assert shop.info()["items"] == 2
mine = quiver.open("v", catch_up=False)
mine.add_vectors(vectors, space="mine")
for index in ("faiss factory=Flat", "lance kind=IVF_FLAT partitions=1"):
    mine.index(index)
for index in (None, "exact", "faiss", "lance"):
    hits = mine.search(vectors={"mine": np.eye(6, dtype=np.float32)[4]}, k=2, index=index)
    assert [hit.id for hit in hits] == ["vectors#4", "vectors#0"], index
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + script, str(shop / "photos"), str(shop / "vectors.npy")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.stdout == "done\n", done.stderr


@pytest.mark.parametrize("metric", ["dot", "cosine", "l2"])
def test_large_collections_are_searched_without_torch_as_with_it(metric: quiver.types.Metric, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = rng.standard_normal((4000, 24)).astype(np.float32)
    index = exact.build(Vectors(Space("made", 24, metric, "0"), np.arange(len(data)), data), device="cpu")
    assert index.compact is not None
    index.save(tmp_path / "index")
    scores, rows = index.search(data[:40], 10)
    script = """
from pathlib import Path
import numpy as np
from quiver.indexers import exact
from quiver.types import Space
exact._WORTH = exact._FEW = exact._PATIENCE = 0
index = exact.open(Path(sys.argv[1]) / "index", Space("made", 24, sys.argv[2], "0"))
scores, rows = index.search(np.array(index.data[:40]), 10)
assert index.last is None
np.savez(Path(sys.argv[1]) / "found.npz", scores=scores, rows=rows)
"""
    done = python(BLOCKED + script, str(tmp_path), metric)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "found.npz") as found:
        assert (found["rows"] == rows).all() and (found["scores"] == scores).all()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["info", "c"],
        ["get", "c", "photos/red.png"],
        ["versions", "c"],
        ["search", "c", "--image", "photos/red.png"],
        ["search", "c", "--id", "photos/red.png"],
        ["search", "c", "--text", "red"],
        ["search", "c", "--image", "photos/red.png", "--json"],
        ["search", "v", "--id", "vectors#1"],
        ["add", "c", "photos", "--encoder", "classic"],
    ],
)
def test_a_lone_command_imports_nothing_heavy(arguments: list[str], shop: Path) -> None:
    script = """
import json, sys
from quiver.cli import main
sys.argv = ["quiver", *sys.argv[1:]]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False, cwd=shop
    )
    assert done.returncode == 0, done.stderr
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    heavy = {*EXTRAS, "faiss", "sklearn"}  # pandas, where it is installed, is imported by pyarrow
    assert not imported & heavy
    if arguments == ["--help"]:
        assert not imported & {"lance", "pyarrow", "PIL"}


def test_every_extra_named_by_an_error_installs_the_package_that_is_missing() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for module, (package, extra) in EXTRAS.items():
        assert any(line.startswith(package) for line in _all(extras, extra)), (module, extra)
    core = " ".join(project["dependencies"])
    assert not [package for package, _ in EXTRAS.values() if f"{package}>" in core]
    assert all(extras.values())


def _all(extras: dict[str, list[str]], name: str) -> list[str]:
    """Return the packages of an extra, with those of the extras it names."""
    found = []
    for line in extras[name]:
        if line.startswith("quiver-search["):
            for other in line.removeprefix("quiver-search[").removesuffix("]").split(","):
                found += _all(extras, other)
        else:
            found.append(line)
    return found


def test_every_import_is_of_the_core_or_has_an_extra() -> None:
    strange = {}
    for folder in ("src/quiver", "engine", "indexers", "encoders", "benchmarks"):
        for place, folders, files in os.walk(ROOT / folder):
            folders[:] = [each for each in folders if not Path(place, each).is_symlink()]
            for file in (Path(place, name) for name in files if name.endswith(".py")):
                for module in _imports(file):
                    if module not in {*sys.stdlib_module_names, *CORE, *EXTRAS, *SPARED, "quiver"}:
                        strange[module] = str(file)
    assert not strange


def _imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_every_file_of_the_package_is_in_the_wheel_and_in_the_source_archive() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    there = {f"src/quiver/{each.name}" for each in (ROOT / "src/quiver").iterdir() if each.name != "__pycache__"}
    links = {each for each in there if (ROOT / each).is_symlink()}
    for target in ("wheel", "sdist"):
        listed = set(build[target]["only-include"])
        assert there - links <= listed
        assert {Path(each).name for each in links} <= listed


def test_a_missing_package_is_one_line_with_the_command_that_installs_it() -> None:
    with pytest.raises(MissingExtra) as caught, optional():
        raise ModuleNotFoundError("No module named 'timm.models'", name="timm.models")
    assert str(caught.value) == "timm is not installed: pip install 'quiver-search[timm]'"
    with pytest.raises(ModuleNotFoundError) as other, optional():
        raise ModuleNotFoundError("No module named 'somebody_elses'", name="somebody_elses")
    assert explained(other.value) is other.value
    require("numpy", extra="all")
    with pytest.raises(MissingExtra, match=r"nowhere_to_be_found is not installed: pip install 'quiver-search\[all\]'"):
        require("nowhere_to_be_found", extra="all")


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("timm model=resnet18", "torch is not installed: pip install 'quiver-search[torch]'"),
        ("open_clip model=ViT-B-32 pretrained=openai", "open_clip_torch is not installed: pip install"),
        ("transformers model=x/y", "transformers is not installed: pip install 'quiver-search[transformers]'"),
        ("sentence_transformers model=x/y", "sentence-transformers is not installed: pip install"),
        ("onnx file=x.onnx input=image", "onnxruntime is not installed: pip install 'quiver-search[onnx]'"),
        ("artemis checkpoint=x/y", "torch is not installed: pip install 'quiver-search[torch]'"),
        ("mmv checkpoint=x/y", "torch is not installed: pip install 'quiver-search[torch]'"),
    ],
)
def test_a_model_without_its_packages_says_what_to_install(spec: str, line: str) -> None:
    script = """
from quiver import registry
from quiver.errors import MissingExtra
try:
    registry.load("encoders", sys.argv[1])
except MissingExtra as error:
    print(error)
"""
    done = python(BLOCKED + script, spec)
    assert line in done.stdout, done.stdout + done.stderr
