"""What a user filters by: the text of a condition, with the values of its parameters. Numpy only.

What the text may say, and what it means, is in ``quiver.engine.core.condition``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quiver.errors import BadSpec


@dataclass(frozen=True, slots=True)
class Params:
    """Parameters of a condition: ``Params.of`` takes them from a mapping, or from a sequence for question marks.

    Attributes:
        items: names, or places from 0, with their values; several values of one are a tuple.
        types: the types of the values, so that True and 1 are not the same.
    """

    items: tuple[tuple[str | int, Any], ...] = ()
    types: tuple[Any, ...] = ()

    @classmethod
    def of(cls, given: Any) -> "Params":
        """Take parameters.

        >>> Params.of({"most": 9}).items, Params.of([9, ["a", "b"]]).items
        ((('most', 9),), ((0, 9), (1, ('a', 'b'))))

        Raises:
            BadSpec: they are neither a mapping with names nor a sequence.
        """
        if isinstance(given, Params):
            return given
        if isinstance(given, Mapping):
            if any(not isinstance(name, str) for name in given):
                raise BadSpec(f"params takes names as strings, not {next(iter(given))!r:.80}")
            pairs = list(given.items())
        elif isinstance(given, list | tuple):
            pairs = list(enumerate(given))
        else:
            raise BadSpec(
                'params takes a mapping for :name, such as {"most": 50}, or a list for ?, such as [50],'
                f" not {given!r:.80}"
            )
        items = tuple((name, _several(value)) for name, value in pairs)
        try:
            hash(items)
        except TypeError:
            raise BadSpec("a parameter is one value, or a list of values for IN: nothing deeper") from None
        types = tuple(tuple(map(type, value)) if isinstance(value, tuple) else type(value) for _, value in items)
        return cls(items, types)


#: No parameters.
NO_PARAMS = Params()


def _several(value: Any) -> Any:
    """Return what a parameter brings: one value as it is, several as a tuple."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable) or not _dimensions(value):
        return value
    return tuple(value.tolist() if isinstance(value, np.ndarray) and value.dtype.kind != "M" else value)


def _dimensions(value: Any) -> int:
    return int(getattr(value, "ndim", 1))


@dataclass(frozen=True, slots=True)
class Condition:
    """An SQL condition on the columns of a collection, with its parameters.

    Attributes:
        text: the SQL.
        params: its parameters.
        within: a condition that must hold too, such as the one of a server's key. Each of the two is read and checked
            by itself and only then joined, so no text of one can change the meaning of the other.
    """

    text: str
    params: Params = NO_PARAMS
    within: "Condition | None" = None

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value!r:.40}" for name, value in self.params.items)
        return f"{self.text} ({given})" if given else self.text

    @property
    def parts(self) -> "tuple[Condition, ...]":
        """This condition, and those that must hold too."""
        return (self,) if self.within is None else (self, *self.within.parts)


def condition_of(where: Any, params: Any) -> Condition | None:
    """Join the text of a condition with its parameters; None where there is no condition.

    Args:
        where: the text, or a whole Condition.
        params: its parameters.

    Raises:
        BadSpec: the condition is no string, or there are parameters without one.
    """
    given = Params.of(params if params is not None else ())
    if isinstance(where, Condition) and not given.items:
        return where
    if where is not None and not isinstance(where, str):
        raise BadSpec(f"where takes an SQL condition as a string, not {where!r:.80}")
    if where is None and given.items:
        raise BadSpec("params needs where: the condition that uses the parameters")
    return None if where is None else Condition(where, given)
