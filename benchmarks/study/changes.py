"""Retrieval of changes: ``python -m quiver.benchmarks.study.changes --out DIR --image tokens:NETWORK --data SPEC``.

CLIP4IDC (``encoders/clip4idc``) against simpler vectors of two pictures, all trained on the same sentences and pairs,
with the same text tower, loss and frozen features, by the ``cpu`` recipe with several seeds:

* ``clip4idc``: inter blocks over the tokens of both pictures; options follow, as in "clip4idc data.distractors=0";
* ``untrained``: the same before stage one (adaptation);
* ``mean``, ``difference``, ``both``: the mean of the two pictures' features over all places, that after minus that
  before, or the two side by side; then a network with one hidden layer;
* ``pooled``: the difference of means beside that of the largest values: what goes past the blocks of ``clip4idc``
  with ``model.vision.change``, without the blocks.

``words`` asks for pairs with every sentence, ``pair`` asks for groups of sentences with every pair (protocol of
CLIP4IDC, see ``encoders/clip4idc/validate.py``). ``reversed`` asks with every sentence among pairs whose order is given
backwards, as a control; ``order`` is the share of sentences that are nearer to their pair than to that pair backwards.
A figure is the mean over seeds, with the bootstrap interval of that mean over pairs and, after ``±``, the standard
deviation over seeds. Finished runs are not repeated.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from time import process_time
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from quiver import registry
from quiver.benchmarks import datasets
from quiver.benchmarks.machine import commit, machine, versions
from quiver.benchmarks.metric import Scores, compare, intervals
from quiver.benchmarks.metric.measure import Doubles
from quiver.encoders._patch.extract import Source, open
from quiver.encoders._settings import changed, parse
from quiver.encoders._train import fit
from quiver.encoders.clip4idc import train
from quiver.encoders.clip4idc.change import pooled
from quiver.encoders.clip4idc.data import Captions, Features, Fetch, gather
from quiver.encoders.clip4idc.model import Clip4Idc
from quiver.encoders.clip4idc.recipe import Recipe
from quiver.encoders.clip4idc.validate import embed, pair_ranks, recalls, sentence_ranks
from quiver.errors import BadSpec
from quiver.task import Task
from quiver.types import Rows

Kind = Literal["mean", "difference", "both", "pooled"]
KINDS: tuple[Kind, ...] = ("mean", "difference", "both", "pooled")
METHODS = ("clip4idc", "clip4idc data.distractors=0", "untrained", *KINDS)
CUTS = (1, 5, 10)
#: Hidden units of the baselines.
HIDDEN = 512
_RESAMPLES = 2_000


class Pooled(nn.Module):
    """A baseline: features of two pictures, averaged over all places (or pooled), as one vector.

    Args:
        kind: how the two are joined.
        width: F, of a feature.
        dim: D, of the vector.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, kind: Kind, width: int, dim: int) -> None:
        super().__init__()
        self.kind = kind
        inputs = 2 * width if kind in ("both", "pooled") else width
        held = inputs if kind == "pooled" else width
        self.register_buffer("centre", torch.zeros(held))
        self.register_buffer("spread", torch.ones(held))
        self.layers = nn.Sequential(nn.Dropout(0.1), nn.Linear(inputs, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, dim))

    def measure(self, features_nPF: Tensor) -> None:
        """Take centre and scale from the training set's pictures."""
        features = self._one(features_nPF)
        self.centre.copy_(features.mean(0))
        self.spread.copy_(features.std(0).clamp(min=1e-3))

    def forward(self, pictures_B2PF: Tensor) -> Tensor:
        """Return one token per pair, (B, 1, D)."""
        before, after = ((self._one(pictures_B2PF) - self.centre) / self.spread).unbind(dim=1)
        joined = {"mean": (before + after) / 2, "both": torch.cat([before, after], 1)}
        token: Tensor = self.layers(joined.get(self.kind, after - before))[:, None]
        return token

    def _one(self, features: Tensor) -> Tensor:
        """Return one vector of the features (..., P, F) of each picture."""
        return pooled(features) if self.kind == "pooled" else features.mean(dim=-2)

    def pool(self, tokens_B1D: Tensor) -> Tensor:
        """Return the vector of each pair, (B, D)."""
        return tokens_B1D[:, 0]


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The three parts of a data set."""

    learn: Task
    validation: Task
    test: Task

    @classmethod
    def of(cls, spec: str, counts: Sequence[int]) -> "Parts":
        """Load the parts of a data set; a made world has ``counts`` items in them."""
        made = spec.startswith("world ")
        names = ("train", "validation", "test")
        return cls(
            *(datasets.load(f"{spec} split={n}" + f" count={c}" * made) for n, c in zip(names, counts, strict=True))
        )


@dataclass(frozen=True)
class Study:
    """What all runs share.

    Attributes:
        parts: of the data set.
        given: arguments of the command.
    """

    parts: Parts
    given: argparse.Namespace

    def recipe(self, options: Mapping[str, str], seed: int) -> Recipe:
        """Return the ``cpu`` recipe with the settings of the command and of a method."""
        preset = train.PRESETS["cpu"]
        said = dict(each.split("=", 1) for each in self.given.settings)
        fixed = {"image": self.given.image, "text": self.given.text, "loop.seed": str(seed)}
        fixed["data.cache"] = str(self.given.cache or Path(self.given.out) / "features")
        return changed(preset, parse(preset, {**fixed, **said, **options}, model="clip4idc"))

    @cached_property
    def source(self) -> Source:
        """The frozen network.

        Raises:
            BadSpec: the model would start from a CLIP.
        """
        extractor = self.recipe({}, 0).extractor
        if extractor is None:
            raise BadSpec("this study compares vectors of frozen features: give --image tokens:NETWORK")
        return open(extractor, device="cpu")

    @cached_property
    def captions(self) -> dict[str, Captions]:
        """Sentences and pairs of each part."""
        return {name: gather(getattr(self.parts, name)) for name in ("learn", "validation", "test")}


def learn(study: Study, method: str, seed: int) -> tuple[Clip4Idc, Recipe, float]:
    """Train a method; return its model and the processor seconds of training."""
    name, options = registry.split(method)
    recipe = study.recipe(options, seed)
    folder = _place(study, method, seed)
    model = train.build(recipe, study.captions["learn"], study.source, name=name)
    lesson = train.prepare(study.captions["learn"], model.config, study.source, recipe, folder)
    features = cast(Features, lesson.pictures).rows[: train.MEASURED].astype(np.float32)
    if name in KINDS:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model.pairs = Pooled(name, study.source.width, model.config.dim)  # type: ignore[assignment]
    model.pairs.measure(torch.from_numpy(features))
    if name == "untrained":
        return model.eval(), recipe, 0.0
    held = fetch(study, "validation", model, recipe)
    started = process_time()
    fit(
        model,
        train.loss(lesson.captions),
        fetch=train.fetch(lesson, model, recipe, folder, distractors=recipe.data.distractors),
        count=len(lesson.captions),
        out=folder,
        loop=recipe.loop,
        validate=lambda trained: recalls(cast(Clip4Idc, trained), held),
    )
    seconds = process_time() - started
    if name not in KINDS:
        train.save(model, recipe.extractor, folder / "model")
    return model, recipe, seconds


def fetch(study: Study, part: str, model: Clip4Idc, recipe: Recipe) -> Fetch:
    """Return the inputs of a part."""
    lesson = train.prepare(study.captions[part], model.config, study.source, recipe, Path(study.given.out))
    return train.fetch(lesson, model, recipe, Path(study.given.out), distractors=0)


def ask(model: Clip4Idc, given: Fetch) -> dict[str, Rows | Doubles]:
    """Return the ranks of every sentence and pair, and whether the order of each pair is told."""
    captions = given.captions
    texts, pairs = embed(model, given)
    _, turned = embed(model, replace(given, captions=replace(captions, pairs=captions.pairs[:, [1, 0, 2]])))
    asking, known = texts[captions.ask].numpy(), captions.known[captions.ask].toarray()
    scores, backwards = asking @ pairs.numpy().T, asking @ turned.numpy().T
    owner = np.concatenate(captions.answers)
    rows = np.repeat(np.arange(len(captions)), [len(each) for each in captions.answers])
    right = captions.right[captions.ask[rows]].toarray()
    own = np.array([each[0] for each in captions.answers])
    place = np.arange(len(own))
    return {
        "words": sentence_ranks(scores, captions.answers, known),
        "reversed": sentence_ranks(backwards, captions.answers, known),
        "pair": pair_ranks(scores[rows], owner, right),
        "order": (scores[place, own] > backwards[place, own]).astype(np.float64),
    }


def run(study: Study, method: str, seed: int) -> tuple[dict[str, Any], float]:
    """Train and evaluate a method, unless its results are there."""
    path = _place(study, method, seed) / f"asked-{study.parts.test.revision[:12]}.npz"
    if not path.is_file():
        with redirect_stdout(sys.stderr):
            model, recipe, seconds = learn(study, method, seed)
        found = ask(model, fetch(study, "test", model, recipe))
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, allow_pickle=False, cpu_s=np.float64(seconds), **found)
    with np.load(path, allow_pickle=False) as held:
        arrays = {name: held[name] for name in held.files}
    return arrays, float(arrays.pop("cpu_s"))


def _place(study: Study, method: str, seed: int) -> Path:
    return Path(study.given.out) / f"{method.replace(' ', '-')}-{seed}"


def scored(study: Study, runs: Sequence[Mapping[str, Any]]) -> dict[str, Scores]:
    """Return the figures of every question, averaged over seeds, by direction."""
    task = study.parts.test
    sources = [question.source or question.id for question in task.questions]
    kinds = {item.id: str(item.meta.get("change", "")) for item in task.items}
    found = {}
    for name in ("words", "reversed", "pair", "order"):
        each = np.stack([run[name] for run in runs])
        hits = {f"Success@{k}": (each <= k).mean(axis=0) for k in CUTS}
        values = {"Success@1": each.mean(axis=0)} if name == "order" else hits
        asked = () if name == "pair" else tuple(sources)
        groups = ("",) * each.shape[1]
        found[name] = Scores(values, groups, "pessimistic", 0, 0, 0, 0, asked)
    if any(kinds.values()):
        first = [next(iter(question.relevant)) for question in task.questions]
        found["kinds"] = replace(found["words"], groups=tuple(kinds[id] for id in first))
    return found


def describe(study: Study, method: str, runs: Sequence[Mapping[str, Any]], seconds: Sequence[float]) -> dict[str, Any]:
    """Return the figures of a method with their intervals."""
    found: dict[str, Any] = {"name": method, "cpu_s": list(seconds)}
    scores = scored(study, runs)
    singles = [scored(study, [each]) for each in runs]
    for name in ("words", "pair", "reversed", "order"):
        spread = intervals(scores[name], resamples=_RESAMPLES)
        found[name] = {
            title.replace("Success", "R"): {**asdict(each), "seeds": [one[name].mean(title) for one in singles]}
            for title, each in spread.items()
        }
    if "kinds" in scores:
        found["kinds"] = {name: round(each, 4) for name, each in scores["kinds"].by_group("Success@1").items()}
    return found


def compared(found: Mapping[str, Mapping[str, Scores]], first: str) -> list[dict[str, Any]]:
    """Return what sets each method apart from the first, both ways and at every cut, with intervals over pairs."""
    names = [f"Success@{k}" for k in CUTS]
    return [
        {"way": way, **asdict(each)}
        for way in ("words", "pair")
        for each in compare({m: one[way] for m, one in found.items()}, names, against=first, resamples=_RESAMPLES)
    ]


def table(systems: Sequence[Mapping[str, Any]]) -> str:
    """Return the figures as Markdown."""
    lines = []
    for name in ("words", "pair", "reversed"):
        lines += [f"\n{name}\n", "| | " + " | ".join(f"R@{k}" for k in CUTS) + " |", "|---" * (len(CUTS) + 1) + "|"]
        for system in systems:
            cells = " | ".join(_cell(system[name][f"R@{k}"]) for k in CUTS)
            lines.append(f"| {system['name']} | {cells} |")
    lines += ["\n| | order told | CPU seconds of training |", "|---|---|---|"]
    for system in systems:
        lines.append(f"| {system['name']} | {_cell(system['order']['R@1'])} | {np.mean(system['cpu_s']):.0f} |")
    if kinds := systems[0].get("kinds"):
        lines += ["\nR@1 of sentences by change\n", f"| | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
        for system in systems:
            lines.append(f"| {system['name']} | {' | '.join(f'{each:.3f}' for each in system['kinds'].values())} |")
    return "\n".join(lines)


def _cell(figure: Mapping[str, Any]) -> str:
    stray = f" ±{np.std(figure['seeds'], ddof=1):.3f}" if len(figure["seeds"]) > 1 else ""
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]{stray}"


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return the arguments of studies of changes: data, network, folders, seeds and settings."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("settings", nargs="*", help="settings of every run, such as model.dim=64")
    made.add_argument("--out", type=Path, required=True, help="folder of runs and report")
    made.add_argument("--data", default="world track=changes_views", help="data set with splits")
    made.add_argument("--counts", type=int, nargs=3, default=(1500, 200, 300), help="pairs of each part of a world")
    made.add_argument("--image", required=True, help="frozen network, as in tokens:timm model=mobilenetv2_100")
    made.add_argument("--text", default="", help="frozen text encoder; empty for a text tower")
    made.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2), help="random seeds")
    made.add_argument("--cache", type=Path, help="folder of features; default: in --out")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Read arguments, train and evaluate, write ``report.json``, and print the tables."""
    takes = parser(__doc__)
    takes.add_argument("--methods", nargs="+", default=METHODS, help="methods, the first is compared with the others")
    given = takes.parse_args(arguments)
    study = Study(Parts.of(given.data, given.counts), given)
    done: dict[str, list[tuple[dict[str, Any], float]]] = {method: [] for method in given.methods}
    for seed in given.seeds:
        for method, runs in done.items():
            runs.append(run(study, method, seed))
            hits = " ".join(f"R@{k} {(runs[-1][0]['words'] <= k).mean():.3f}" for k in CUTS)
            print(f"{method} seed {seed}: {hits}, {runs[-1][1]:.0f} CPU seconds", file=sys.stderr, flush=True)
    systems = [describe(study, m, [each for each, _ in runs], [s for _, s in runs]) for m, runs in done.items()]
    found = {m: scored(study, [each for each, _ in runs]) for m, runs in done.items()}
    report = {
        "data": [study.parts.learn.name, study.parts.test.name],
        "learn": study.captions["learn"].describe(),
        "test": study.captions["test"].describe(),
        "systems": systems,
        "compared": compared(found, given.methods[0]) if len(found) > 1 else [],
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
    }
    (given.out / "report.json").write_text(json.dumps(report, indent=1, default=float), encoding="utf-8")
    print(table(systems))


if __name__ == "__main__":
    main()
