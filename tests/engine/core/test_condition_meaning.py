"""Random conditions, written as people write them, mean in Lance what a plain three-valued evaluator says they mean."""

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import lance
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from quiver.conditions import Condition, Params
from quiver.engine.core.condition import compile

NAN, INF, BIG = float("nan"), float("inf"), 2**53
DAY, STAMP = date(2024, 2, 29), datetime(2024, 2, 29, 12, 0, 0, 5)
COLUMNS = {
    "i": (pa.int64(), [None, 0, 1, -1, 10, 11, 12, BIG + 1, 2**63 - 1, -(2**63), None, 7]),
    "j": (pa.int64(), [3, None, 1, -1, 0, 12, 11, BIG, 2**63 - 1, 1, 5, 7]),
    "n": (pa.int8(), [0, 127, -128, None, 5, 10, 11, 12, 1, -1, 2, 3]),
    "f": (pa.float64(), [1.5, NAN, None, -0.0, 0.0, INF, -INF, 10.5, 0.1, 1e300, 11.0, NAN]),
    "g": (pa.float64(), [1.5, NAN, 0.5, 0.0, -0.0, INF, 1.0, None, 0.1, 7.0, 1.0, -2.5]),
    "m": (
        pa.decimal128(10, 2),
        [Decimal(x) if x else None for x in (["1.50", "0.00", "-1.50", "99.99", "10.00", "11.50"] * 2)],
    ),
    "b": (pa.bool_(), [True, False, None] * 4),
    "c": (pa.bool_(), [True, True, True, False, False, False, None, None, None, True, False, None]),
    "s": (pa.string(), ["red", "RED", "", None, "a%b_c\\d", "Ä红😀", "it's", "x\ny", "10", "11.5", "nan", "red "]),
    "u": (pa.string(), ["red", "blue", None, "", "a", "Ä红😀", "x", "x\ny", "9", "11.5", "true", " "]),
    "d": (pa.date32(), [DAY, None, date(1969, 12, 31), date(1, 1, 1), date(9999, 12, 31), date(2024, 3, 1)] * 2),
    "e": (pa.date32(), [DAY, DAY, date(1970, 1, 1), None, date(9999, 12, 31), date(2024, 2, 28)] * 2),
    "t": (pa.timestamp("us"), [STAMP, datetime(2024, 2, 29), None, datetime(1960, 1, 1, 0, 0, 1), STAMP, None] * 2),
    "w": (pa.timestamp("s"), [datetime(2024, 2, 29, 12), datetime(2024, 2, 29), None, datetime(1960, 1, 1)] * 3),
    "z": (pa.timestamp("us", "UTC"), [STAMP.replace(tzinfo=UTC), None, datetime(2024, 2, 29, tzinfo=UTC)] * 4),
    "l": (pa.list_(pa.string()), [["red", "x"], [], None, [None, "red"], ["10"], ["Ä红😀", "it's"]] * 2),
}
ROWS = [{name: values[n] for name, (_, values) in COLUMNS.items()} for n in range(12)]
WHOLE, FRACTION, TEXT, DATE = ("i", "j", "n"), ("f", "g"), ("s", "u"), ("d", "e")
MINUS = timezone(timedelta(hours=-5))


@dataclass
class Writing:
    """What is chosen while a condition is written: every constant that ``chance`` picks becomes a parameter."""

    params: dict[str, Any] = field(default_factory=dict)

    def param(self, value: Any) -> str:
        self.params[f"p{len(self.params)}"] = value
        return f":p{len(self.params) - 1}"


@dataclass(frozen=True)
class Node:
    """A part of a condition: how it is written, and its value for a row."""

    write: Any
    value: Any


def order(left: Any, right: Any) -> int | None:
    """Compare two values as the documentation says; None where one is missing."""
    if left is None or right is None:
        return None
    if any(isinstance(each, float) for each in (left, right)):
        left, right = float(left), float(right)
        if math.isnan(left) or math.isnan(right):
            return math.isnan(left) - math.isnan(right)
    elif isinstance(left, Decimal) or isinstance(right, Decimal):
        if Decimal(left).is_nan() or Decimal(right).is_nan():
            return Decimal(left).is_nan() - Decimal(right).is_nan()
        left, right = Decimal(left), Decimal(right)
    elif isinstance(left, datetime) != isinstance(right, datetime) and isinstance(left, date):
        left, right = moment(left), moment(right)
    if isinstance(left, str):
        left, right = left.encode(), right.encode()
    return (left > right) - (left < right)


def moment(value: date) -> datetime:
    return value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)


HOLDS = {
    "=": lambda s: s == 0, "<>": lambda s: s != 0, "!=": lambda s: s != 0,
    "<": lambda s: s < 0, "<=": lambda s: s <= 0, ">": lambda s: s > 0, ">=": lambda s: s >= 0,
}  # fmt: skip


def compared(operator: str, left: Any, right: Any) -> bool | None:
    sign = order(left, right)
    return None if sign is None else HOLDS[operator](sign)


def negated(value: bool | None) -> bool | None:
    return None if value is None else not value


def both(left: bool | None, right: bool | None) -> bool | None:
    return False if left is False or right is False else None if left is None or right is None else True


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def constant(value: Any, writings: list[str], chance: int) -> Node:
    """A constant, written in one of some ways or given as a parameter."""
    way = chance % (len(writings) + 1)
    return Node(lambda w: w.param(value) if way == len(writings) else writings[way], lambda row: value)


NULL = Node(lambda w: "NULL", lambda row: None)
CHANCE = st.integers(0, 11)
BARE = ("{}", '"{}"', "`{}`", "({})", " {} ")


@st.composite
def column(draw, names):
    name, form = draw(st.sampled_from(names)), draw(st.sampled_from(BARE))
    return Node(lambda w: form.format(name), lambda row: row[name])


def _number(value: str, chance: int) -> Node:
    exact = Decimal(value)
    plain = value if not exact.is_nan() and exact.is_finite() else quoted(value)
    return constant(exact, [plain, f"({plain})", quoted(value)], chance)


NUMBERS = (
    "0", "1", "-1", "7", "10", "11", "12", "10.0", "10.5", "11.5", "1.5", "1.505", "0.1", "-0.0", "1e1", "1E9", "1e300",
    "-1e300", "127", "128", "-128", "-129", "200", "9007199254740992", "9007199254740993", "9007199254740993.5",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
    "123456789012345678901234567890", "1e-9", ".5", "5.", "99.99", "99999999.995", "nan", "inf", "-inf",
)  # fmt: skip
number = st.builds(_number, st.sampled_from(NUMBERS), CHANCE)
#: Without what has its own rules in arithmetic.
small = st.builds(_number, st.sampled_from(("0", "1", "-1", "2", "3", "10", "0.5", "-2.5")), CHANCE)
text = st.builds(
    lambda value, chance: constant(value, [quoted(value), f"({quoted(value)})"], chance),
    st.sampled_from(
        [*{each for name in TEXT for each in COLUMNS[name][1] if each is not None}, "zzz", "%", "RED", "é"]
    ),
    CHANCE,
)
day = st.builds(
    lambda value, chance: constant(value, [quoted(str(value)), f"DATE '{value}'", f"CAST('{value}' AS DATE)"], chance),
    st.sampled_from([DAY, date(1970, 1, 1), date(1969, 12, 31), date(1, 1, 1), date(9999, 12, 31), date(2024, 3, 1)]),
    CHANCE,
)
naive = st.builds(
    lambda value, chance: constant(
        value, [quoted(str(value)), quoted(value.isoformat()), f"TIMESTAMP '{value}'"], chance
    ),
    st.sampled_from([STAMP, STAMP + timedelta(microseconds=1), datetime(2024, 2, 29), datetime(1960, 1, 1, 0, 0, 1)]),
    CHANCE,
)
zoned = st.builds(
    lambda value, chance: constant(
        value.replace(tzinfo=UTC),
        [quoted(f"{value}Z"), quoted(value.replace(tzinfo=UTC).astimezone(MINUS).isoformat()), quoted(str(value))],
        chance,
    ),
    st.sampled_from([STAMP, STAMP - timedelta(microseconds=1), datetime(2024, 2, 29)]),
    CHANCE,
)


def computed(sign: str, left: Node, right: Node) -> Node:
    def value(row):
        one, other = left.value(row), right.value(row)
        if one is None or other is None or (sign in "/%" and other == 0):
            return None
        whole = all(isinstance(each, int) or (isinstance(each, Decimal) and each == int(each)) for each in (one, other))
        if not whole or sign == "/":
            one, other = float(one), float(other)
            try:
                return (
                    {"+": one + other, "-": one - other, "*": one * other}.get(sign)
                    if sign in "+-*"
                    else (one / other if sign == "/" else math.fmod(one, other))
                )
            except (OverflowError, ValueError):  # Python raises where IEEE 754 has an answer
                return NAN
        one, other = int(one), int(other)
        return (
            {"+": one + other, "-": one - other, "*": one * other}[sign]
            if sign != "%"
            else (abs(one) % abs(other) * (-1 if one < 0 else 1))
        )

    return Node(lambda w: f"({left.write(w)} {sign} {right.write(w)})", value)


numeric = st.recursive(
    st.one_of(column(WHOLE), column(("g", "i", "j"))),
    lambda inner: st.builds(computed, st.sampled_from("+-*/%"), inner, small),
    max_leaves=2,
)


def comparison(operator: str, left: Node, right: Node, mirrored: bool) -> Node:
    mirror = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(operator, operator)
    return Node(
        lambda w: (
            f"{right.write(w)} {mirror} {left.write(w)}" if mirrored else f"{left.write(w)} {operator} {right.write(w)}"
        ),
        lambda row: compared(operator, left.value(row), right.value(row)),
    )


def member(left: Node, listed: list[Node], as_list: bool, no: str) -> Node:
    def value(row):
        found = [compared("=", left.value(row), each.value(row)) for each in listed]
        held = True if True in found else None if None in found else False
        return negated(held) if no else held

    def write(w):
        if as_list:
            return f"{left.write(w)} {no}IN {w.param([each.value(None) for each in listed])}"
        return f"{left.write(w)} {no}IN ({', '.join(each.write(w) for each in listed)})"

    return Node(write, value)


def between(left: Node, low: Node, high: Node, no: str) -> Node:
    def value(row):
        held = both(compared(">=", left.value(row), low.value(row)), compared("<=", left.value(row), high.value(row)))
        return negated(held) if no else held

    return Node(lambda w: f"{left.write(w)} {no}BETWEEN {low.write(w)} AND {high.write(w)}", value)


def distinct(left: Node, right: Node, no: str) -> Node:
    def value(row):
        one, other = left.value(row), right.value(row)
        same = order(one, other) == 0 if one is not None and other is not None else one is other
        return same if no else not same

    return Node(lambda w: f"{left.write(w)} IS {no}DISTINCT FROM {right.write(w)}", value)


def pairs(left, right):
    """Everything that compares a column with constants of one type."""
    right = st.one_of(right, right, right, st.just(NULL))
    no = st.sampled_from(("", "NOT "))
    return st.one_of(
        st.builds(comparison, st.sampled_from(sorted(HOLDS)), left, right, st.booleans()),
        st.builds(member, left, st.lists(right, min_size=1, max_size=4), st.booleans(), no),
        st.builds(between, left, right, right, no),
        st.builds(distinct, left, right, no),
    )


def columns(left, right):
    """One column compared with another."""
    return st.builds(comparison, st.sampled_from(("=", "<>", "<", ">=")), column(left), column(right), st.just(False))


def like(left: Node, pattern: str, word: str, escape: str) -> Node:
    parts, at = [], 0
    while at < len(pattern):
        if pattern[at] == (escape or "\\") and at + 1 < len(pattern):
            at += 1
            parts.append(re.escape(pattern[at]))
        else:
            parts.append({"%": ".*", "_": "."}.get(pattern[at], re.escape(pattern[at])))
        at += 1
    rule = re.compile("".join(parts), re.DOTALL | (re.IGNORECASE if "ILIKE" in word else 0))

    def value(row):
        held = None if left.value(row) is None else rule.fullmatch(left.value(row)) is not None
        return negated(held) if "NOT" in word else held

    tail = f" ESCAPE {quoted(escape)}" if escape else ""
    return Node(lambda w: f"{left.write(w)} {word} {quoted(pattern)}{tail}", value)


def is_what(inner: Node, what: str) -> Node:
    wanted = {"NULL": None, "TRUE": True, "FALSE": False, "UNKNOWN": None}[what.rsplit(maxsplit=1)[-1]]
    return Node(
        lambda w: f"({inner.write(w)}) IS {what}",
        lambda row: (inner.value(row) is wanted) is not what.startswith("NOT"),
    )


def joined(word: str, parts: list[Node]) -> Node:
    def value(row):
        found = [each.value(row) for each in parts]
        decisive = word.strip().upper() == "OR"
        return decisive if decisive in found else None if None in found else not decisive

    return Node(lambda w: word.join(f"({each.write(w)})" for each in parts), value)


def has(name: str, items: list[str], word: str) -> Node:
    def value(row):
        held = row["l"]
        if held is None:
            return None
        return {"any": any, "all": all}[word](each in held for each in items)

    if name == "array_has":
        return Node(
            lambda w: f"array_has(l, {quoted(items[0])})",
            lambda row: None if row["l"] is None else items[0] in row["l"],
        )
    return Node(lambda w: f"array_has_{word}(l, [{', '.join(map(quoted, items))}])", value)


PATTERNS = (
    "red", "r%", "%e%", "_ed", "", "%", "a\\%b%", "a!%b!_c%", "%红%", "%\\", "%\n%", "x_y", "RE_", "_",
)  # fmt: skip
leaf = st.one_of(
    pairs(column((*WHOLE, *FRACTION, "m")), number),
    pairs(numeric, number),
    pairs(column(TEXT), text),
    pairs(column(DATE), st.one_of(day, naive)),
    pairs(column(("t", "w")), st.one_of(day, naive)),
    pairs(column(("z",)), zoned),
    columns(WHOLE, (*WHOLE, *FRACTION)),
    columns(FRACTION, FRACTION),
    columns(TEXT, TEXT),
    columns((*DATE, "t", "w"), (*DATE, "t")),
    st.builds(distinct, column(FRACTION), column(FRACTION), st.sampled_from(("", "NOT "))),
    st.builds(
        like,
        column(TEXT),
        st.sampled_from(PATTERNS),
        st.sampled_from(["LIKE", "NOT LIKE", "ILIKE", "NOT ILIKE"]),
        st.sampled_from(["", "!"]),
    ),
    st.builds(is_what, column(tuple(COLUMNS)), st.sampled_from(["NULL", "NOT NULL"])),
    st.builds(is_what, column(("b", "c")), st.sampled_from(["TRUE", "NOT TRUE", "FALSE", "NOT FALSE", "UNKNOWN"])),
    column(("b", "c")),
    st.builds(
        has,
        st.sampled_from(["array_has", "array_has_any or all"]),
        st.lists(st.sampled_from(["red", "x", "10", "Ä红😀", "it's", "none"]), min_size=1, max_size=3),
        st.sampled_from(["any", "all"]),
    ),
)  # fmt: skip
condition = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.builds(joined, st.sampled_from([" AND ", " OR ", " and "]), st.lists(inner, min_size=2, max_size=3)),
        st.builds(lambda each: Node(lambda w: f"NOT ({each.write(w)})", lambda row: negated(each.value(row))), inner),
        st.builds(is_what, inner, st.sampled_from(["TRUE", "NOT TRUE", "FALSE", "NULL", "NOT NULL"])),
        st.builds(comparison, st.sampled_from(["=", "<>"]), column(("b", "c")), inner.map(
            lambda each: Node(lambda w: f"({each.write(w)})", each.value)), st.just(False)),
    ),
    max_leaves=5,
)  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    table = pa.table({name: pa.array(values, kind) for name, (kind, values) in COLUMNS.items()})
    return lance.write_dataset(table, str(tmp_path_factory.mktemp("rows") / "rows.lance"))


def selected(stored, where, params):
    fields = {each.name: each.type for each in stored.schema}
    sql = compile(fields, Condition(where, Params.of(params))).sql
    return sorted(stored.scanner(columns=[], filter=sql, with_row_id=True).to_table()["_rowid"].to_pylist())


@settings(max_examples=400, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(condition)
@example(comparison("=", Node(lambda w: "i", lambda row: row["i"]), _number("10.5", 0), False))
def test_a_condition_selects_what_it_says(stored, node):
    for build, wanted in ((str, True), ("NOT ({})".format, False)):
        writing = Writing()
        where = build(node.write(writing))
        right = [n for n, row in enumerate(ROWS) if node.value(row) is wanted]
        assert selected(stored, where, writing.params) == right, (where, writing.params)
