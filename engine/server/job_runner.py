"""A process that does one long piece of work, while searches go on: it reads its work, and tells how it goes.

It is started by ``jobs``. It reads one JSON line from standard input and writes JSON lines: ``progress``,
then ``done`` or ``failed``.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

import quiver
from quiver.engine.execution.plan import plain
from quiver.engine.ingest.progress import listening
from quiver.engine.server.asked import asked
from quiver.engine.server.settings import Limits
from quiver.errors import QuiverError, explained
from quiver.types import Item

#: Least seconds between two lines of progress, and steps of nice(2).
_EVERY, _NICENESS = 0.2, 10


def main() -> None:
    """Do the work that standard input names."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints would mix with the lines

    def tell(**event: Any) -> None:
        answers.write(json.dumps(plain(event)) + "\n")
        answers.flush()

    told = 0.0

    def progress(done: int, total: int | None) -> None:
        nonlocal told
        if time.monotonic() - told > _EVERY:
            told = time.monotonic()
            tell(event="progress", done=done, total=total)

    order = json.loads(sys.stdin.readline())
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    try:
        with listening(progress):
            tell(event="done", report=work(order))
    except BaseException as error:
        if not isinstance(known := explained(error), QuiverError):
            tell(event="failed", detail="Quiver failed: the log of the service has the reason")
            raise
        tell(event="failed", detail=str(known))


def work(order: dict[str, Any]) -> Any:
    """Do it, and return the report.

    Raises:
        QuiverError: it cannot be done.
    """
    collection = quiver.open(order["uri"], catch_up=False, trust=order["trust"])
    options = order["options"]
    match order["kind"]:
        case "add":
            items = [Item(each["id"], each["media"], each["meta"]) for each in options["items"]]
            return _counts(collection.add(items, progress=False))
        case "embed":
            return _counts(collection.add(progress=False))
        case "index" | "check" | "catch_up" | "check_vectors" as kind:
            return [each.to_dict() for each in getattr(collection, kind)(**options)]
        case "threshold" | "measure" | "fit" as kind:
            return _learned(getattr(collection, kind), options)
    raise QuiverError(f"there is no work called {order['kind']!r}")


def _learned(learn: Callable[..., Any], options: dict[str, Any]) -> Any:
    """Learn from queries that the service has checked; the sample of vectors of a threshold stays here."""
    if "queries" in options:
        options = {**options, "queries": [asked(each, Limits()).query for each in options["queries"]]}
    told: dict[str, Any] = msgspec.to_builtins(learn(**options))
    return {name: value for name, value in told.items() if name != "sample"}


def _counts(report: Any) -> dict[str, Any]:
    return {**report.counts(), "notes": list(report.notes)}


if __name__ == "__main__":
    main()
