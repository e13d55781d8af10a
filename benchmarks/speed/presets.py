"""Rows a second and memory of every training preset: ``python -m quiver.benchmarks.speed.presets``.

Each preset takes ten steps by the code that ``quiver train`` runs, on made media and with random weights in place of
those that would have to be downloaded: their numbers are not looked at. On a GPU presets have their own sizes and
batches, and what does not fit says so; on a CPU, or with ``--small``, sizes are those of ``Case.small``, and the code
is the same. Each runs in a process of its own, so that its memory is its own.
"""

import argparse
import importlib
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from quiver.benchmarks.machine import commit, machine, versions
from quiver.benchmarks.speed._made import MADE, TASKS, write_bert, write_clip
from quiver.encoders._settings import changed

_NET = "timm model={} pretrained=false"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One preset, and what it is given here.

    Attributes:
        model: name of the trained model.
        preset: name of its preset.
        task: the kind of task it learns from, see ``tasks``.
        weights: settings in place of weights that would be downloaded; ``{bert}`` and ``{clip}`` are folders.
        small: further settings on a CPU and in tests.
    """

    model: str
    preset: str
    task: str
    weights: Mapping[str, Any] = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Both names."""
        return f"{self.model} {self.preset}"


_BERT = {"model.layers": 2, "model.max_text": 16, "patches.size": 32}
_FEW = {"loop.batch": 4}
#: Every preset of every model that can be trained.
CASES: tuple[Case, ...] = (
    Case(
        model="artemis", preset="paper", task="composed", weights={"towers.pretrained": False},
        small={**_FEW, "towers.image": "torchvision:resnet18", "model.size": 32, "embedding": 16},
    ),
    Case(
        model="artemis", preset="cirplant", task="composed",
        weights={"towers.image": _NET.format("resnet152"), "towers.bert": "{bert}"},
        small={
            **_FEW, "towers.image": _NET.format("resnet18") + " size=32", "model.bert.layers": 2,
            "model.bert.length": 16,
        },
    ),
    Case(
        model="artemis", preset="cpu", task="composed",
        weights={"towers.image": _NET.format("mobilenetv2_100") + " + classic"},
        small={**_FEW, "towers.image": _NET.format("mobilenetv2_100") + " size=32 + classic"},
    ),
    Case(
        model="mmv", preset="paper", task="films", weights={"start.vocabulary": 65_536},
        small={
            **_FEW, "audio": "resnet18", "frames": 8, "shorter": 36, "size": 32, "fps": 4.0, "seconds": 1.0,
            "model.rate": 8000, "high": 3900.0, "bands": 40, "word_width": 16, "calibration_steps": 1,
        },
    ),
    Case(model="mmv", preset="cpu", task="films", small={**_FEW, "calibration_steps": 1}),
    Case(
        model="fashionbert", preset="paper", task="products",
        weights={"bert": "{bert}", "patches.features": _NET.format("resnet50"), "model.layers": 0},
        small={
            **_FEW, **_BERT, "patches.features": _NET.format("resnet18"), "data.validate_on": 4,
            "data.validate_among": 3,
        },
    ),
    Case(
        model="fashionbert", preset="cpu", task="products",
        weights={
            "patches.features": _NET.format("mobilenetv2_100"),
            "patches.whole": _NET.format("mobilenetv2_100") + " + classic",
        },
        small={
            "align.batch": 8, "align.steps": 1, "rank.batch": 2, "rank.steps": 1, "rank.group": 2,
            "data.validate_on": 4, "data.validate_among": 3, "patches.size": 64,
            "patches.whole": _NET.format("mobilenetv2_100") + " size=32 + classic",
        },
    ),
    Case(model="two_tower", preset="paper", task="products", small=_FEW),
    Case(
        model="two_tower", preset="cpu", task="products",
        weights={"towers.image": _NET.format("mobilenetv2_100") + " + classic", "tune.towers": "image"},
        small={**_FEW, "towers.image": _NET.format("mobilenetv2_100") + " size=32 + classic", "tune.batch": 4},
    ),
    Case(
        model="clip4idc", preset="paper", task="pairs",
        weights={"image": "open_clip model='local-dir:{clip}'", "caption.steps": 10},
        small={
            **_FEW, "model.vision.intra": 2, "caption.batch": 4, "model.text.length": 16, "caption.length": 16,
            "caption.writer.width": 32, "caption.writer.heads": 2, "caption.writer.inner": 48,
            "caption.writer.layers": 1,
        },
    ),
    Case(
        model="clip4idc", preset="cpu", task="pairs",
        weights={"image": "tokens:" + _NET.format("mobilenetv2_100"), "caption.steps": 10},
        small={**_FEW, "caption.batch": 4, "grid.size": 64, "grid.rows": 2, "grid.columns": 2},
    ),
    Case(model="clip4idc", preset="tiny", task="pairs", weights={"caption.steps": 10}),
    Case(model="map_ivr", preset="paper", task="stills", small={**_FEW, "model.hidden": 64, "model.dim": 32}),
    Case(model="map_ivr", preset="cpu", task="stills", small=_FEW),
    Case(model="map_ivr", preset="tiny", task="stills", small=_FEW),
)  # fmt: skip


def run(case: Case, folder: Path, *, small: bool, steps: int, media: Path | None = None) -> dict[str, Any]:
    """Train a preset for a few steps.

    Args:
        case: of ``CASES``.
        folder: for media, weights and the run; the run is in ``folder/run``.
        small: whether sizes are reduced by ``Case.small``.
        steps: of every phase.
        media: a folder with media of an earlier run of the same size, or where they are to be; in ``folder`` by
            default.

    Returns:
        ``rows_per_second``, the median over the steps of the last phase but the first one, ``gpu_mib``, the peak of
        the GPU's memory (None without one), and ``rss_mib``, that of the process.
    """
    import torch

    school = importlib.import_module(f"quiver.encoders.{case.model}.train")
    recipe = changed(school.PRESETS[case.preset], _settings(case, folder, small=small, steps=steps))
    recipe = changed(recipe, _counted(recipe, steps))
    rows = max(2 * recipe.loop.batch, MADE)
    task = TASKS[case.task](media or folder / "media", rows, 32 if small else 256)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    held = task if small else None
    with redirect_stdout(sys.stderr):
        school.train(task, held, folder / "run", recipe=recipe)
    lines = [json.loads(line) for line in (folder / "run/log.jsonl").read_text().splitlines()]
    paces = [
        line["rows_per_second"] for line in lines if line["kind"] == "train" and line["phase"] == lines[-1]["phase"]
    ]
    cuda = torch.cuda.is_available()
    return {
        "rows_per_second": median(paces[1:] or paces),
        "batch": recipe.loop.batch,
        "gpu_mib": torch.cuda.max_memory_allocated() / 2**20 if cuda else None,
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _settings(case: Case, folder: Path, *, small: bool, steps: int) -> dict[str, Any]:
    given = {**case.weights, **(case.small if small else {})}
    places = {"bert": folder / "bert", "clip": folder / "clip"}
    makers: Mapping[str, Callable[..., None]] = {"bert": write_bert, "clip": write_clip}
    for name, place in places.items():
        if any(isinstance(value, str) and f"{{{name}}}" in value for value in given.values()):
            makers[name](place, small=small)
    filled = {name: value.format(**places) if isinstance(value, str) else value for name, value in given.items()}
    return {**filled, **({"caption.steps": steps} if "caption.steps" in filled else {})}


def _counted(recipe: Any, steps: int) -> dict[str, Any]:
    """Return settings that end every phase of a recipe after a few steps."""
    from quiver.encoders._settings import flat

    known = flat(recipe)
    main = bool(known["loop.steps"] or known["loop.epochs"])
    found: dict[str, Any] = {"loop.epochs": 0.0, "loop.steps": steps} if main else {}
    found |= {"loop.log_every": 1, "loop.validate_every": 0, "loop.validations": 0, "loop.save_every": 0}
    found |= {"loop.warmup": 0} if known["loop.warmup"] else {}
    for name in ("align.steps", "rank.steps", "tune.steps"):
        found |= {name: steps} if known.get(name) else {}
    if known.get("first.epochs"):
        found["first.epochs"] = 1e-9  # one step
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure presets and print a table, or with ``--json`` one object."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", help="names, as in 'mmv paper'; none for all")
    parser.add_argument("--steps", type=int, default=10, help="steps of every phase")
    parser.add_argument("--small", action="store_true", help="reduced sizes; always on a machine without a GPU")
    parser.add_argument("--json", action="store_true", help="print one JSON object per preset")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    small = given.small or not torch.cuda.is_available()
    known = {case.name: case for case in CASES}
    if strange := [name for name in given.presets if name not in known]:
        parser.error(f"there is no preset {strange[0]!r}: there are {', '.join(known)}")
    if given.one:
        with TemporaryDirectory() as folder:
            print(json.dumps(run(known[given.presets[0]], Path(folder), small=small, steps=given.steps)))
        return
    if not given.json:
        where = torch.cuda.get_device_name() if torch.cuda.is_available() else machine()["processor"]
        sizes = "reduced sizes" if small else "the sizes of the presets"
        print(f"{where}, torch {versions()['torch']}, commit {commit()}, {sizes}")
        print(f"{'preset':24} {'batch':>7} {'rows/s':>10} {'GPU MiB':>9} {'RSS MiB':>9}")
    for name in given.presets or known:
        found = _alone(name, small=small, steps=given.steps)
        print(json.dumps({"preset": name, **found}) if given.json else _line(name, found), flush=True)


def _alone(name: str, *, small: bool, steps: int) -> dict[str, Any]:
    """Measure one preset in a process of its own; return what went wrong as ``error``."""
    command = [sys.executable, "-m", "quiver.benchmarks.speed.presets", name, "--one", "--steps", str(steps)]
    done = subprocess.run([*command, *(["--small"] if small else [])], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        return {"error": lines[-1]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _line(name: str, found: Mapping[str, Any]) -> str:
    if "error" in found:
        return f"{name:24} {found['error'][:120]}"
    gpu = "-" if found["gpu_mib"] is None else f"{found['gpu_mib']:,.0f}"
    return f"{name:24} {found['batch']:7,} {found['rows_per_second']:10,.1f} {gpu:>9} {found['rss_mib']:9,.0f}"


if __name__ == "__main__":
    main()
