"""Typed parts of a condition and how they are compared, written in Lance's SQL.

Conditions have three values, as in SQL: a comparison with a missing value is neither true nor false, and neither is its
negation. So every condition is written twice: where it is true, and where it is false. NOT changes the two over, and
Lance never computes with an unknown value. That is needed, since its optimizer takes unknown for false at times:
``NOT (x IN (1) AND x NOT IN (1))`` would select the rows without an x.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from quiver.engine.core.condition.domains import WIDE, Domain, Fraction, Place, Stamps, Truth, numeric, write_float
from quiver.engine.core.condition.values import DAY, Constant
from quiver.errors import BadSpec

Operator = Literal["=", "<>", "<", "<=", ">", ">="]
TRUTH = Truth()
_MIRROR: dict[Operator, Operator] = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_OPPOSITE: dict[Operator, Operator] = {"=": "<>", "<>": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
#: Letters of SQL that conditions may have which are compared with one another, or tested for NULL.
_LONGEST = 4_000_000
NUMERIC = ("int", "float", "decimal")
_HOLDS: dict[Operator, Callable[[int], bool]] = {
    "=": lambda sign: sign == 0,
    "<>": lambda sign: sign != 0,
    "<": lambda sign: sign < 0,
    "<=": lambda sign: sign <= 0,
    ">": lambda sign: sign > 0,
    ">=": lambda sign: sign >= 0,
}


@dataclass(frozen=True, slots=True)
class Term:
    """An expression that has to be computed, since it names a column.

    Attributes:
        sql: how Lance computes it.
        domain: what values it has.
        name: what messages call it.
        denial: where a condition is false, in SQL; None for a column, and for what is computed from columns.
    """

    sql: str
    domain: Domain
    name: str = "this expression"
    denial: str | None = None

    @property
    def predicate(self) -> bool:
        """Whether it is a condition and no value: a comparison or the like."""
        return self.denial is not None


#: A list of constants, which only a parameter brings.
Constants = tuple[Constant, ...]
Part = Term | Constant


def predicate(sql: str, denial: str) -> Term:
    """Make a condition of the SQL of where it is true, and of where it is false."""
    return Term(sql, TRUTH, "a condition", denial)


def truth(value: bool | None) -> Constant:
    """Make a constant condition."""
    return Constant(value, "NULL" if value is None else str(value).lower())


def never(term: Term) -> Term:
    """Make a condition that is false, and unknown where the term is null."""
    return predicate("false", f"({term.sql} IS NOT NULL)")


def negated(part: Part) -> Part:
    """Change over where a condition is true and where it is false."""
    holds, fails = condition(part)
    return predicate(fails, holds)


def place(term: Term, constant: Constant, *, equal: bool) -> Place:
    """Find where a constant lies among the values of a term, with the term's name in the message if it lies nowhere."""
    try:
        return term.domain.place(constant, equal=equal)
    except BadSpec as error:
        raise BadSpec(f"{term.name} holds {term.domain.says}: {error}") from None


def compare(operator: Operator, left: Part, right: Part) -> Part:
    """Compare two parts.

    Raises:
        BadSpec: they cannot be compared.
    """
    if isinstance(left, Constant):
        if isinstance(right, Constant):
            return _both_constant(operator, left, right)
        return compare(_MIRROR[operator], right, left)
    if isinstance(right, Term):
        return _both_terms(operator, left, right)
    if left.domain.kind in ("list", "other"):
        place(left, right, equal=True)
    if left.domain.kind == "bool" and operator not in ("=", "<>"):
        raise _unordered(left, right)
    if right.value is None:
        return truth(None)
    return _alike(operator, left, right) if left.predicate else _with_constant(operator, left, right)


def _with_constant(operator: Operator, term: Term, constant: Constant) -> Part:
    at = place(term, constant, equal=operator in ("=", "<>"))
    if at.at is None:  # all values are on one side
        return negated(never(term)) if _HOLDS[operator](-at.side) else never(term)
    if not at.exact:  # the constant lies between two values, the lower of which is known
        if operator in ("=", "<>"):
            return negated(never(term)) if operator == "<>" else never(term)
        operator = "<=" if operator in ("<", "<=") else ">"
    return _written(operator, term.sql, at.at)


def _written(operator: Operator, left: str, right: str) -> Term:
    return predicate(f"({left} {operator} {right})", f"({left} {_OPPOSITE[operator]} {right})")


def _alike(operator: Operator, left: Part, right: Part) -> Part:
    """Compare two conditions: they are equal where both are true or both are false."""
    (one, not_one), (other, not_other) = condition(left), condition(right)
    _check_length(one, not_one, other, not_other)
    same = predicate(
        f"(({one} AND {other}) OR ({not_one} AND {not_other}))", f"(({one} AND {not_other}) OR ({not_one} AND {other}))"
    )
    return same if operator == "=" else negated(same)


def _both_constant(operator: Operator, left: Constant, right: Constant) -> Constant:
    if left.value is None or right.value is None:
        return truth(None)
    one, other = left.value, right.value
    if type(one) is not type(other):
        raise BadSpec(f"{left} cannot be compared with {right}, and neither is a column")
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        one_is, other_is = one.is_nan(), other.is_nan()
        sign = one_is - other_is if one_is or other_is else (one > other) - (one < other)
    else:
        keys = [each.nanoseconds if hasattr(each, "nanoseconds") else each for each in (one, other)]
        sign = (keys[0] > keys[1]) - (keys[0] < keys[1])  # type: ignore[operator]
    return truth(_HOLDS[operator](sign))


def _both_terms(operator: Operator, left: Term, right: Term) -> Part:
    one, other = aligned(left, right)
    if left.domain.kind == "bool" and operator not in ("=", "<>"):
        raise _unordered(left, right)
    if left.predicate or right.predicate:
        return _alike(operator, left, right)
    return _written(operator, one, other)


def _unordered(left: Part, right: Part) -> BadSpec:
    names = [part.name if isinstance(part, Term) else str(part) for part in (left, right)]
    return BadSpec(f"{names[0]} is true or false, so it is not less or more than {names[1]}: use = or <>")


def aligned(left: Term, right: Term) -> tuple[str, str]:
    """Write two terms so that Lance compares them by value.

    Raises:
        BadSpec: their types have nothing to do with one another.
    """
    kinds = {left.domain.kind, right.domain.kind}
    if kinds <= set(NUMERIC):
        if "float" in kinds or kinds == {"int", "decimal"} or "decimal" in kinds:
            return as_float(left, compared=True), as_float(right, compared=True)
        wide = any(getattr(each.domain, "wide", False) for each in (left, right))
        return (as_wide(left), as_wide(right)) if wide else (left.sql, right.sql)
    comparable = kinds in ({"text"}, {"bool"}, {"time"}, {"date"}, {"stamp"}, {"date", "stamp"})
    zones = [isinstance(each.domain, Stamps) and each.domain.zone is not None for each in (left, right)]
    if not comparable or zones[0] != zones[1]:
        raise BadSpec(
            f"{left.name} holds {left.domain.says} and {right.name} {right.domain.says}: these are not compared"
        )
    if "stamp" in kinds and left.domain != right.domain:
        return _nanoseconds(left), _nanoseconds(right)
    return left.sql, right.sql


def _nanoseconds(term: Term) -> str:
    """Write a date or timestamp as a number: Lance brings units together by casts that fail for distant years."""
    if isinstance(term.domain, Stamps):
        ticks, step = term.sql, term.domain.step
    else:
        ticks, step = f"CAST({term.sql} AS DATE)", DAY
    return f"(CAST(CAST({ticks} AS BIGINT) AS DECIMAL({WIDE},0)) * CAST('{step}' AS DECIMAL({WIDE},0)))"


def as_float(part: Part, *, compared: bool = False) -> str:
    """Write a number as float64; to be compared, so that -0.0 is 0.0, which Arrow tells apart."""
    if isinstance(part, Constant):
        return write_float(numeric(part))
    plain = part.sql if part.domain == Fraction() else f"CAST({part.sql} AS DOUBLE)"
    return f"({plain} + 0.0)" if compared else plain


def as_wide(part: Part) -> str:
    """Write a whole number with as many digits as arithmetic has."""
    if isinstance(part, Constant):
        return f"CAST('{numeric(part):f}' AS DECIMAL({WIDE},0))"
    return part.sql if getattr(part.domain, "wide", False) else f"CAST({part.sql} AS DECIMAL({WIDE},0))"


def distinct(left: Part, right: Part) -> Part:
    """Compare so that null equals null: ``IS DISTINCT FROM``, which is never unknown."""
    if isinstance(left, Constant):
        left, right = right, left
    if isinstance(left, Constant) and isinstance(right, Constant):
        if left.value is None or right.value is None:
            return truth(left.value is not right.value)
        return _both_constant("<>", left, right)
    assert isinstance(left, Term)
    if left.predicate or (isinstance(right, Term) and right.predicate):
        raise BadSpec("IS DISTINCT FROM compares values, not conditions")
    if isinstance(right, Term):
        return _apart(*aligned(left, right))
    if right.value is None:
        return negated(is_value(left, None))
    at = place(left, right, equal=True)
    return _apart(left.sql, at.at) if at.at is not None and at.exact else truth(True)


def _apart(one: str, other: str) -> Term:
    return predicate(f"({one} IS DISTINCT FROM {other})", f"({one} IS NOT DISTINCT FROM {other})")


def member(term: Term, constants: Sequence[Constant]) -> Part:
    """Say whether a term is one of some constants; unknown where it is none of them and one is null."""
    if not constants:
        return truth(False)  # nothing is in an empty list, not even what is not known
    given = [constant for constant in constants if constant.value is not None]
    places = [place(term, constant, equal=True) for constant in given]
    held = ", ".join(dict.fromkeys(each.at for each in places if each.at is not None and each.exact))
    found = Term(f"({term.sql} IN ({held}))", TRUTH, denial=f"({term.sql} NOT IN ({held}))") if held else never(term)
    return found if len(given) == len(constants) else predicate(found.sql, "false")


def _check_length(*parts: str) -> None:
    """Refuse what would be written twice over again and again."""
    if sum(map(len, parts)) > _LONGEST:
        raise BadSpec("it is too complex: conditions are compared with one another, or tested for NULL, too often")


def joined(word: Literal["AND", "OR"], parts: Sequence[Part]) -> Part:
    """Join conditions, in pairs of pairs, so that thousands are not nested thousands deep."""
    holds, fails = zip(*map(condition, parts), strict=True)
    return predicate(_balanced(word, holds), _balanced("OR" if word == "AND" else "AND", fails))


def _balanced(word: str, parts: Sequence[str]) -> str:
    written = list(parts)
    while len(written) > 1:
        pairs = [written[at : at + 2] for at in range(0, len(written), 2)]
        written = [f"({pair[0]} {word} {pair[1]})" if len(pair) == 2 else pair[0] for pair in pairs]
    return written[0]


def condition(part: Part) -> tuple[str, str]:
    """Write where a part is true, and where it is false.

    Raises:
        BadSpec: it has another value.
    """
    if isinstance(part, Constant):
        if part.value is not None and not isinstance(part.value, bool):
            raise BadSpec(f"{part} is no condition: compare it with something")
        return str(part.value is True).lower(), str(part.value is False).lower()
    if part.domain.kind != "bool":
        raise BadSpec(f"{part.name} holds {part.domain.says} and is no condition: compare it with something")
    return part.sql, f"(NOT {part.sql})" if part.denial is None else part.denial


def is_value(part: Part, value: bool | None) -> Part:
    """Test for null (None), true or false, which is never unknown itself."""
    if isinstance(part, Constant):
        if value is not None:
            condition(part)
        return truth(part.value is value)
    if value is None and not part.predicate:
        return predicate(f"({part.sql} IS NULL)", f"({part.sql} IS NOT NULL)")
    holds, fails = condition(part)
    if value is None:
        _check_length(holds, fails)
        return predicate(f"(({holds}) IS NOT TRUE AND ({fails}) IS NOT TRUE)", f"({holds} OR {fails})")
    held = holds if value else fails
    return predicate(held, f"(({held}) IS NOT TRUE)")


def float_term(sql: str) -> Term:
    """Make a computed fraction."""
    return Term(sql, Fraction())
