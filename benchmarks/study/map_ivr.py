"""Comparison of MAP-IVR with its baselines: ``python -m quiver.benchmarks.study.map_ivr --out DIR``.

Stills ask for clips of their activity. Every variant is trained with several seeds from the same features, which are
computed once; finished runs are not repeated. All figures are exact, and lambda is the best one of a grid on the
validation part of the same protocol. Systems:

* map_ivr; ``S_A alone`` and ``S_V alone`` are its two distances, ``mean over h`` takes the mean of the h distances
  instead of the least;
* without orthogonal, without kl, without rebuild, without classify: one loss switched off, trained anew;
* classify + triplet: one common space without motion and decoder, as its predecessor APIVR has it (without adversary);
* plain features: the cosine of a still and the mean of the clip's frames, in one space of a frozen encoder; best frame:
  the largest cosine with a single frame; random.

A figure is the mean over seeds, with the bootstrap interval of that mean over stills and, after ``±``, the standard
deviation over seeds.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quiver.benchmarks import datasets
from quiver.benchmarks.machine import commit, machine, versions
from quiver.benchmarks.metric import Interval, Judgements, Scores, compare, evaluate, intervals, judge, rank
from quiver.benchmarks.recall import baseline
from quiver.encoders._settings import changed, parse
from quiver.encoders._train import extract, write_recipe
from quiver.encoders._train.log import read
from quiver.encoders.map_ivr import train
from quiver.encoders.map_ivr.data import Pairs, gather
from quiver.encoders.map_ivr.feature import confidences, extract_clips
from quiver.encoders.map_ivr.model import MapIvr, unit
from quiver.encoders.map_ivr.validate import GRID, Exam
from quiver.encoders.map_ivr.window import Windows
from quiver.task import Task
from quiver.types import Floats

MEASURES = ("Success@1", "APh@10", "APh@20", "APh@50", "APh@100")
TITLES = {"Success@1": "P@1", **{f"APh@{k}": f"mAP@{k}" for k in (10, 20, 50, 100)}}
HEADLINE = "APh@100"
#: Settings of the variants that are trained.
VARIANTS: Mapping[str, Mapping[str, str]] = {
    "map_ivr": {},
    "without orthogonal": {"orthogonal": "0"},
    "without kl": {"kl": "0"},
    "without rebuild": {"rebuild": "0", "kl": "0"},
    "without classify": {"classify": "0"},
    "classify + triplet": {"orthogonal": "0", "kl": "0", "rebuild": "0", "triplet": "1", "blend": "0"},
}
#: What the probes and the watch of a run say of the last validation.
WATCHED = ("kl", "active", "spread", "dead")
#: List length, one more than measures need, and bootstrap resamples.
_PLACES, _RESAMPLES = 101, 2_000


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Stills and clips of one protocol.

    Attributes:
        task: the questions. judgements: their right answers. pairs: the same for the model.
        images: (q, F_u) features of stills.
    """

    task: Task
    judgements: Judgements
    pairs: Pairs
    images: Floats

    @classmethod
    def of(cls, spec: str, given: argparse.Namespace) -> "Part":
        """Load a part from a data set's spec."""
        task: Task = datasets.load(spec)
        pairs = gather(task)
        if len(pairs) != len(task.questions):
            raise SystemExit(f"{spec}: {len(task.questions) - len(pairs)} stills cannot be asked")
        return cls(task, judge(task), pairs, extract(given.image, "image", pairs.stills, cache=given.cache)[0])

    def exam(self, model: MapIvr, given: argparse.Namespace) -> Exam:
        """Return the exact scores' input for a model."""
        cut = extract_clips(given.video, self.pairs.clips, Windows(model.config.windows), cache=given.cache)
        return Exam(self.pairs, self.images, cut.pooled(model.config.keep, confidences(model)))

    def measured(self, scores: Floats) -> Scores:
        """Evaluate scores (q, g) without the clips that do not compete."""
        scores = scores.copy()
        for line, out in zip(scores, self.pairs.out, strict=True):
            line[out] = -np.inf
        return evaluate(rank(scores, depth=min(_PLACES, scores.shape[1])), self.judgements, MEASURES)


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """Results of one system.

    Attributes:
        name: name of the system.
        runs: figures of each seed, or of the only run.
        blends: lambda of each seed.
        spread: given intervals, if they are not bootstrap intervals.
    """

    name: str
    runs: Sequence[Scores]
    blends: Sequence[float] = ()
    spread: Mapping[str, Interval] = field(default_factory=dict)

    @property
    def mean(self) -> Scores:
        """The figures of every question, averaged over seeds."""
        values = {m: np.mean([run.of(m) for run in self.runs], axis=0) for m in self.runs[0].values}
        return replace(self.runs[0], values=values)


Cosines = tuple[Floats, Floats]
#: How S_V is made of the cosines (q, h, g) of rebuilt clips and clips.
REDUCE: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "max": lambda cosines: cosines.amax(dim=1),
    "mean": lambda cosines: cosines.mean(dim=1),
}


@torch.inference_mode()
def cosines(model: MapIvr, exam: Exam, how: str) -> Cosines:
    """Return 1 - S_A and 1 - S_V, (q, g) each."""
    a_u, videos = model.embed_image(torch.from_numpy(exam.images)), torch.from_numpy(exam.videos)
    rebuilt, clips = model.imagine(a_u, model.config.samples), unit(videos)
    moving = [REDUCE[how](part @ clips.T) for part in rebuilt.split(64)]
    return (a_u @ model.embed_video(videos).T).numpy(), torch.cat(moving).numpy()


def chosen(model: MapIvr, held: Exam, part: Exam, grid: Sequence[float], how: str = "max") -> tuple[Floats, float]:
    """Return scores (q, g) of a part at the lambda that is best on the validation part."""
    appearance, moving = cosines(model, held, how)
    best = max(grid, key=lambda at: (held.precisions((1 - at) * appearance + at * moving)[0], -abs(at - 0.5)))
    appearance, moving = cosines(model, part, how)
    return (1 - best) * appearance + best * moving, best


def learn(variant: str, seed: int, lessons: tuple[Task, Task], given: argparse.Namespace) -> MapIvr:
    """Train a variant unless its run exists."""
    settings = {**dict(each.split("=", 1) for each in given.set), **VARIANTS[variant]}
    preset = train.PRESETS[given.preset]
    fixed = {"loop.seed": seed, "towers.image": given.image, "towers.video": given.video, "data.cache": given.cache}
    fixed |= {"data.probe": given.probe, "name": "study"}
    recipe = changed(preset, {**fixed, **parse(preset, settings, model="map_ivr")})
    folder = place(variant, seed, given)
    write_recipe(folder, recipe, model="map_ivr", data=[given.data])
    if not (folder / "model").is_dir():
        with redirect_stdout(sys.stderr):
            train.train(*lessons, folder, recipe=recipe)
    return MapIvr.open(folder / "model")


def place(variant: str, seed: int, given: argparse.Namespace) -> Path:
    """Return the folder of a run."""
    return Path(given.out) / f"{variant.replace(' ', '-')}-{seed}"


def trained(given: argparse.Namespace, held: Mapping[str, Part], parts: Mapping[str, Part]) -> dict[str, list[Line]]:
    """Train and evaluate every variant with every seed: lines by protocol."""
    lessons = (datasets.load(f"{given.data} split=train"), held[next(iter(held))].task)
    found: dict[str, dict[str, list[tuple[Scores, float]]]] = {name: {} for name in parts}
    for seed in given.seeds:
        for variant in given.variants:
            model = learn(variant, seed, lessons, given)
            for name, part in parts.items():
                systems = asked(variant, model, held[name].exam(model, given), part.exam(model, given))
                for system, (scores, blend) in systems.items():
                    found[name].setdefault(system, []).append((part.measured(scores), blend))
            done = found[next(iter(found))][variant][-1]
            said = " ".join(f"{title} {done[0].mean(name):.3f}" for name, title in TITLES.items())
            print(f"{variant} seed {seed}: {said}, lambda {done[1]:g}", file=sys.stderr, flush=True)
    return {
        name: [Line(system, [run for run, _ in runs], [blend for _, blend in runs]) for system, runs in systems.items()]
        for name, systems in found.items()
    }


def asked(variant: str, model: MapIvr, held: Exam, part: Exam) -> dict[str, tuple[Floats, float]]:
    """Return scores and lambda of a trained variant, and of other ways to ask the whole model."""
    grid = (0.0,) if "blend" in VARIANTS[variant] else GRID
    found = {variant: chosen(model, held, part, grid)}
    if variant == "map_ivr":
        appearance, moving = cosines(model, part, "max")
        found["S_A alone"], found["S_V alone"] = (appearance, 0.0), (moving, 1.0)
        found["mean over h"] = chosen(model, held, part, GRID, "mean")
    return found


def baselines(part: Part, given: argparse.Namespace) -> list[Line]:
    """Return the systems that are not trained."""
    lines = []
    if given.plain:
        stills = extract(given.plain, "image", part.pairs.stills, cache=given.cache)[0]
        whole = extract(given.plain, "video", part.pairs.clips, cache=given.cache)[0]
        lines.append(Line("plain features", [part.measured(stills @ whole.T)]))
        single = given.single or f"{given.plain} frames=1"
        cut = extract_clips(single, part.pairs.clips, Windows(given.frames), cache=given.cache)
        nearest = np.full((len(stills), cut.count), -1.0, np.float32)
        np.maximum.at(nearest.T, cut.owner, cut.rows @ stills.T)
        lines.append(Line("best frame", [part.measured(nearest)]))
    chance, spread = baseline.random(part.judgements, MEASURES, depth=_PLACES)
    return [*lines, Line("random", [chance], spread=spread)]


def describe(line: Line) -> dict[str, Any]:
    """Return the figures of a system with their intervals."""
    spread = line.spread or intervals(line.mean, resamples=_RESAMPLES)
    figures = {
        TITLES[m]: {**asdict(spread[m]), "seeds": [run.mean(m) for run in line.runs]} for m in MEASURES if m in spread
    }
    return {"name": line.name, "blends": list(line.blends), "figures": figures}


def watched(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what was watched at the best state of every run, averaged over seeds."""
    rows = []
    for variant in given.variants:
        best: list[dict[str, float]] = []
        for seed in given.seeds:
            lines = [each for each in read(place(variant, seed, given) / "log.jsonl") if each["kind"] == "validation"]
            best.append(max(lines, key=lambda each: each["APh@100"]))
        names = [name for name in best[0] if name in WATCHED or name.startswith(("motion_", "appearance_"))]
        rows.append({"name": variant, **{name: float(np.mean([each[name] for each in best])) for name in names}})
    return rows


def table(systems: Sequence[Mapping[str, Any]]) -> str:
    """Return figures as a Markdown table."""
    lines = ["| | " + " | ".join(TITLES.values()) + " | lambda |", "|---" * (len(TITLES) + 2) + "|"]
    for system in systems:
        cells = [_cell(system["figures"].get(title)) for title in TITLES.values()]
        blends = ", ".join(f"{blend:g}" for blend in system["blends"])
        lines.append(f"| {system['name']} | {' | '.join(cells)} | {blends} |")
    return "\n".join(lines)


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return ""
    stray = f" ±{np.std(figure['seeds'], ddof=1):.3f}" if len(figure["seeds"]) > 1 else ""
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]{stray}"


def compared(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Compare the first system with all others except random orders, on the mean of their seeds."""
    systems = {line.name: line.mean for line in lines if not line.spread}
    return [
        asdict(each) for each in compare(systems, [HEADLINE, "Success@1"], against=lines[0].name, resamples=_RESAMPLES)
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs and of report.json")
    parser.add_argument(
        "--data", default="asl_video", help="data set, without split; its validation part chooses states"
    )
    parser.add_argument("--also", nargs="*", default=[], help="further protocols to measure, such as other_person=true")
    parser.add_argument("--image", required=True, help="frozen encoders of stills")
    parser.add_argument("--video", required=True, help="frozen encoders of clips")
    parser.add_argument("--plain", default="", help="encoder of stills and clips in one space, for the plain baselines")
    parser.add_argument("--single", default="", help="the same for single frames; by default --plain with frames=1")
    parser.add_argument("--frames", type=int, default=8, help="frames of the baseline of single frames")
    parser.add_argument("--probe", default="", help="metadata columns for linear probes, such as person")
    parser.add_argument("--preset", default="cpu", choices=sorted(train.PRESETS))
    parser.add_argument("--set", nargs="*", default=[], help="further settings of every run, such as loop.epochs=30")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--cache", type=Path, help="folder of features; by default in the folder of the runs")
    given = parser.parse_args()
    given.cache = given.cache or given.out / "features"
    return given


def main() -> None:
    """Read the arguments, train and evaluate, and print tables."""
    given = _arguments()
    protocols = [given.data, *(f"{given.data} {more}" for more in given.also)]
    held = {name: Part.of(f"{name} split=validation", given) for name in protocols}
    parts = {name: Part.of(f"{name} split=test", given) for name in protocols}
    lines = trained(given, held, parts)
    report: dict[str, Any] = {"command": sys.argv[1:], "commit": commit(), "machine": machine(), "versions": versions()}
    report["watched"], report["protocols"] = watched(given), {}
    for name, part in parts.items():
        every = [*lines[name], *baselines(part, given)]
        systems, tests = [describe(line) for line in every], compared(every)
        report["protocols"][name] = {"systems": systems, "comparisons": tests}
        print(f"\n{name}: {len(part.task.questions)} stills, {len(part.task.items)} clips\n\n{table(systems)}\n")
        for each in tests:
            effect, title = each["effect"], TITLES[each["measure"]]
            print(f"{each['b']} against {each['a']}: {title} {effect['value']:+.3f}", end=" ")
            print(f"[{effect['low']:+.3f}, {effect['high']:+.3f}], p {each['adjusted']:.3g}")
    print("\nat the best state, validation part, mean of the seeds\n")
    for row in report["watched"]:
        print(", ".join(f"{name} {value:.3g}" if isinstance(value, float) else value for name, value in row.items()))
    (given.out / "report.json").write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
