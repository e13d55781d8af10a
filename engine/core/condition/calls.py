"""Arithmetic, casts and the functions that a condition may call: each takes time in proportion to what it reads.

Whole numbers are added, subtracted and multiplied exactly, with up to 38 digits; a longer result is an error. Division
gives a fraction, also of whole numbers, since a column of whole prices may hold fractions tomorrow; what is divided by
zero is null. A cast of what cannot be cast is null.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_DOWN, Decimal, DecimalException, localcontext
from typing import Any, Literal

from quiver.engine.core.condition.domains import (
    NAIVE,
    UNIVERSAL,
    WIDE_NUMBERS,
    Days,
    Fraction,
    Lists,
    Text,
    Truth,
    Whole,
    numeric,
)
from quiver.engine.core.condition.terms import (
    NUMERIC,
    Constants,
    Part,
    Term,
    as_float,
    as_wide,
    float_term,
    joined,
    never,
    place,
    truth,
)
from quiver.engine.core.condition.values import DAY, Clock, Constant, Moment, clock_in, moment_in
from quiver.errors import BadSpec
from quiver.wording import nearest

Sign = Literal["+", "-", "*", "/", "%"]
#: Digits that arithmetic with constants keeps.
_DIGITS = 60
_LARGEST = 10_000
NULL = Constant(None, "NULL")


def arithmetic(sign: Sign, left: Part, right: Part) -> Part:
    """Compute with two numbers.

    Raises:
        BadSpec: one of them is no number.
    """
    if any(isinstance(part, Constant) and part.value is None for part in (left, right)):
        return NULL
    if isinstance(left, Constant) and isinstance(right, Constant):
        return _folded(sign, numeric(left), numeric(right))
    for part in (left, right):
        if isinstance(part, Term) and part.domain.kind not in NUMERIC:
            raise BadSpec(f"{part.name} holds {part.domain.says}: arithmetic needs numbers")
    if sign != "/" and _whole(left) and _whole(right):
        divisor = as_wide(right)
        if sign == "%" and isinstance(right, Term):
            divisor = f"nullif({divisor}, {WIDE_NUMBERS.write(0)})"
        elif sign == "%" and numeric(right) == 0:  # type: ignore[arg-type]
            return NULL
        return Term(f"({as_wide(left)} {sign} {divisor})", WIDE_NUMBERS)
    return _in_floats(sign, left, right)


def _in_floats(sign: Sign, left: Part, right: Part) -> Part:
    divisor = as_float(right)
    if sign in ("/", "%"):
        if isinstance(right, Constant) and float(numeric(right)) == 0:
            return NULL
        divisor = f"nullif({as_float(right, compared=True)}, 0.0)" if isinstance(right, Term) else divisor
    return float_term(f"({as_float(left)} {sign} {divisor})")


def _whole(part: Part) -> bool:
    if isinstance(part, Term):
        return part.domain.kind == "int"
    value = numeric(part)
    return value.is_finite() and abs(value.adjusted()) < 36 and value == value.to_integral_value()


def _folded(sign: Sign, left: Decimal, right: Decimal) -> Constant:
    if sign in ("/", "%") and right == 0:
        return NULL
    with localcontext() as context:
        context.prec = _DIGITS
        try:
            if max(abs(each.adjusted()) for each in (left, right) if each.is_finite()) > _LARGEST:
                raise DecimalException
            made = {
                "+": Decimal.__add__,
                "-": Decimal.__sub__,
                "*": Decimal.__mul__,
                "/": Decimal.__truediv__,
                "%": Decimal.__mod__,
            }[sign](left, right)
        except (DecimalException, ValueError):
            raise BadSpec(f"{left:.6g} {sign} {right:.6g} cannot be computed") from None
    return Constant(made, str(made))


def negative(part: Part) -> Part:
    """Change the sign of a number."""
    if isinstance(part, Constant):
        return NULL if part.value is None else Constant(numeric(part).copy_negate(), f"-{part.written}")
    return arithmetic("-", Constant(Decimal(0), "0"), part)


def cast(part: Part, target: str) -> Part:
    """Cast to ``int``, ``float``, ``text``, ``bool``, ``date``, ``stamp`` or ``zoned``; null where that is impossible.

    Raises:
        BadSpec: there is no such cast.
    """
    if isinstance(part, Constant):
        return _cast_constant(part, target)
    source = part.domain.kind
    if source == target or (source == "stamp" and target in ("stamp", "zoned")):
        return part
    if part.predicate or (source, target) not in _CASTS:
        raise BadSpec(f"{part.name} holds {part.domain.says}: these cannot be cast to {target}")
    return Term(f"TRY_CAST({part.sql} AS {_LANCE[target]})", _TARGETS[target])


_LANCE = {"int": "BIGINT", "float": "DOUBLE", "text": "STRING", "bool": "BOOLEAN", "date": "DATE", "stamp": "TIMESTAMP"}
_TARGETS = {
    "int": Whole(),
    "float": Fraction(),
    "text": Text(),
    "bool": Truth(),
    "date": Days(),
    "stamp": NAIVE,
    "zoned": UNIVERSAL,
}
_CASTS = frozenset(
    [(source, target) for source in NUMERIC for target in ("int", "float", "text")]
    + [("text", target) for target in ("int", "float", "bool", "date", "stamp")]
    + [("bool", "int"), ("bool", "text"), ("date", "text"), ("date", "stamp"), ("stamp", "text"), ("stamp", "date")]
    + [("time", "text")]
)


def _cast_constant(constant: Constant, target: str) -> Constant:
    value = constant.value
    if value is None:
        return NULL
    if target == "text":
        written = constant.written
        return Constant(written, written)
    if target in ("int", "float"):
        found = numeric(Constant(Decimal(value), constant.written) if isinstance(value, bool) else constant)
        whole = target == "int" and found.is_finite() and abs(found.adjusted()) < 100
        return Constant(found.to_integral_value(ROUND_DOWN) if whole else found, constant.written)
    if target == "bool":
        return Constant(Truth().place(constant, equal=True).at == "true", constant.written)
    if target == "time":
        clock = clock_in(value) if isinstance(value, str) else value
        if isinstance(clock, Clock):
            return Constant(clock, constant.written)
        raise BadSpec(f"{constant} is no time of day: write '23:59' or '23:59:59', in quotes")
    moment = moment_in(value) if isinstance(value, str) else value
    if not isinstance(moment, Moment):
        raise BadSpec(f"{constant} is no date: write '2024-12-31' or '2024-12-31 23:59:59', in quotes")
    if target == "date":
        moment = Moment(moment.nanoseconds // DAY * DAY, False)
    return Constant(moment, constant.written)


def call(name: str, parts: Sequence[Part | Constants]) -> Part:
    """Call a function.

    Raises:
        BadSpec: there is none of that name, or it takes other arguments.
    """
    entry = FUNCTIONS.get(name.lower())
    if entry is None:
        near = nearest(name.lower(), FUNCTIONS)
        hint = f"did you mean {near}? " if near else ""
        raise BadSpec(f"there is no function {name}: {hint}there are {', '.join(sorted(FUNCTIONS))}")
    least, most, make = entry
    if not least <= len(parts) <= most:
        takes = f"{least}" if least == most else f"{least} to {most}"
        raise BadSpec(f"{name} takes {takes} argument{'s' if most > 1 else ''}, not {len(parts)}")
    return make(name.lower(), parts)


def _single(name: str, part: Part | Constants) -> Part:
    if isinstance(part, tuple):
        raise BadSpec(f"{name} takes one value here, not a list")
    return part


def _text(name: str, part: Part | Constants) -> str:
    part = _single(name, part)
    if isinstance(part, Constant):
        return Text().place(part, equal=False).at or ""
    if part.domain.kind != "text":
        raise BadSpec(
            f"{name} needs text, and {part.name} holds {part.domain.says}: CAST({part.name} AS TEXT) makes it"
        )
    return part.sql


def _null(parts: Sequence[Part | Constants]) -> bool:
    return any(isinstance(part, Constant) and part.value is None for part in parts)


def _of_text(function: str, domain: Any) -> Callable[[str, Sequence[Part | Constants]], Part]:
    def make(name: str, parts: Sequence[Part | Constants]) -> Part:
        if _null(parts):
            return NULL
        made = f"{function}({', '.join(_text(name, part) for part in parts)})"
        if isinstance(domain, Whole):
            made = f"CAST({made} AS BIGINT)"
        return Term(made, domain)

    return make


def concatenated(name: str, parts: Sequence[Part | Constants]) -> Part:
    """Join texts; null where one of them is null."""
    if _null(parts):
        return NULL
    if all(isinstance(part, Constant) for part in parts):
        made = "".join(part.written for part in parts if isinstance(part, Constant))
        return Constant(made, made)
    return Term("(" + " || ".join(_text(name, part) for part in parts) + ")", Text())


def _abs(name: str, parts: Sequence[Part | Constants]) -> Part:
    part = _single(name, parts[0])
    if isinstance(part, Constant):
        return NULL if part.value is None else Constant(numeric(part).copy_abs(), part.written.lstrip("-"))
    _check_number(name, part)
    if part.domain.kind == "int":
        return Term(f"abs({as_wide(part)})", WIDE_NUMBERS)
    return float_term(f"abs({as_float(part)})")


def _round(name: str, parts: Sequence[Part | Constants]) -> Part:
    part = _single(name, parts[0])
    digits = _single(name, parts[1]) if len(parts) > 1 else Constant(Decimal(0), "0")
    if not isinstance(digits, Constant) or not isinstance(digits.value, Decimal) or digits.value not in range(-15, 16):
        raise BadSpec("round takes a number of digits from -15 to 15 as its second argument")
    if _null(parts):
        return NULL
    if isinstance(part, Term):
        _check_number(name, part)
    return float_term(f"round({as_float(part)}, {int(digits.value)})")


def _check_number(name: str, part: Term) -> None:
    if part.domain.kind not in NUMERIC:
        raise BadSpec(f"{name} needs a number, and {part.name} holds {part.domain.says}")


def _is_nan(name: str, parts: Sequence[Part | Constants]) -> Part:
    part = _single(name, parts[0])
    if isinstance(part, Constant):
        return truth(None if part.value is None else numeric(part).is_nan())
    _check_number(name, part)
    return Term(f"isnan({as_float(part)})", Truth())


def _coalesce(name: str, parts: Sequence[Part | Constants]) -> Part:
    given = [_single(name, part) for part in parts]
    given = [part for part in given if not (isinstance(part, Constant) and part.value is None)]
    terms = [part for part in given if isinstance(part, Term)]
    if not terms:
        return given[0] if given else NULL
    if all(term.domain.kind in NUMERIC for term in terms):
        if all(map(_whole, given)):
            return Term(f"coalesce({', '.join(map(as_wide, given))})", WIDE_NUMBERS)
        return float_term(f"coalesce({', '.join(map(as_float, given))})")
    first = terms[0]
    if any(term.domain != first.domain or term.predicate for term in terms) or first.domain.kind in ("list", "other"):
        raise BadSpec("coalesce needs values of one type")
    written = []
    for part in given:
        at = place(first, part, equal=True) if isinstance(part, Constant) else None
        if at is not None and (at.at is None or not at.exact):
            raise BadSpec(f"coalesce: {first.name} holds {first.domain.says}, and {part} is not one of these")
        written.append(part.sql if isinstance(part, Term) else str(at and at.at))
    return Term(f"coalesce({', '.join(written)})", first.domain)


def part_of_date(field: str, part: Part) -> Part:
    """Return the year, month, day, hour, minute or second of a date or timestamp, by the clock of its time zone."""
    if field not in _FIELDS:
        raise BadSpec(f"a date has no {field}: there are {', '.join(_FIELDS)}")
    if isinstance(part, Constant):
        if part.value is None:
            return NULL
        raise BadSpec(f"{field} needs a column of dates, not {part}")
    if part.domain.kind not in ("date", "stamp"):
        raise BadSpec(f"{field} needs a date, and {part.name} holds {part.domain.says}")
    return Term(f"CAST(date_part('{field}', {part.sql}) AS BIGINT)", Whole())


_FIELDS = ("year", "month", "day", "hour", "minute", "second")


def _date_part(name: str, parts: Sequence[Part | Constants]) -> Part:
    field = _single(name, parts[0])
    if not isinstance(field, Constant) or not isinstance(field.value, str):
        raise BadSpec(f"{name} takes the name of a part first, such as 'year'")
    return part_of_date(field.value.lower(), _single(name, parts[1]))


def _list(name: str, part: Part | Constants) -> tuple[str, Term]:
    """Return the SQL of a column of lists, and a term that stands for its items."""
    if isinstance(part, Term) and isinstance(part.domain, Lists) and part.domain.items is not None:
        return part.sql, Term("", part.domain.items, f"the lists of {part.name}")
    said = f"{part.name} holds {part.domain.says}" if isinstance(part, Term) else "there is none"
    raise BadSpec(f"{name} needs a column of lists first, and {said}")


def holds(name: str, parts: Sequence[Part | Constants]) -> Part:
    """Say whether a list has an item; a null item is equal to nothing."""
    column, items = _list(name, parts[0])
    wanted = _single(name, parts[1])
    if isinstance(wanted, Term):
        if wanted.domain != items.domain:
            raise BadSpec(f"{items.name} hold {items.domain.says} and {wanted.name} {wanted.domain.says}")
        return Term(f"array_has({column}, {wanted.sql})", Truth())
    if wanted.value is None:
        return truth(None)
    at = place(items, wanted, equal=True)
    inside = at.at is not None and at.exact
    return Term(f"array_has({column}, {at.at})", Truth()) if inside else never(Term(column, items.domain))


def _holds_some(word: Literal["any", "all"]) -> Callable[[str, Sequence[Part | Constants]], Part]:
    def make(name: str, parts: Sequence[Part | Constants]) -> Part:
        column = parts[0]
        wanted = parts[1]
        if not isinstance(wanted, tuple):
            raise BadSpec(f"{name} takes a list second: array_has_{word}(tags, ['a', 'b']), or a parameter")
        if not wanted:
            raise BadSpec(f"{name} takes a list with something in it")
        return joined("OR" if word == "any" else "AND", [holds(name, (column, each)) for each in wanted])

    return make


def _array_length(name: str, parts: Sequence[Part | Constants]) -> Part:
    column, _ = _list(name, parts[0])
    return Term(f"CAST(array_length({column}) AS BIGINT)", Whole())


def _field(field: str) -> Callable[[str, Sequence[Part | Constants]], Part]:
    return lambda name, parts: part_of_date(field, _single(name, parts[0]))


Entry = tuple[int, int, Callable[[str, Sequence[Part | Constants]], Part]]
#: Least and most arguments, and what to make of them.
FUNCTIONS: Mapping[str, Entry] = {
    "lower": (1, 1, _of_text("lower", Text())),
    "upper": (1, 1, _of_text("upper", Text())),
    "trim": (1, 1, _of_text("btrim", Text())),
    "length": (1, 1, _of_text("character_length", Whole())),
    "char_length": (1, 1, _of_text("character_length", Whole())),
    "starts_with": (2, 2, _of_text("starts_with", Truth())),
    "ends_with": (2, 2, _of_text("ends_with", Truth())),
    "contains": (2, 2, _of_text("contains", Truth())),
    "concat": (1, 20, concatenated),
    "abs": (1, 1, _abs),
    "round": (1, 2, _round),
    "isnan": (1, 1, _is_nan),
    "coalesce": (1, 20, _coalesce),
    "date_part": (2, 2, _date_part),
    "array_has": (2, 2, holds),
    "array_contains": (2, 2, holds),
    "list_contains": (2, 2, holds),
    "array_has_any": (2, 2, _holds_some("any")),
    "array_has_all": (2, 2, _holds_some("all")),
    "array_length": (1, 1, _array_length),
    "cardinality": (1, 1, _array_length),
    **{field: (1, 1, _field(field)) for field in _FIELDS},
}
