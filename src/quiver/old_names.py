"""Old names of arguments: accepted for one release, with a DeprecationWarning."""

import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from quiver.arguments import check_known
from quiver.errors import BadSpec

T = TypeVar("T")


def deprecated(message: str) -> None:
    """Warn about an old name, at the first caller outside Quiver."""
    frame, level = sys._getframe(1), 2
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "quiver":
        frame, level = frame.f_back, level + 1  # type: ignore[assignment]
    warnings.warn(message, DeprecationWarning, stacklevel=level)


def current(given: Mapping[str, Any], old: Mapping[str, str], aliases: Mapping[str, str]) -> dict[str, Any]:
    """Return arguments under their current names.

    Args:
        given: the arguments.
        old: current names by old name; an old name raises a DeprecationWarning.
        aliases: current names by a second name that stays.

    Raises:
        BadSpec: one argument is given under two names.
    """
    values = dict(given)
    for name, now in {**old, **aliases}.items():
        if name not in values:
            continue
        if now in values:
            raise BadSpec(f"{name} and {now} are two names of one argument: give {now} only")
        values[now] = values.pop(name)
        if name in old:
            deprecated(f"{name} is now called {now}; the old name will be removed in the next release")
    return values


def accepts(old: Mapping[str, str], aliases: Mapping[str, str]) -> Callable[[type[T]], type[T]]:
    """Class decorator: a dataclass takes old names and aliases of its fields, and old names can be read.

    Args:
        old: names of fields by old name.
        aliases: names of fields by a second name that stays.
    """
    also = old.keys() | aliases.keys()

    def wrap(cls: type[T]) -> type[T]:
        made: Callable[..., None] = cls.__init__
        known = [name for name in inspect.signature(made).parameters if name != "self"]
        names = frozenset(known)

        @functools.wraps(made)
        def init(self: Any, *args: Any, **given: Any) -> None:
            settings = given if also.isdisjoint(given) else current(given, old, aliases)
            if not names.issuperset(settings):
                check_known(cls.__name__, settings, known)
            made(self, *args, **settings)

        cls.__init__ = init  # type: ignore[method-assign]
        for name, now in old.items():
            setattr(cls, name, property(functools.partial(_read, name, now)))
        return cls

    return wrap


def _read(name: str, now: str, holder: Any) -> Any:
    deprecated(f"{name} is now called {now}; the old name will be removed in the next release")
    return getattr(holder, now)
