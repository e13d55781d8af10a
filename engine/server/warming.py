"""The first searches of each collection, before anybody waits for them: they load indexes, encoders and parsers."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from quiver.engine.server.served import Served
from quiver.errors import NoRoute, QuiverError

_LOG = logging.getLogger("quiver.server")


def warm(catalogue: Iterable[Served], going: Callable[[], bool] = lambda: True) -> None:
    """Search each collection by words and once per space; log what could not be loaded, a line each.

    Args:
        catalogue: the collections.
        going: whether the service still runs; what fails after its end, since collections are closed then, is no news.
    """
    from quiver.engine.core.condition import compiler  # noqa: F401  # parses conditions, by a large package

    for served in catalogue:
        try:
            columns = served.collection.info().columns
        except QuiverError as error:
            _tell(served, error, going)
            continue
        _search(served, going, text="warm")
        for column in columns:
            _search(served, going, vectors={column.space: np.ones(column.dim, np.float32)}, target=column.key)


def _search(served: Served, going: Callable[[], bool], **query: Any) -> None:
    """Search and drop the answer, which loads whatever it needs."""
    if not going():
        return
    try:
        served.collection.search(**query, k=1)
    except NoRoute:
        pass  # users cannot ask so either
    except QuiverError as error:
        _tell(served, error, going)


def _tell(served: Served, error: QuiverError, going: Callable[[], bool]) -> None:
    if going():
        _LOG.warning("%s: %s", served.name, error)
