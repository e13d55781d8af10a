"""Opening the collection that a command names, with help where the arguments are in another order."""

import os
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from quiver.errors import BadSpec, NoCollection

if TYPE_CHECKING:
    from quiver.engine.collection import Collection

#: The argument of every command that names a collection.
Place = Annotated[str, typer.Argument(metavar="COLLECTION", help="Folder or object-store URI of the collection.")]


def opened(
    place: str, *, command: str = "", others: Iterable[str] = (), catch_up: bool = True, trust: bool = False
) -> "Collection":
    """Open a collection.

    Args:
        place: path or URI of the collection.
        command: name of the command, such as ``get``.
        others: its other arguments; if one of them is a collection and the place is none, they are swapped.
        catch_up: see ``quiver.open``.
        trust: see ``quiver.open``.

    Raises:
        BadSpec: the arguments are swapped.
    """
    import quiver
    from quiver.engine.storage.location import is_collection

    given = list(others)
    if "://" not in place and not is_collection(place):
        for other in given:
            if "://" not in other and is_collection(other):
                rest = [place, *(each for each in given if each != other)]
                raise BadSpec(f"the collection comes first: `quiver {command} {shlex.join([other, *rest])}`")
    return quiver.open(place, catch_up=catch_up, trust=trust)


def check_named(place: str, context: typer.Context) -> None:
    """Check that an add without files names a collection, not the files to add.

    Raises:
        NoCollection: it does not; the message shows a command that names both.
    """
    from quiver.engine.storage.location import absence, is_collection

    if "://" not in place and not is_collection(place):
        raise NoCollection(absence(os.path.abspath(os.path.expanduser(place)), rest=_options_given(context)))


def _options_given(context: typer.Context) -> str:
    """Return the options of the current command as typed, with a space before each."""
    words: list[str] = []
    for each in context.command.params:
        value = context.params.get(each.name or "")
        if each.param_type_name == "option" and value not in (None, (), [], each.get_default(context)):
            values = value if isinstance(value, list | tuple) else [value]
            words += [each.opts[0]] if value is True else [word for one in values for word in (each.opts[0], str(one))]
    return "".join(f" {shlex.quote(word)}" for word in words)
