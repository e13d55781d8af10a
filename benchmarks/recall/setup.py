"""How a benchmark searches: setups read from a plan file, and the encoders they are crossed with.

A plan file is TOML or JSON and lists plans; a list in the place of ``index``, ``depth``, ``scorer``, ``recall``,
``weights``, ``fuse`` or ``budget_ms`` stands for one plan each, so that a grid is a few lines::

    [[plan]]
    index = ["exact", "faiss factory=HNSW32 ef=32", "faiss factory=HNSW32 ef=128"]
    depth = [10, 50]

    [[plan]]
    recall = ["single", "union", "lifted"]
    depth = [50, 100, 200]

Where a scorer composes what a question holds it ranks: everything that competes, or candidates where a way to recall
them is named. ``scorer = "none"`` fuses lists by rank, and ``weights = "image=1,text=2"`` weighs what is held.
``fuse = "validation"`` learns on that split how much a scorer that reranks counts against what recalled its candidates.
"""

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from quiver import registry
from quiver.errors import BadData, BadSpec
from quiver.types import KEYS, LIKE, NONE

#: Parts the specs of encoders that answer together, their lists fused by rank.
WITH = " + "
#: Named in place of a scorer's own way to recall: whatever else leads to the target finds its candidates.
ROUTES = "routes"
Weights = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Setup:
    """One way of searching.

    Attributes:
        index: spec of an index, such as ``"faiss factory=HNSW32 ef=64"``; ``auto`` leaves it to the planner.
        spaces: names of the spaces to answer in; empty for all that can. With ``recall="routes"``, those that
            candidates come from.
        held: keys of the query to use; empty for all that lead somewhere.
        depth: how many candidates are recalled; None for as many as the measures need, or as the planner would have
            a scorer score again.
        name: what to call it; empty for a name made of the rest.
        scorer: the scorer to rank by; empty for the planner's choice, ``none`` for rank fusion.
        recall: the scorer's way to recall candidates, such as ``lifted``, that are scored again; ``routes`` where
            other routes find them, so that it reranks; empty for an exact scan, or the planner's choice with another
            index.
        weights: how much each held thing counts, by key.
        fuse: the split on which to learn how much a reranker counts against recall; empty where only it counts.
        budget_ms: milliseconds an answer may take, which a reranker keeps; questions asked together share the sum.

    Raises:
        BadSpec: the index cannot be named so, a held key does not exist, the depth is not positive, a weight is none,
            or two of these contradict each other.
    """

    index: str = "exact"
    spaces: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    depth: int | None = None
    name: str = ""
    scorer: str = ""
    recall: str = ""
    weights: Weights = ()
    fuse: str = ""
    budget_ms: float | None = None

    def __post_init__(self) -> None:
        kind, _ = registry.split(self.index)
        if kind != "auto" and kind not in (known := registry.names("indexers")):
            raise BadSpec(f"plan: index must be auto or one of {', '.join(known)}, not {kind!r}")
        if unknown := [key for key in self.held if key not in KEYS]:
            raise BadSpec(f"plan: held must be of {', '.join(KEYS)}, not {unknown[0]!r}")
        if self.depth is not None and self.depth < 1:
            raise BadSpec(f"plan: depth must be at least 1, not {self.depth}")
        if self.budget_ms is not None and not 0 < self.budget_ms < math.inf:
            raise BadSpec(f"plan: budget_ms must be a positive number, not {self.budget_ms}")
        if self.fuse and (self.kind == "exact" and self.recall != ROUTES):
            raise BadSpec(f"plan: fuse={self.fuse} is for candidates: say recall={ROUTES}, or index=auto")
        if self.recall and self.scorer == NONE:
            raise BadSpec(f"plan: recall={self.recall} is scored again, which scorer=none does not do")
        if self.spaces and self.recall not in ("", ROUTES):
            raise BadSpec(f"plan: recall={self.recall} asks in spaces of its own: leave out spaces")
        for key, weight in self.weights:
            if key not in (*KEYS, LIKE) or not (math.isfinite(weight) and weight >= 0):
                raise BadSpec(f"plan: a weight is key=number, 0 or more, of {', '.join(KEYS)}; not {key}={weight:g}")

    @property
    def kind(self) -> str:
        """The kind of its index."""
        return registry.split(self.index)[0]

    def exactly(self) -> "Setup":
        """Return the same with everything that competes compared, or scored, exactly."""
        spaces = () if self.recall else self.spaces
        return replace(self, index="exact", recall="", spaces=spaces, fuse="", budget_ms=None)

    @property
    def label(self) -> str:
        """Its name, or one made of what it says."""
        parts = [self.index, *self.spaces, *(f"by {key}" for key in self.held)]
        parts += [f"scorer {self.scorer}"] if self.scorer else []
        parts += [f"recall {self.recall}"] if self.recall else []
        parts += [f"weights {','.join(f'{key}={weight:g}' for key, weight in self.weights)}"] if self.weights else []
        parts += [f"fused as on {self.fuse}"] if self.fuse else []
        parts += [f"within {self.budget_ms:g} ms"] if self.budget_ms is not None else []
        return self.name or " ".join(parts + ([f"depth {self.depth}"] if self.depth else []))


def specs_of(encoder: str) -> tuple[str, ...]:
    """Split what ``--encoder`` was given into the specs that answer together, each meaning the same from any folder.

    >>> specs_of("classic dim=64 + classic")
    ('classic dim=64', 'classic')
    """
    return tuple(registry.canonical(part) for part in encoder.split(WITH))


def read(path: Path) -> tuple[Setup, ...]:
    """Read a plan file.

    Raises:
        BadData: it is missing, is neither TOML nor JSON, or does not list plans.
        BadSpec: a plan has an unknown option or a value that cannot be.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadData(f"cannot read plans from {path}: {error}") from error
    plans = content.get("plan") if isinstance(content, Mapping) else content
    if not isinstance(plans, list) or not plans or not all(isinstance(each, Mapping) for each in plans):
        raise BadData(f"{path} lists no plans: write [[plan]] and index = ..., depth = ... below it")
    setups = tuple(setup for each in plans for setup in _expand(each, path))
    _distinct(setups, path)
    return setups


def _expand(plan: Mapping[str, Any], path: Path) -> list[Setup]:
    known = {field.name for field in fields(Setup)}
    if unknown := sorted(set(plan) - known):
        raise BadSpec(f"{path}: a plan has {', '.join(sorted(known))}; it has no {unknown[0]}")
    name = _one(plan, "name", str, path) if "name" in plan else ""
    words = {"index": "exact", "scorer": "", "recall": "", "weights": "", "fuse": ""}
    choices = [_many(plan.get(key, default), str, key, path) for key, default in words.items()]
    choices += [_many(plan.get("depth"), int, "depth", path), _many(plan.get("budget_ms"), float, "budget_ms", path)]
    spaces = tuple(_many(plan.get("spaces", []), str, "spaces", path))
    held = tuple(_many(plan.get("held", []), str, "held", path))
    setups = [
        Setup(
            index, spaces, held, depth,
            scorer=scorer, recall=recall, weights=_weights(weights, path), fuse=fuse, budget_ms=budget_ms,
        )
        for index, scorer, recall, weights, fuse, depth, budget_ms in product(*choices)
    ]  # fmt: skip
    if not name:
        return setups
    several = len(setups) > 1
    return [replace(each, name=f"{name}: {each.label}" if several else name) for each in setups]


def _weights(text: str, path: Path) -> Weights:
    """Read ``"image=1,text=2"``."""
    pairs = [each.partition("=") for each in text.split(",") if text]
    try:
        return tuple((key.strip(), float(number)) for key, _, number in pairs)
    except ValueError as error:
        raise BadSpec(f"{path}: weights are written as 'image=1,text=2', not {text!r}") from error


def _one(plan: Mapping[str, Any], key: str, kind: type, path: Path) -> Any:
    if not isinstance(plan[key], kind):
        raise BadSpec(f"{path}: {key} must be a {kind.__name__}, not {plan[key]!r}")
    return plan[key]


def _many(value: Any, kind: type, key: str, path: Path) -> Sequence[Any]:
    if value is None:
        return [None]
    values = value if isinstance(value, list) else [value]
    for each in values:
        if not isinstance(each, (int, float) if kind is float else kind) or isinstance(each, bool):
            raise BadSpec(f"{path}: {key} must be a {kind.__name__} or a list of them, not {each!r}")
    return values


def _distinct(setups: Sequence[Setup], path: Path) -> None:
    labels = [setup.label for setup in setups]
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise BadSpec(f"{path}: two plans are called {twice[0]!r}: give them names of their own")
