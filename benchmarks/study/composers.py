"""Comparison of composers: ``python -m quiver.benchmarks.study.composers --out DIR --image SPEC``.

Every variant of ``encoders/artemis`` is trained on the same composed questions by the ``cpu`` recipe with several
seeds, and evaluated on the same questions about unseen products, by an exact scan without the reference. Features of
the frozen encoders are computed once. The baselines are a random order, the pictures of ``classic`` alone, and
``untuned`` late
fusion: cosines of the first encoder of ``--image`` plus cosines between the words and a ridge regression from its
vectors to a text encoder's, learnt from the names of the training products; its penalty and weight are the best of a
grid on the validation split.

A figure is the mean over seeds, with the bootstrap interval of that mean over reference products and, after ``±``, the
standard deviation over seeds. ``kept`` is the share of the exact first ten that a recall method has among a number of
candidates per list; ``union`` recalls three lists. Finished runs are not repeated.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from quiver import registry
from quiver.benchmarks import datasets
from quiver.benchmarks.machine import commit, machine, versions
from quiver.benchmarks.metric import Interval, Judgements, Ranking, Scores, compare, evaluate, intervals, judge, rank
from quiver.benchmarks.metric.measure import Doubles
from quiver.benchmarks.recall import baseline
from quiver.benchmarks.study.late_fusion import Untuned, ridge, unit
from quiver.encoders._settings import changed, parse
from quiver.encoders._train import extract, write_recipe
from quiver.encoders.artemis import probe, train
from quiver.encoders.artemis.model import Model
from quiver.encoders.artemis.score import Arrays, scan
from quiver.encoders.artemis.triplet import Triplets, gather, pictures
from quiver.encoders.artemis.validate import Validation
from quiver.task import Task
from quiver.types import Floats, Rows

VARIANTS = (
    "artemis",
    "artemis attention=shared",
    "artemis attention=uniform",
    "em",
    "is",
    "tirg",
    "late_fusion",
    "cross_modal",
    "visual_search",
    "cirplant rate=1e-3",
    "combiner rate=1e-3",
)
DATA = "fashion_products track=composed change=any"
MEASURES = ("Success@1", "Success@10", "Success@50", "AP@50")
TITLES = {"Success@1": "R@1", "Success@10": "R@10", "Success@50": "R@50", "AP@50": "mAP"}
HEADLINE = "Success@10"
#: List length, one more than measures need; number of exact hits that recall should keep; candidates per list.
_PLACES, _BEST, DEPTHS = 51, 10, (10, 20, 50, 100, 200)
_PENALTIES, _WEIGHTS = (0.1, 1.0, 10.0, 100.0), (0.25, 0.5, 1.0, 2.0, 4.0)
#: Bootstrap resamples and sign flips: enough for a third digit.
_BLOCK, _RESAMPLES = 1024, 2_000


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Questions with their right answers."""

    task: Task
    judgements: Judgements

    @classmethod
    def of(cls, spec: str) -> "Part":
        """Load a part from a data set's spec."""
        task: Task = datasets.load(spec)
        return cls(task, judge(task))


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """Results of one system.

    Attributes:
        name: name of the system.
        runs: figures of each seed, or of the only run.
        kept: (seeds, q) share of the exact first ten, by recall method and depth.
        cpu_s: processor seconds of training, by seed; without runs that were trained before.
        spread: given intervals, if they are not bootstrap intervals.
    """

    name: str
    runs: Sequence[Scores]
    kept: Mapping[str, Doubles] = field(default_factory=dict)
    cpu_s: Sequence[float] = ()
    spread: Mapping[str, Interval] = field(default_factory=dict)

    @property
    def mean(self) -> Scores:
        """The figures of every question, averaged over seeds."""
        first = self.runs[0]
        return replace(first, values={m: np.mean([run.of(m) for run in self.runs], axis=0) for m in first.values})


def ask(model: Model, part: Part, cache: Path) -> tuple[Scores, dict[str, Doubles]]:
    """Evaluate a model exactly, and measure the share of its exact hits that each recall method keeps."""
    questions = Validation.of(part.task, model, cache=cache)
    stored = questions.stored(model)
    lists, shares = [], []
    for block, terms in questions.asked(model):
        best = _ranked(questions.triplets, block, np.sum(list(scan(terms, stored).values()), axis=0))
        lists.append(best)
        if any(energy is not None for _, energy in terms.values()):
            typical = dict(zip(sorted(terms), model.typical.tolist(), strict=True))
            shares.append(_kept(questions.triplets, block, terms, stored, typical, best.rows[:, :_BEST]))
    scores = evaluate(_joined(lists), part.judgements, MEASURES)
    return scores, {name: np.concatenate([each[name] for each in shares]) for name in (shares[0] if shares else ())}


def _ranked(triplets: Triplets, block: Rows, scores: Floats) -> Ranking:
    """Rank a gallery for some questions, without excluded items."""
    return rank(_competing(triplets, block, scores), depth=_PLACES)


def _competing(triplets: Triplets, block: Rows, scores: Floats) -> Floats:
    for row, line in zip(block.tolist(), scores, strict=True):
        line[triplets.out(row, triplets.gallery)] = -np.inf
    return scores


def _first(triplets: Triplets, block: Rows, scores: Floats) -> Rows:
    """Return the top of a gallery for some questions, in order; much faster than a full sort."""
    depth = min(max(DEPTHS), scores.shape[1])
    scores = _competing(triplets, block, scores)
    rows = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
    order = np.argsort(-np.take_along_axis(scores, rows, axis=1), axis=1)
    return np.take_along_axis(rows, order, axis=1)


def _joined(lists: Sequence[Ranking]) -> Ranking:
    return Ranking(np.concatenate([each.rows for each in lists]), np.concatenate([each.scores for each in lists]))


def _kept(
    triplets: Triplets, block: Rows, terms: Arrays, stored: Floats, typical: Mapping[str, float], best: Rows
) -> dict[str, Doubles]:
    moments = np.square(stored).mean(axis=0)
    single = [probe.single(terms, moments)]
    asked = {
        "single": [(each, stored) for each in single],
        "union": [(each, stored) for each in (*single, *probe.parts(terms, moments).values())],
        "lifted": [(probe.lifted(terms, moments, typical), probe.lift(stored))],
    }
    if len(terms) == 1:
        del asked["union"]
    found = {}
    for name, probes in asked.items():
        lists = [_first(triplets, block, vectors @ rows.T) for vectors, rows in probes]
        for depth in DEPTHS:
            own = np.concatenate([each[:, :depth] for each in lists], axis=1)
            found[f"{name}@{depth}"] = (best[:, :, None] == own[:, None]).any(axis=2).mean(axis=1)
    return found


def place(variant: str, seed: int, given: argparse.Namespace) -> Path:
    """Return the folder of a run."""
    return Path(given.out) / f"{variant.replace(' ', '-')}-{seed}"


def learn(variant: str, seed: int, given: argparse.Namespace, lessons: tuple[Task, Task]) -> tuple[Model, float]:
    """Train a variant unless its run exists, and return it with the processor time of training."""
    composer, options = registry.split(variant)
    preset = train.PRESETS["cpu"]
    chosen = parse(preset, {"composer": composer, **options}, model="artemis")
    fixed = {"loop.seed": seed, "towers.image": given.image, "data.cache": given.out / "features"}
    recipe = changed(preset, {**fixed, **chosen})
    folder = place(variant, seed, given)
    write_recipe(folder, recipe, model="artemis", data=[given.data])
    started = process_time()
    if not (folder / "model").is_dir():
        with redirect_stdout(sys.stderr):
            train.train(*lessons, folder, recipe=recipe)
    return Model.open(folder / "model"), process_time() - started


def answers(model: Model, part: Part, given: argparse.Namespace, folder: Path) -> tuple[Scores, dict[str, Doubles]]:
    """Evaluate a model unless its results exist."""
    path = folder / f"asked-{part.task.revision[:12]}.npz"
    if not path.is_file():
        scores, kept = ask(model, part, given.out / "features")
        np.savez(path, allow_pickle=False, **{**scores.values, **kept})
    with np.load(path, allow_pickle=False) as held:
        found = {name: held[name] for name in held.files}
    values = {name: found.pop(name) for name in MEASURES}
    judged = part.judgements
    return Scores(values, judged.groups, "pessimistic", 0, 0, 0, 0, judged.sources), found


def measure(given: argparse.Namespace, lessons: tuple[Task, Task], part: Part) -> list[Line]:
    """Train and evaluate every variant with every seed, seed by seed."""
    done: dict[str, list[tuple[Scores, dict[str, Doubles], float]]] = {variant: [] for variant in given.variants}
    for seed in given.seeds:
        for variant, runs in done.items():
            model, seconds = learn(variant, seed, given, lessons)
            runs.append((*answers(model, part, given, place(variant, seed, given)), seconds))
            said = " ".join(f"{title} {runs[-1][0].mean(name):.3f}" for name, title in TITLES.items())
            print(f"{variant} seed {seed}: {said}, {seconds:.0f} CPU seconds", file=sys.stderr, flush=True)
    return [
        Line(
            variant,
            [scores for scores, _, _ in runs],
            {name: np.stack([kept[name] for _, kept, _ in runs]) for name in runs[0][1]},
            [seconds for _, _, seconds in runs],
        )
        for variant, runs in done.items()
    ]


def baselines(given: argparse.Namespace, learnt: Task, held: Part, part: Part) -> list[Line]:
    """Return the baselines, which need no training on composed questions."""
    chance, spread = baseline.random(part.judgements, MEASURES, depth=_PLACES)
    lines = [Line("random", [chance], spread=spread)]
    first = registry.load("encoders", given.image.split(" + ")[0]).spaces("image")[0].dim
    if "classic" in given.image.split(" + ")[1:]:
        lines.append(Line("classic, pictures alone", [_alone(given, part, slice(first, None))]))
    lines.append(Line("first encoder, pictures alone", [_alone(given, part, slice(0, first))]))
    if given.words:
        lines += _fused(given, learnt, held, part, slice(0, first))
    return lines


def _alone(given: argparse.Namespace, part: Part, cut: slice) -> Scores:
    features, triplets = _read(given, part)
    rows = unit(features[:, cut])
    return _measured(part, triplets, rows[triplets.reference] @ rows[triplets.gallery].T)


def _fused(given: argparse.Namespace, learnt: Task, held: Part, part: Part, cut: slice) -> list[Line]:
    cache = given.out / "features"
    names = [str(item.meta["name"]) for item in learnt.items]
    x = unit(extract(given.image, "image", pictures(learnt), cache=cache)[0][: len(names), cut])
    y = extract(given.words, "text", names, cache=cache)[0]
    fits = [(penalty, ridge(x, y, penalty)) for penalty in _PENALTIES]
    tried = [Untuned(cut, weights, amount, penalty) for penalty, weights in fits for amount in _WEIGHTS]
    told = {at: _told(given, at) for at in (held, part)}

    def found(system: Untuned, at: Part) -> Scores:
        features, triplets = _read(given, at)
        return _measured(at, triplets, system.scores(features, triplets, told[at]))

    best = max(tried, key=lambda each: found(each, held).mean(HEADLINE))
    same = replace(best, amount=1.0)
    print(f"untuned: penalty {best.penalty:g} and weight {best.amount:g} are best on validation", file=sys.stderr)
    return [
        Line("untuned late fusion, equal weights", [found(same, part)]),
        Line("untuned late fusion, best weight", [found(best, part)]),
    ]


def _told(given: argparse.Namespace, part: Part) -> Floats:
    texts = [str(question.query.media["text"]).removeprefix("the same ") for question in part.task.questions]
    different = list(dict.fromkeys(texts))
    rows = extract(given.words, "text", different, cache=given.out / "features")[0]
    return rows[[different.index(text) for text in texts]]


def _read(given: argparse.Namespace, part: Part) -> tuple[Floats, Triplets]:
    features, seen = extract(given.image, "image", pictures(part.task), cache=given.out / "features")
    return features, gather(part.task, seen)


def _measured(part: Part, triplets: Triplets, scores: Floats) -> Scores:
    blocks = [np.arange(at, min(at + _BLOCK, len(scores))) for at in range(0, len(scores), _BLOCK)]
    return evaluate(_joined([_ranked(triplets, each, scores[each]) for each in blocks]), part.judgements, MEASURES)


def describe(line: Line) -> dict[str, Any]:
    """Return the figures of a system: of every change, and of their mean, with intervals."""
    mean = line.mean
    groups = {**{name: _only(mean, rows) for name, rows in mean.members.items()}, "mean": mean}
    found: dict[str, Any] = {}
    for name, scores in groups.items():
        rows = mean.members.get(name, np.arange(mean.n))
        spread = line.spread if line.spread and name == "mean" else intervals(scores, resamples=_RESAMPLES)
        of_seeds = [_only(run, rows) if name != "mean" else run for run in line.runs]
        found[name] = {
            "questions": scores.n,
            **{TITLES[m]: {**asdict(spread[m]), "seeds": [run.mean(m) for run in of_seeds]} for m in MEASURES},
        }
    kept = {name: [float(share) for share in shares.mean(axis=1)] for name, shares in line.kept.items()}
    return {"name": line.name, "cpu_s": list(line.cpu_s), "figures": found, "kept": kept}


def _only(scores: Scores, rows: Rows) -> Scores:
    pick = [[of[row] for row in rows.tolist()] if of else () for of in (scores.groups, scores.sources)]
    values = {name: each[rows] for name, each in scores.values.items()}
    return replace(scores, values=values, groups=pick[0], sources=pick[1])


def table(systems: Sequence[Mapping[str, Any]]) -> str:
    """Return the figures as Markdown: a table of each change, one of their mean, and one of recall methods."""
    parts = []
    for group in systems[0]["figures"]:
        parts += [f"\n{group}, {systems[0]['figures'][group]['questions']:,} questions\n"]
        parts += ["| | " + " | ".join(TITLES.values()) + " |", "|---" * (len(TITLES) + 1) + "|"]
        for system in systems:
            cells = [_cell(system["figures"][group][title]) for title in TITLES.values()]
            parts.append(f"| {system['name']} | {' | '.join(cells)} |")
    names = [f"{name}@{depth}" for name in ("single", "union", "lifted") for depth in DEPTHS]
    parts += ["\nkept of the exact first ten, mean of the seeds\n", f"| | {' | '.join(names)} |"]
    parts.append("|---" * (len(names) + 1) + "|")
    for system in systems:
        if system["kept"]:
            cells = [f"{np.mean(system['kept'][name]):.3f}" if name in system["kept"] else "" for name in names]
            parts.append(f"| {system['name']} | {' | '.join(cells)} |")
    return "\n".join(parts)


def _cell(figure: Mapping[str, Any]) -> str:
    stray = f" ±{np.std(figure['seeds'], ddof=1):.3f}" if len(figure["seeds"]) > 1 else ""
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]{stray}"


def compared(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Compare the first system with all others except random orders, on the mean of their seeds."""
    systems = {line.name: line.mean for line in lines if not line.spread}
    return [asdict(each) for each in compare(systems, [HEADLINE], against=lines[0].name, resamples=_RESAMPLES)]


def main() -> None:
    """Read the arguments, train and evaluate, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs, of features, and of report.json")
    parser.add_argument("--image", required=True, help="frozen encoders, as in 'timm model=mobilenetv2_100 + classic'")
    parser.add_argument(
        "--words", default="", help="text encoder of the untuned fusion; without it that baseline is skipped"
    )
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), help="COMPOSER key=value ..., one string each")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--data", default=DATA, help="data set for training and evaluation, without split and queries")
    parser.add_argument("--learn", type=int, default=20_000, help="number of training questions")
    parser.add_argument("--queries", type=int, default=6_000, help="number of test questions")
    parser.add_argument(
        "--held", type=int, default=3_000, help="number of validation questions, which choose a run's best state"
    )
    parser.add_argument("--split", default="test", choices=("test", "validation"), help="split for the evaluation")
    parser.add_argument("--alone", action="store_true", help="skip the baselines")
    given = parser.parse_args()
    given.data = f"{given.data} queries={given.learn}"
    bare = given.data.rpartition(" ")[0]
    learnt = Part.of(f"{given.data} split=train")
    held = Part.of(f"{bare} queries={given.held} split=validation")
    part = Part.of(f"{bare} queries={given.queries} split={given.split}")
    lines = measure(given, (learnt.task, held.task), part)
    lines += [] if given.alone else baselines(given, learnt.task, held, part)
    systems = [describe(line) for line in lines]
    tests = compared(lines) if len(lines) > 1 else []
    report: dict[str, Any] = {"command": sys.argv[1:], "task": part.task.name, "commit": commit()}
    report |= {"machine": machine(), "versions": versions(), "systems": systems, "comparisons": tests}
    (given.out / f"report-{given.split}.json").write_text(json.dumps(report, indent=2))
    print(table(systems))
    for each in tests:
        effect = each["effect"]
        print(f"{each['b']} against {each['a']}: R@10 {effect['value']:+.3f} [{effect['low']:+.3f},", end=" ")
        print(f"{effect['high']:+.3f}], p {each['adjusted']:.3g}")


if __name__ == "__main__":
    main()
