"""What the columns of a type can hold, and where a constant lies among it.

A column of whole numbers holds no 12.5, but ``price < 12.5`` has a meaning: it is ``price <= 12``. So every constant is
placed exactly on the values of its column: at one, between two, below all or above all. Dates lie among timestamps in
the same way, and seconds among microseconds. Fractions are float64: a constant is rounded to the nearest. NaN equals
itself and is larger than every number, as in PostgreSQL.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal, localcontext
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from quiver.engine.core import sql
from quiver.engine.core.condition.values import (
    DAY,
    NANOSECONDS,
    Clock,
    Constant,
    Moment,
    clock_in,
    moment_in,
    number_in,
)
from quiver.errors import BadSpec

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["bool", "int", "float", "decimal", "text", "date", "stamp", "time", "list", "other"]
#: Digits of the whole numbers that arithmetic is done in.
WIDE = 38
_INT64 = (-(2**63), 2**63 - 1)


class Place(NamedTuple):
    """Where a constant lies: at the value ``at`` or just above it; ``at`` is None below all (-1) or above all (1)."""

    at: str | None
    exact: bool = True
    side: int = 0


class Domain:
    """The values of a type: ``kind`` is the family it belongs to."""

    __slots__ = ()
    kind: ClassVar[Kind]
    noun: ClassVar[str] = ""

    @property
    def says(self) -> str:
        """What a column of them holds, for messages."""
        return self.noun

    def place(self, constant: Constant, *, equal: bool) -> Place:
        """Find where a constant lies.

        Args:
            constant: not null.
            equal: whether it is only asked to be equal, not to be less or more.

        Raises:
            BadSpec: it cannot be compared with these values; the message says what could.
        """
        raise NotImplementedError


def numeric(constant: Constant) -> Decimal:
    """Return the number that a constant is, also as text, which the command line gives.

    Raises:
        BadSpec: it is none.
    """
    found = constant.value
    if isinstance(found, str):
        found = number_in(found)
    if not isinstance(found, Decimal):
        empty = ": missing values are found by IS NULL" if constant.value == "" else ""
        raise BadSpec(f"{constant} is no number{empty}")
    return found


@dataclass(frozen=True, slots=True)
class Whole(Domain):
    """Whole numbers from ``low`` to ``high``; wide ones are the results of arithmetic."""

    low: int = _INT64[0]
    high: int = _INT64[1]
    wide: bool = False

    kind: ClassVar[Kind] = "int"
    noun: ClassVar[str] = "whole numbers"

    def place(self, constant: Constant, *, equal: bool) -> Place:
        """Round down, unless the constant is out of range."""
        value = numeric(constant)
        if value.is_nan() or value > self.high:
            return Place(None, False, 1)
        if value < self.low:
            return Place(None, False, -1)
        floor = value.to_integral_value(ROUND_FLOOR)
        return Place(self.write(int(floor)), floor == value)

    def write(self, value: int) -> str:
        """Write a number of this type."""
        if self.wide:
            return f"CAST('{value}' AS DECIMAL({WIDE},0))"
        return f"CAST('{value}' AS BIGINT)" if value == _INT64[0] else str(value)


WIDE_NUMBERS = Whole(-(10**WIDE) + 1, 10**WIDE - 1, True)


@dataclass(frozen=True, slots=True)
class Fraction(Domain):
    """Numbers of float64, or of fewer bits."""

    bits: int = 64
    kind: ClassVar[Kind] = "float"
    noun: ClassVar[str] = "numbers"

    def place(self, constant: Constant, *, equal: bool) -> Place:
        """Round to the nearest float64."""
        return Place(write_float(numeric(constant)))


def write_float(value: Decimal) -> str:
    """Write a float64."""
    near = float(value)
    if math.isnan(near):
        return "CAST('NaN' AS DOUBLE)"
    return repr(near) if math.isfinite(near) else f"CAST('{'-' if near < 0 else ''}Infinity' AS DOUBLE)"


@dataclass(frozen=True, slots=True)
class Scaled(Domain):
    """Decimals of a precision and a scale."""

    precision: int
    scale: int

    kind: ClassVar[Kind] = "decimal"
    noun: ClassVar[str] = "decimal numbers"

    def place(self, constant: Constant, *, equal: bool) -> Place:
        """Round down to the scale, unless the constant is out of range."""
        value = numeric(constant)
        most = Decimal(10**self.precision - 1).scaleb(-self.scale)
        if value.is_nan() or value > most:
            return Place(None, False, 1)
        if value < -most:
            return Place(None, False, -1)
        with localcontext() as context:
            context.prec = 100
            floor = value.quantize(Decimal(1).scaleb(-self.scale), ROUND_FLOOR)
        return Place(f"CAST('{floor:f}' AS DECIMAL({self.precision},{self.scale}))", floor == value)


@dataclass(frozen=True, slots=True)
class Text(Domain):
    """Strings; a number is equal to the string that it was written as."""

    kind: ClassVar[Kind] = "text"
    noun: ClassVar[str] = "text"

    def place(self, constant: Constant, *, equal: bool) -> Place:
        """Take a string as it is."""
        if isinstance(constant.value, str):
            return Place(sql.text(constant.value))
        if isinstance(constant.value, Decimal):
            if equal:
                return Place(sql.text(constant.written))
            raise BadSpec(
                f"{constant} is a number: write '{constant}' in quotes to compare text, or CAST(... AS DOUBLE) to"
                " compare numbers"
            )
        raise BadSpec(f"{constant} is no text: write '{constant}' in quotes")


@dataclass(frozen=True, slots=True)
class Truth(Domain):
    """True and false."""

    kind: ClassVar[Kind] = "bool"
    noun: ClassVar[str] = "true or false"

    def place(self, constant: Constant, *, equal: bool) -> Place:
        """Take true and false, also as 1 and 0, and in quotes."""
        value = constant.value
        if isinstance(value, str):
            value = {"true": True, "false": False, "1": True, "0": False}.get(value.strip().lower(), value)
        elif isinstance(value, Decimal) and value in (0, 1):
            value = bool(value)
        if not isinstance(value, bool):
            raise BadSpec(f"{constant} is neither true nor false")
        return Place(str(value).lower())


@dataclass(frozen=True, slots=True)
class Days(Domain):
    """Dates."""

    kind: ClassVar[Kind] = "date"
    noun: ClassVar[str] = "dates"

    def place(self, constant: Constant, *, equal: bool) -> Place:
        """Round down to the day."""
        value = _moment(constant)
        if value.zoned:
            raise BadSpec(f"{constant} has a time zone, which a date has not: leave the zone out")
        days = value.nanoseconds // DAY
        day = date(1970, 1, 1) + timedelta(days=days)
        return Place(f"DATE '{day.isoformat()}'", value.nanoseconds == days * DAY)


def _moment(constant: Constant) -> Moment:
    found = moment_in(constant.value) if isinstance(constant.value, str) else constant.value
    if isinstance(found, Moment):
        return found
    if constant.value == "":
        raise BadSpec("'' is no date: missing values are found by IS NULL")
    raise BadSpec(f"{constant} is no date: write '2024-12-31' or '2024-12-31 23:59:59', in quotes")


@dataclass(frozen=True, slots=True)
class Stamps(Domain):
    """Timestamps: Arrow's ``unit`` with so many nanoseconds, and the time zone, if any.

    A constant without a zone is taken by the clock of the column's zone.
    """

    unit: str
    step: int
    zone: str | None

    kind: ClassVar[Kind] = "stamp"

    @property
    def says(self) -> str:
        """What a column of them holds, for messages."""
        return f"timestamps of time zone {self.zone}" if self.zone else "timestamps without a time zone"

    def place(self, constant: Constant, *, equal: bool) -> Place:
        """Round down to the unit."""
        value = _moment(constant)
        if value.zoned and self.zone is None:
            raise BadSpec(f"{constant} has a time zone, which these timestamps have not: leave the zone out")
        passed = value.nanoseconds
        if self.zone is not None and not value.zoned:
            passed -= _offset_at(passed, self.zone)
        ticks = passed // self.step
        if not _INT64[0] <= ticks <= _INT64[1]:
            return Place(None, False, 1 if ticks > 0 else -1)
        return Place(self.write(ticks), ticks * self.step == passed)

    def write(self, ticks: int) -> str:
        """Write the timestamp so many units after 1970."""
        zone = f'Some("{self.zone}")' if self.zone else "None"
        return f"arrow_cast({ticks}, 'Timestamp({self.unit}, {zone})')"


def _offset_at(wall: int, zone: str) -> int:
    """Return how many nanoseconds a zone is ahead of UTC when its clocks show a time."""
    read = moment_in(f"1970-01-01T00:00:00{zone}")
    if read is not None:
        return -read.nanoseconds
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        home = UTC if zone in ("UTC", "Etc/UTC") else ZoneInfo(zone)
        shown = datetime(1970, 1, 1) + timedelta(microseconds=wall // 1000)
        ahead = shown.replace(tzinfo=home).utcoffset() or timedelta()
    except (ZoneInfoNotFoundError, ValueError, OverflowError):
        raise BadSpec(f"time zone {zone} is not known here: write a time with its zone, such as ...Z") from None
    return ahead // timedelta(microseconds=1) * 1000


@dataclass(frozen=True, slots=True)
class Clocks(Domain):
    """Times of day: Arrow's type, and how many nanoseconds its unit has."""

    arrow: str
    step: int

    kind: ClassVar[Kind] = "time"
    noun: ClassVar[str] = "times of day"

    def place(self, constant: Constant, *, equal: bool) -> Place:
        """Round down to the unit."""
        found = clock_in(constant.value) if isinstance(constant.value, str) else constant.value
        if not isinstance(found, Clock):
            raise BadSpec(f"{constant} is no time of day: write '23:59' or '23:59:59', in quotes")
        ticks = found.nanoseconds // self.step
        return Place(f"arrow_cast({ticks}, '{self.arrow}')", ticks * self.step == found.nanoseconds)


@dataclass(frozen=True, slots=True)
class Lists(Domain):
    """Lists of values of one type, or of a type that cannot be compared (None)."""

    items: Domain | None

    kind: ClassVar[Kind] = "list"
    noun: ClassVar[str] = "lists"

    def place(self, constant: Constant, *, equal: bool) -> Place:
        """Refuse: lists are asked for what they hold."""
        raise BadSpec(f"a list is not compared with {constant}: write array_has(column, {constant})")


@dataclass(frozen=True, slots=True)
class Other(Domain):
    """Values that conditions cannot compare, only find missing."""

    type: str
    kind: ClassVar[Kind] = "other"

    @property
    def says(self) -> str:
        """What a column of them holds, for messages."""
        return f"values of type {self.type}"

    def place(self, constant: Constant, *, equal: bool) -> Place:
        """Refuse."""
        raise BadSpec(f"{self.says} cannot be compared, only be tested by IS NULL")


_UNITS = {
    "s": ("Second", NANOSECONDS),
    "ms": ("Millisecond", 10**6),
    "us": ("Microsecond", 1000),
    "ns": ("Nanosecond", 1),
}
#: What timestamps are cast to: those of tables.
NAIVE, UNIVERSAL = Stamps("Microsecond", 1000, None), Stamps("Microsecond", 1000, "UTC")


def domain_of(kind: "pa.DataType") -> Domain:
    """Return what a column of an Arrow type holds."""
    import pyarrow.types as pt

    if pt.is_integer(kind):
        bits = kind.bit_width
        return Whole(0, 2**bits - 1) if pt.is_unsigned_integer(kind) else Whole(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if pt.is_decimal128(kind) and kind.scale >= 0:
        return Scaled(kind.precision, kind.scale)
    if pt.is_list(kind) or pt.is_large_list(kind):
        items = domain_of(kind.value_type)
        return Lists(None if items.kind in ("list", "other") else items)
    if pt.is_floating(kind):
        return Fraction(kind.bit_width)
    tests: tuple[tuple[Callable[[pa.DataType], bool], Domain], ...] = (
        (pt.is_boolean, Truth()),
        (pt.is_string, Text()),
        (pt.is_large_string, Text()),
    )
    return next((domain for test, domain in tests if test(kind)), None) or _temporal(kind)


def _temporal(kind: "pa.DataType") -> Domain:
    import pyarrow.types as pt

    if pt.is_date(kind):
        return Days()
    if pt.is_timestamp(kind):
        return Stamps(*_UNITS[kind.unit], kind.tz)
    if pt.is_time(kind):
        unit, step = _UNITS[kind.unit]
        return Clocks(f"Time{kind.bit_width}({unit})", step)
    return Other(str(kind))
