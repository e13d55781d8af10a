"""Setups of a benchmark, read from a plan file; each is crossed with every encoder.

A plan file is TOML or JSON and lists plans. A list in the place of ``index``, ``depth``, ``scorer``, ``recall``,
``weights``, ``fuse``, ``blend``, ``budget_ms``, ``diversity`` or ``deduplicate`` expands into one plan per value, so
that a grid is a few lines::

    [[plan]]
    index = ["exact", "faiss factory=HNSW32 ef=32", "faiss factory=HNSW32 ef=128"]
    depth = [10, 50]

    [[plan]]
    recall = ["single", "union", "lifted"]
    depth = [50, 100, 200]

If a scorer can compose the inputs of a question, it ranks: all competing items, or the candidates of a recall method if
one is named. ``scorer = "none"`` fuses lists by rank, and ``weights = "image=1,text=2"`` weights the inputs.
``fuse = "validation"`` learns on that split the weight of a reranker's scores against the scores of recall.
A reranker ranks its candidates alone (the default, ``blend = "alone"``), or as in a search that names no scorer
(``blend = "safe"``).
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

#: Separates the specs of encoders that search together; their lists are fused by rank.
WITH = " + "
#: Value of ``recall`` that lets the other routes to the target find a scorer's candidates.
ROUTES = "routes"
#: Values of ``blend``: a reranker ranks alone, or counts as far as it agrees with recall, as in a search.
ALONE, SAFE = "alone", "safe"
Weights = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Setup:
    """One search configuration.

    Attributes:
        index: spec of an index, such as ``"faiss factory=HNSW32 ef=64"``; ``auto`` lets the planner choose.
        spaces: names of the spaces to search; empty for all usable ones. With ``recall="routes"``, the spaces that
            candidates come from.
        held: keys of the query to use; empty for all that lead to the target.
        depth: number of candidates to recall; None for as many as the measures need, or as many as the planner lets a
            scorer rerank.
        name: display name; empty for a name made of the other options.
        scorer: the scorer to rank by; empty for the planner's choice, ``none`` for rank fusion.
        recall: the scorer's recall method for candidates that it then scores, such as ``lifted``; ``routes`` if other
            routes find the candidates and the scorer reranks them; empty for an exact scan, or for the planner's choice
            if ``index`` is not exact.
        weights: weight of each query input, by key.
        fuse: the split on which to learn the weight of a reranker against recall; empty to rank as ``blend`` says.
        budget_ms: latency budget in milliseconds for a reranker; questions of a batch share the sum of theirs.
        blend: how a reranker without learned weights ranks its candidates: ``alone``, or ``safe``, as a search that
            names no scorer does: it counts as far as it agrees with recall.
        diversity: share of diversity in the order of the hits (MMR), as in a search; None for none.
        deduplicate: fold near-duplicates from this cosine similarity, as in a search; None for never.

    Raises:
        BadSpec: unknown index or query key, a depth or budget that is not positive, an invalid weight, or two options
            that contradict each other.
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
    blend: str = ALONE
    diversity: float | None = None
    deduplicate: float | None = None

    def __post_init__(self) -> None:
        kind, _ = registry.split(self.index)
        if kind != "auto" and kind not in (known := registry.names("indexers")):
            raise BadSpec(f"plan: index must be auto or one of {', '.join(known)}, not {kind!r}")
        if unknown := [key for key in self.held if key not in KEYS]:
            raise BadSpec(f"plan: held must be among {', '.join(KEYS)}, not {unknown[0]!r}")
        if self.depth is not None and self.depth < 1:
            raise BadSpec(f"plan: depth must be at least 1, not {self.depth}")
        if self.budget_ms is not None and not 0 < self.budget_ms < math.inf:
            raise BadSpec(f"plan: budget_ms must be a positive number, not {self.budget_ms}")
        self._check_blend()
        self._check_shares()
        if self.recall and self.scorer == NONE:
            raise BadSpec(f"plan: recall={self.recall} needs a scorer, but scorer=none: drop one of them")
        if self.spaces and self.recall not in ("", ROUTES):
            raise BadSpec(f"plan: recall={self.recall} searches spaces of its own: leave out spaces")
        for key, weight in self.weights:
            if key not in (*KEYS, LIKE) or not (math.isfinite(weight) and weight >= 0):
                raise BadSpec(
                    f"plan: a weight is key=number, at least 0, key among {', '.join(KEYS)}; not {key}={weight:g}"
                )

    def _check_shares(self) -> None:
        for name in ("diversity", "deduplicate"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and 0 <= value <= 1):
                raise BadSpec(f"plan: {name} must be from 0 to 1, not {value}")

    def _check_blend(self) -> None:
        if self.fuse and (self.kind == "exact" and self.recall != ROUTES):
            raise BadSpec(f"plan: fuse={self.fuse} needs a reranker: add recall={ROUTES}, or index=auto")
        if self.blend not in (ALONE, SAFE):
            raise BadSpec(f"plan: blend must be {ALONE} or {SAFE}, not {self.blend!r}")
        if self.blend == SAFE and (self.scorer or self.fuse):
            raise BadSpec(
                f"plan: blend={SAFE} is for a reranker that a search uses by itself: leave out scorer and fuse"
            )

    @property
    def kind(self) -> str:
        """The kind of index."""
        return registry.split(self.index)[0]

    def exactly(self) -> "Setup":
        """Return the same setup with exact search or an exact scan by the scorer."""
        spaces = () if self.recall else self.spaces
        return replace(self, index="exact", recall="", spaces=spaces, fuse="", budget_ms=None, blend=ALONE)

    @property
    def label(self) -> str:
        """The given name, or one made of the options."""
        parts = [self.index, *self.spaces, *(f"by {key}" for key in self.held)]
        parts += [f"scorer {self.scorer}"] if self.scorer else []
        parts += [f"recall {self.recall}"] if self.recall else []
        parts += [f"weights {','.join(f'{key}={weight:g}' for key, weight in self.weights)}"] if self.weights else []
        parts += [f"fused as on {self.fuse}"] if self.fuse else []
        parts += [f"blend {self.blend}"] if self.blend != ALONE else []
        parts += [f"diversity {self.diversity:g}"] if self.diversity is not None else []
        parts += [f"deduplicate {self.deduplicate:g}"] if self.deduplicate is not None else []
        parts += [f"within {self.budget_ms:g} ms"] if self.budget_ms is not None else []
        return self.name or " ".join(parts + ([f"depth {self.depth}"] if self.depth else []))


#: What a search does that names no index and no scorer: the setup of a collection that is measured as it is.
AS_SEARCHED = Setup(index="auto", blend=SAFE)


def specs_of(encoder: str) -> tuple[str, ...]:
    """Split a value of ``--encoder`` into the specs that search together; relative paths become absolute.

    >>> specs_of("classic dim=64 + classic")
    ('classic dim=64', 'classic')
    """
    return tuple(registry.canonical(part) for part in encoder.split(WITH))


def read(path: Path) -> tuple[Setup, ...]:
    """Read a plan file.

    Raises:
        BadData: it is missing, is neither TOML nor JSON, or does not list plans.
        BadSpec: a plan has an unknown option or an invalid value.
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
        raise BadSpec(f"{path}: unknown option {unknown[0]} in a plan; the options are {', '.join(sorted(known))}")
    name = _one(plan, "name", str, path) if "name" in plan else ""
    words = {"index": "exact", "scorer": "", "recall": "", "weights": "", "fuse": "", "blend": ALONE}
    choices = [_many(plan.get(key, default), str, key, path) for key, default in words.items()]
    choices += [_many(plan.get("depth"), int, "depth", path), _many(plan.get("budget_ms"), float, "budget_ms", path)]
    choices += [_many(plan.get(key), float, key, path) for key in ("diversity", "deduplicate")]
    spaces = tuple(_many(plan.get("spaces", []), str, "spaces", path))
    held = tuple(_many(plan.get("held", []), str, "held", path))
    setups = [
        Setup(
            index, spaces, held, depth,
            scorer=scorer, recall=recall, weights=_weights(weights, path), fuse=fuse, budget_ms=budget_ms, blend=blend,
            diversity=diversity, deduplicate=deduplicate,
        )
        for index, scorer, recall, weights, fuse, blend, depth, budget_ms, diversity, deduplicate in product(*choices)
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
        raise BadSpec(f"{path}: {key} must be {registry.in_words(kind)}, not {plan[key]!r}")
    return plan[key]


def _many(value: Any, kind: type, key: str, path: Path) -> Sequence[Any]:
    if value is None:
        return [None]
    values = value if isinstance(value, list) else [value]
    for each in values:
        if not isinstance(each, (int, float) if kind is float else kind) or isinstance(each, bool):
            raise BadSpec(f"{path}: {key} must be {registry.in_words(kind)} or a list of them, not {each!r}")
    return values


def _distinct(setups: Sequence[Setup], path: Path) -> None:
    labels = [setup.label for setup in setups]
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise BadSpec(f"{path}: two plans are called {twice[0]!r}: give each its own name")
