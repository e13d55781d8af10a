"""The first searches of each collection, before anybody waits for them: they load indexes, encoders and parsers."""

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np

from quiver.engine.server.served import Served
from quiver.errors import NoRoute, QuiverError

_LOG = logging.getLogger("quiver.server")


def warm(catalogue: Iterable[Served]) -> None:
    """Search each collection by words and once per space; log what could not be loaded, a line each."""
    from quiver.engine.core.condition import compiler  # noqa: F401  # parses conditions, by a large package

    for served in catalogue:
        try:
            columns = served.collection.info().columns
        except QuiverError as error:
            _LOG.warning("%s: %s", served.name, error)
            continue
        _search(served, text="warm")
        for column in columns:
            _search(served, vectors={column.space: np.ones(column.dim, np.float32)}, target=column.key)


def _search(served: Served, **query: Any) -> None:
    """Search and drop the answer, which loads whatever it needs."""
    try:
        served.collection.search(**query, k=1)
    except NoRoute:
        pass  # users cannot ask so either
    except QuiverError as error:
        _LOG.warning("%s: %s", served.name, error)
