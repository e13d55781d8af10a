"""Build the index of a setup if it is missing, and set its search options."""

from dataclasses import fields
from time import perf_counter
from typing import Any

from quiver import registry
from quiver.benchmarks.recall.setup import Setup
from quiver.benchmarks.recall.task_store import Stock
from quiver.engine.core.column import Column, Derived
from quiver.engine.storage.index_files import Cache
from quiver.engine.tuning.index_build import build
from quiver.errors import NoRoute
from quiver.task import Task


def ready(task: Task, stock: Stock, setup: Setup) -> tuple[Stock, float]:
    """Build the index of a setup; return a stock that uses it, and the build time in seconds.

    Search options (``nprobe``, ``ef``, ``refine``) need no rebuild, so many settings share one index.

    Nothing is built in the user's own collection.

    Raises:
        BadSpec: the index has no such option, or cannot be built with it.
        NoRoute: the user's own collection has no such index.
    """
    if setup.kind in ("auto", "exact"):
        return stock, 0.0
    kind, options = registry.split(setup.index)
    spend, build_options = split(kind, options)
    if stock.own:
        _check_built(task, stock, setup, build_options)
    started = perf_counter()
    built = False
    for column in _columns(task, stock, setup):
        note = Cache(stock.uri).kinds(column).get(kind)
        if not stock.own and (kind == "lance" or note is None or note["options"] != build_options):
            build(stock.session, column, kind, build_options)
            built = True
    seconds = perf_counter() - started if built else 0.0
    stock = stock if stock.own else stock.fresh()
    for column in _columns(task, stock, setup) if kind != "lance" else ():
        loaded = stock.session.resident(column).load(kind)
        loaded.index = tuned(loaded.index, kind, spend)
    return stock, seconds


def _check_built(task: Task, stock: Stock, setup: Setup, options: dict[str, str]) -> None:
    kind = setup.kind
    for column in _columns(task, stock, setup):
        note = Cache(stock.uri).kinds(column).get(kind)
        if kind not in stock.session.built(column):
            raise NoRoute(f"plan: {stock.name} has no {kind} index: `quiver index {stock.uri} {kind}` builds it")
        if note is not None and options and note["options"] != options:
            raise NoRoute(f"plan: the {kind} index of {stock.name} was built otherwise: {note['options']}")


def _columns(task: Task, stock: Stock, setup: Setup) -> list[Column | Derived]:
    """Return the vectors that a setup searches: those of a named recall, or all stored ones."""
    graph, spaces = stock.session.graph, setup.spaces
    scorers = [each for each in graph.compositions if each.finds == task.target and setup.scorer in ("", each.name)]
    recipes = [recipe for each in scorers for recipe in each.recalls if recipe.name == setup.recall]
    if asked := {space for recipe in recipes for space in recipe.spaces}:
        return [end for end in graph.ends if end.key == task.target and end.space in asked]
    return [c for c in stock.columns if c.key == task.target and (not spaces or c.space.name in spaces)]


def split(kind: str, options: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Split the options of an index into search options and build options."""
    params = getattr(registry.module("indexers", kind), "Params", None)
    if params is None or kind == "lance":
        return {}, options
    names = {field.name for field in fields(params)}
    return (
        {name: value for name, value in options.items() if name in names},
        {name: value for name, value in options.items() if name not in names},
    )


def tuned(index: Any, kind: str, spend: dict[str, str]) -> Any:
    """Return the same index with other search options; unchanged if its kind has none."""
    if not hasattr(index, "tuned"):
        return index
    module = registry.module("indexers", kind)
    values = registry.convert(module.build, spend, name=kind)
    return index.tuned(module.Params(**values))
