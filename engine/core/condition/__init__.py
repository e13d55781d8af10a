"""Conditions of users: read whole, checked against the columns of a collection, and written in Lance's SQL, or refused.

    price < 50 AND colour IN ('red', 'blue')         a comparison; AND, OR, NOT, IN, BETWEEN, LIKE, IS NULL
    taken >= '2024-05-01' AND array_has(tags, 'x')   texts are dates where the column holds dates
    price * 1.2 < :most AND id IN :ids               parameters, by name or as ?; lists of any length

Names of columns may stand in double quotes or backticks, texts stand in single quotes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quiver.conditions import Condition
from quiver.engine.core.sql import Sql
from quiver.errors import BadSpec

if TYPE_CHECKING:
    import pyarrow as pa

    from quiver.engine.core.condition.terms import Constants
    from quiver.engine.core.condition.values import Constant


@dataclass(frozen=True, slots=True)
class Compiled:
    """A condition in Lance's SQL.

    Attributes:
        sql: the condition.
        columns: the columns that it names.
    """

    sql: Sql
    columns: frozenset[str]


def compile(fields: Mapping[str, "pa.DataType"], condition: Condition) -> Compiled:
    """Check a condition and write it in Lance's SQL.

    Args:
        fields: the type of every column that it may name.
        condition: its text and parameters.

    Raises:
        BadSpec: it cannot be read, names something that is not there, or compares what cannot be compared.
    """
    parts = [_compiled(fields, each) for each in condition.parts]
    if len(parts) == 1:
        return parts[0]
    joined = Sql(" AND ".join(f"({each.sql})" for each in parts))
    return Compiled(joined, frozenset().union(*(each.columns for each in parts)))


def _compiled(fields: Mapping[str, "pa.DataType"], condition: Condition) -> Compiled:
    from quiver.engine.core.condition.compiler import Compiler  # sqlglot takes 0.1 s to import
    from quiver.engine.core.condition.domains import domain_of
    from quiver.engine.core.condition.syntax import parse

    try:
        syntax = parse(condition.text)
        domains = {name: domain_of(kind) for name, kind in fields.items()}
        compiler = Compiler(syntax, _bound(syntax.names, condition), domains)
        return Compiled(Sql(compiler.compile()), frozenset(compiler.columns))
    except BadSpec as error:
        shown = condition.text if len(condition.text) <= 120 else condition.text[:117] + "..."
        raise BadSpec(f"cannot filter by {shown!r}: {error}") from None


def _bound(names: tuple[str | int, ...], condition: Condition) -> dict[str | int, "Constant | Constants"]:
    """Return the value of every parameter.

    Raises:
        BadSpec: one is missing, or one too many is given.
    """
    from quiver.engine.core.condition.values import constant

    given = dict(condition.params.items)
    missing = [name for name in names if name not in given]
    if missing:
        first = missing[0]
        what = (
            f"parameter {first!r} is not given" if isinstance(first, str) else "it has more ? than there are parameters"
        )
        raise BadSpec(what)
    if extra := [name for name in given if name not in names]:
        first = extra[0]
        raise BadSpec(
            f"there is no :{first} in it, for which a parameter is given"
            if isinstance(first, str)
            else f"{len(given)} parameters are given for {len(set(names))} ?"
        )
    return {
        name: tuple(map(constant, value)) if isinstance(value, tuple) else constant(value)
        for name, value in given.items()
    }
