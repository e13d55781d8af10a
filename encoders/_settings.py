"""Settings of a recipe by name: ``model.dim=512 loop.rate=1e-3``, or ``dim=512`` where one group alone has that name.

A recipe is a frozen dataclass whose fields are groups, which are frozen dataclasses too (``model``, ``loop``, ``data``
...), or plain settings. What a field means is read from the ``Attributes`` of its class's docstring.
"""

import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from quiver import registry
from quiver.errors import BadSpec

R = TypeVar("R")
_FOUND, _INSTEAD = "found", "instead"


def found(default: Any) -> Any:
    """Declare a field that training fills in from its data; it is no setting."""
    if isinstance(default, type):
        return field(default_factory=default, metadata={_FOUND: True})
    return field(default=default, metadata={_FOUND: True})


def instead(default: Any, other: str) -> Any:
    """Declare a setting that stands in place of another one of its group: to give one sets the other to 0."""
    return field(default=default, metadata={_INSTEAD: other})


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: with its groups, as in ``loop.rate``.
        kind: its type, in words.
        says: one line on what it is.
    """

    name: str
    kind: str
    says: str


def flat(recipe: Any) -> dict[str, Any]:
    """Return the value of every setting by its full name."""
    return {name: value for name, _, _, value in _walk(recipe)}


def listed(recipe: Any) -> list[Setting]:
    """Return all settings of a recipe, and the groups as settings of the kind "group", in order."""
    rows: list[Setting] = []
    groups: set[str] = set()
    for name, owner, each, _ in _walk(recipe):
        group = name.rpartition(".")[0]
        if group and group not in groups:
            groups.add(group)
            rows.append(Setting(group, "group", (owner.__doc__ or "").strip().partition("\n")[0]))
        rows.append(Setting(name, _kind(_hint(owner, each)), _told(owner).get(each.name, "")))
    return rows


def parse(recipe: Any, options: Mapping[str, str], *, model: str) -> dict[str, Any]:
    """Convert options as they were typed into values by full name.

    Args:
        recipe: an instance.
        options: values by full or short name.
        model: whose recipe it is, for messages.

    Raises:
        BadSpec: a name is unknown or may mean several settings, or a value is of another type.
    """
    hints = {name: _hint(owner, each) for name, owner, each, _ in _walk(recipe)}
    given: dict[str, Any] = {}
    for said, text in options.items():
        name = full_name(recipe, said, model=model)
        if name in given:
            raise BadSpec(f"{model}: {name} is given twice")
        given[name] = registry.value(text, hints[name], f"{model} {name}")
    return given


def changed(recipe: R, values: Mapping[str, Any]) -> R:
    """Return a recipe with other values, by full or short name; all of a group are set at once."""
    named = {full_name(recipe, name, model=_module(recipe)): value for name, value in values.items()}
    for name, _, each, _ in _walk(recipe):
        group, dot, _ = name.rpartition(".")
        other = f"{group}{dot}{each.metadata.get(_INSTEAD, '')}"
        if _INSTEAD in each.metadata and named.get(name) and other not in named:
            named[other] = 0
    return _replaced(recipe, named)


def full_name(recipe: Any, said: str, *, model: str) -> str:
    """Return the full name of a setting.

    A former name of ``recipe.FORMER`` comes before a short one, so that older commands and files keep their meaning.

    Raises:
        BadSpec: it is unknown, or several groups have it; the message offers names.
    """
    names = list(flat(recipe))
    if said in names:
        return said
    former: Mapping[str, str] = getattr(type(recipe), "FORMER", {})
    if said in former:
        return former[said]
    same = [name for name in names if name.rpartition(".")[2] == said]
    if len(same) == 1:
        return same[0]
    if same:
        lines = {each.name: each.says.partition(";")[0].rstrip(".") for each in listed(recipe)}
        both = " or ".join(f"{name} ({lines[name]})" for name in same)
        raise BadSpec(f"{model}: {said} may be {both}: give the full name")
    short = {name.rpartition(".")[2]: name for name in reversed(names)} | dict(former)
    near = get_close_matches(said, [*names, *short], n=1)
    hint = f": did you mean {short.get(near[0], near[0])}?" if near else ";"
    raise BadSpec(f"{model} has no setting {said!r}{hint} `quiver train {model} --recipe` lists them")


def former_names(recipe: Any, written: Mapping[str, Any]) -> dict[str, Any]:
    """Give settings that an older version wrote their names of today; those that are gone are left out.

    Args:
        recipe: an instance.
        written: values by name, in groups or not.
    """
    names, former = list(flat(recipe)), getattr(type(recipe), "FORMER", {})
    told = dict(_spread(written))
    known = {name: value for name, value in told.items() if name in names}
    known |= {former[name]: value for name, value in told.items() if name in former and name not in names}
    for name, value in told.items():
        free = [each for each in names if each.rpartition(".")[2] == name and each not in known]
        if name not in names and name not in former and len(free) == 1:
            known[free[0]] = value
    return known


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Put values by full name into their groups.

    >>> nested({"name": "x", "loop.rate": 0.1, "loop.steps": 3})
    {'name': 'x', 'loop': {'rate': 0.1, 'steps': 3}}
    """
    groups: dict[str, Any] = {}
    for name, value in values.items():
        *path, last = name.split(".")
        inner = groups
        for group in path:
            inner = inner.setdefault(group, {})
        inner[last] = value
    return groups


def _spread(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _spread(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _walk(group: Any, prefix: str = "") -> Iterator[tuple[str, type[Any], "Field[Any]", Any]]:
    """Yield full name, class, field and value of every setting: those outside groups first."""
    own = [each for each in fields(group) if not each.metadata.get(_FOUND)]
    for each in own:
        if not is_dataclass(value := getattr(group, each.name)):
            yield f"{prefix}{each.name}", type(group), each, value
    for each in own:
        if is_dataclass(value := getattr(group, each.name)):
            yield from _walk(value, f"{prefix}{each.name}.")


def _replaced(group: R, values: Mapping[str, Any]) -> R:
    plain = {name: value for name, value in values.items() if "." not in name}
    inner: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        first, dot, rest = name.partition(".")
        if dot:
            inner.setdefault(first, {})[rest] = value
    nested = {name: _replaced(getattr(group, name), its) for name, its in inner.items()}
    return replace(group, **plain, **nested)  # type: ignore[type-var]  # a dataclass


def _module(recipe: Any) -> str:
    """Return the name of the model whose recipe it is, as ``mmv`` of ``quiver.encoders.mmv.recipe``."""
    return type(recipe).__module__.removeprefix("quiver.encoders.").rpartition(".")[0]


def _hint(owner: type[Any], each: "Field[Any]") -> Any:
    return inspect.signature(owner, eval_str=True).parameters[each.name].annotation


def _kind(hint: Any) -> str:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        parts = [_kind(each) for each in typing.get_args(hint) if each is not type(None)]
        return " or ".join([*parts, "none"] if type(None) in typing.get_args(hint) else parts)
    if typing.get_origin(hint) is typing.Literal:
        return "|".join(map(str, typing.get_args(hint)))
    return {int: "whole number", float: "number", str: "text", bool: "true|false", Path: "path"}.get(hint, str(hint))


def _told(owner: type[Any]) -> dict[str, str]:
    """Read the Attributes of Google docstrings, by name; those of a base class too."""
    told: dict[str, str] = {}
    for each in reversed(owner.__mro__):
        _, _, body = inspect.cleandoc(each.__doc__ or "").partition("Attributes:\n")
        last = ""
        for line in body.splitlines():
            if head := re.match(r" {4}(\w+): (.*)", line):
                last = head[1]
                told[last] = head[2].strip()
            elif last and line.startswith(" " * 8):
                told[last] += f" {line.strip()}"
            elif line.strip() and not line.startswith(" "):
                break
    return {name: says.replace("``", "") for name, says in told.items()}
