"""Where the two pictures of a pair differ, as an encoder of the collection tells it."""

from collections.abc import Sequence
from typing import Any

from quiver.engine.core.encoder import Loaded
from quiver.engine.execution.session import Session
from quiver.errors import QuiverError
from quiver.protocols import PairExplainer
from quiver.types import Floats


def differences(session: Session, pairs: Sequence[tuple[Any, Any]]) -> list[Floats | None]:
    """Return a map for each pair (before, after), by the first encoder of a session that gives maps.

    Returns:
        (2, rows, columns) float32 each; None for a pair that cannot be read, and for all if no encoder gives maps.
    """
    found = _explainer(session) if pairs else None
    if found is None:
        return [None] * len(pairs)
    explainer, loaded = found
    with loaded.lock:
        return [_differences(explainer, pair) for pair in pairs]


def _explainer(session: Session) -> tuple[PairExplainer, Loaded] | None:
    for spec, described in session.table.encoders.items():
        if "pair" in described["keys"]:
            loaded = session.encoder(spec)
            if isinstance(loaded.encoder, PairExplainer):
                return loaded.encoder, loaded
    return None


def _differences(explainer: PairExplainer, pair: tuple[Any, Any]) -> Floats | None:
    try:
        maps: Floats = explainer.differences([explainer.reader("pair")(pair)])[0]
    except QuiverError:
        return None
    return maps
