"""What a condition may say: everything is read or refused, in one line that says what to do."""

import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import lance
import numpy as np
import pyarrow as pa
import pytest

from quiver.conditions import Condition, Params
from quiver.engine.core.condition import compile
from quiver.engine.core.condition.syntax import LONGEST
from quiver.errors import BadSpec

HOUR = 3_600_000_000
TABLE = pa.table(
    {
        "id": pa.array(["a", "b", "c", "d"]),
        "price": pa.array([10, 11, None, 9007199254740993], pa.int64()),
        "colour": pa.array(["red", "blue", None, "10"]),
        "weight": pa.array([1.5, float("nan"), None, -0.0]),
        "sold": pa.array([True, False, None, True]),
        "day": pa.array([date(2024, 5, 1), date(1969, 12, 31), None, date(2024, 5, 2)]),
        "taken": pa.array([0, HOUR, None, -1], pa.timestamp("us")),
        "berlin": pa.array([0, HOUR, None, -1], pa.timestamp("us", "Europe/Berlin")),
        "ahead": pa.array([0, HOUR, None, -1], pa.timestamp("ms", "+01:00")),
        "opens": pa.array([0, 9 * HOUR, None, 9 * HOUR + 1], pa.time64("us")),
        "tags": pa.array([["x", "y"], [], None, [None, "z"]], pa.list_(pa.string())),
        "sizes": pa.array([[1, 2], [], None, [40]], pa.list_(pa.int64())),
        "cost": pa.array([Decimal("1.50"), Decimal("-2.00"), None, Decimal("99.99")], pa.decimal128(6, 2)),
        "small": pa.array([0.1, 1.0, None, 2.0], pa.float32()),
        "big": pa.array([0, 2**64 - 1, None, 5], pa.uint64()),
        "blob": pa.array([b"a", b"b", None, b"c"]),
        "Base Colour": pa.array([1, 2, None, 4]),
        "größe": pa.array([1, 2, None, 4]),
    }
)
FIELDS = {each.name: each.type for each in TABLE.schema}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return lance.write_dataset(TABLE, str(tmp_path_factory.mktemp("rows") / "rows.lance"))


def found(stored, where, params=()):
    sql = compile(FIELDS, Condition(where, Params.of(params))).sql
    return "".join(stored.scanner(columns=["id"], filter=sql).to_table()["id"].to_pylist())


def refusal(where, params=()):
    with pytest.raises(BadSpec, match=r"^cannot filter by [^\n]+$") as caught:
        compile(FIELDS, Condition(where, Params.of(params)))
    return str(caught.value)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("", "empty"),
        ("  \n ", "empty"),
        ("-- all", "empty"),
        ("price < 3 AND price >= 0 nonsense tail", "'tail' is not understood"),
        ("price < 1000 ANDD colour = 'zzz'", "'colour' is not understood"),
        ("price >= 10 LIMIT 1", "'LIMIT' is not understood"),
        ("price >= 10 ORDER BY price LIMIT 1", "'ORDER BY' is not understood"),
        ("price >= 10; AND price < 11", "semicolon"),
        ("price >= 10;", "semicolon"),
        ("price >= 10; DELETE FROM items", "semicolon"),
        ("price < 3 -- AND sold", "comments"),
        ("price < 3 /* AND sold */ AND sold", "comments"),
        ("/*+ hint */ price < 3", "comments|not"),
        ("price < 3 {# x #}", "comments"),
        ("price = 'red", "cannot be read"),
        ("price <", "missing"),
        ("(price < 3", "breaks off|missing|understood"),
        ("price < 3)", "not understood"),
        ("price", "compare it with something"),
        ("'red'", "compare it with something"),
        ("1", "compare it with something"),
        ("price AS x", "second word"),
        ("price < 3 cheap", "second word"),
        ("0 < price < 5", "put brackets"),
        ("price = 1 = true", "put brackets"),
        ("sold = NOT sold", "put brackets"),
        ("sold < true", "use = or <>"),
        ("(price > 1) < (price > 2)", "use = or <>"),
        ("cost < 5 AND colur = 'red'", "no column 'colur': did you mean colour"),
        ('colour = "red"', "no column 'red': .*single quotes, as in 'red'"),
        ("colour = red", "single quotes"),
        ("\"COLOUR\" = 'red'", "did you mean colour"),
        ("_rowid = 1", "no column '_rowid'"),
        ("vec_image < 1", "no column"),
        ("price.x = 1", "no column 'price.x'"),
        ("repeat(colour, 100000) LIKE '%b'", "no function repeat"),
        ("generate_series(1,1000000000) IS NOT NULL", "no function generate_series"),
        ("regexp_match(colour, '(a*)*b') IS NOT NULL", "no function regexp_match"),
        ("lowr(colour) = 'red'", "did you mean lower"),
        ("now() > taken", "no function now"),
        ("count(*) > 1", "not supported"),
        ("sum(price) OVER () > 1", "not supported"),
        ("lower(colour, colour) = 'x'", "lower takes 1 argument, not 2"),
        ("colour = $$a$$", "no column"),
        ("price IN (SELECT price FROM items)", "not supported"),
        ("EXISTS (SELECT 1)", "not supported"),
        ("CASE WHEN sold THEN true ELSE false END", "not understood"),
        ("day > DATE '2024-05-01' - INTERVAL '1 day'", "not supported"),
        ("price & 1 = 1", "not supported"),
        ("colour ~ 'r.d'", "not understood"),
        ("colour SIMILAR TO 'r'", "not supported"),
        ("colour LIKE day", "pattern in quotes"),
        ("price LIKE '1%'", "price holds whole numbers"),
        ("tags LIKE 'x'", "tags holds lists"),
        ("tags = 'x'", "array_has"),
        ("colour IN ()", "empty"),
        ("price IS 5", "IS is followed by"),
        ("price = 'abc'", "price holds whole numbers: 'abc' is no number"),
        ("price = ''", "IS NULL"),
        ("price = true", "true is no number"),
        ("price < day", "not compared"),
        ("taken < berlin", "not compared"),
        ("weight = '1,5'", "no number"),
        ("sold = 2", "neither true nor false"),
        ("sold = 'yes'", "neither true nor false"),
        ("colour < 5", "in quotes"),
        ("colour = true", "in quotes"),
        ("day = '2024'", "write '2024-12-31'"),
        ("day = '01/05/2024'", "write '2024-12-31'"),
        ("day = 20240501", "write '2024-12-31'"),
        ("day = ''", "IS NULL"),
        ("day = '2024-02-30'", "no date"),
        ("day = '2024-05-01T00:00:00Z'", "time zone"),
        ("taken > '2024-05-01T00:00:00+02:00'", "time zone"),
        ("opens = '25:00'", "time of day"),
        ("blob = 'a'", "only be tested by IS NULL"),
        ("colour + 1 = 2", "arithmetic needs numbers"),
        ("day + 1 = 2", "arithmetic needs numbers"),
        ("CAST(price AS DECIMAL(10,2)) = 1", "BIGINT, DOUBLE"),
        ("CAST(tags AS TEXT) = 'x'", "cannot be cast"),
        ("lower(price) = 'x'", "CAST"),
        ("coalesce(colour, price) = 'x'", "one type"),
        ("extract(dow FROM day) = 1", "year, month"),
        ("colour = 'a\ud83d'", "half a character"),
        ("price = :most", "'most' is not given"),
        ("price = @most", ":name"),
        ("\x00", "no column"),
    ],
)
def test_what_is_not_understood_is_refused_with_what_to_do(where, says):
    import re

    told = refusal(where)
    assert re.search(says, told), told


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("\"colour\" = 'red'", "a"),
        ("`colour` <> 'red'", "bd"),
        ("COLOUR = 'red' and Price < 12", "a"),
        ('`Base Colour` = 1 OR "Base Colour" = 2', "ab"),
        ("größe = 2", "b"),
        ("colour = 10", "d"),
        ("price < 12.5", "ab"),
        ("price = 10.0", "a"),
        ("price = 10.5", ""),
        ("NOT price = 10.5", "abd"),
        ("price IN (10, 11.5)", "a"),
        ("price NOT IN (10, 11.5)", "bd"),
        ("price NOT IN (10, NULL)", ""),
        ("price < 1e9", "ab"),
        ("price = '10'", "a"),
        ("price > 9223372036854775808", ""),
        ("price < 1e999999999 AND price > -1e999999999", "abd"),
        ("price = 9007199254740993", "d"),
        ("price = 9007199254740992", ""),
        ("price * 1000000000000000000 > 0", "abd"),
        ("price / 4 = 2.5", "a"),
        ("price / 0 = 1 OR price % 0 = 1", ""),
        ("-price < -10", "bd"),
        ("weight = 'nan' OR weight = 0", "bd"),
        ("weight > 1e308", "b"),
        ("isnan(weight)", "b"),
        ("weight = weight", "abd"),
        ("small = 0.1", "a"),
        ("small * 10 > 1", "abd"),
        ("big > 18446744073709551614", "b"),
        ("big >= -1", "abd"),
        ("cost = 1.5", "a"),
        ("cost < 1.505", "ab"),
        ("cost = 1.505", ""),
        ("sold", "ad"),
        ("NOT sold", "b"),
        ("sold = 1 AND sold = 'TRUE'", "ad"),
        ("sold IS NOT TRUE", "bc"),
        ("(price > 10) IS UNKNOWN", "c"),
        ("(price > 10) = sold", "d"),
        ("day = '2024-05-01'", "a"),
        ("day < '2024-05-01 12:00'", "ab"),
        ("day <= DATE '2024-05-01'", "ab"),
        ("day BETWEEN '2024-01-01' AND '2024-12-31'", "ad"),
        ("year(day) = 2024 AND month(day) = 5 AND extract(day FROM day) = 2", "d"),
        ("taken < '1970-01-01'", "d"),
        ("taken = TIMESTAMP '1970-01-01 01:00:00'", "b"),
        ("taken < '1970-01-01T00:00:00.000000001'", "ad"),
        ("berlin = '1970-01-01T00:00:00Z'", "a"),
        ("berlin = '1970-01-01 01:00'", "a"),
        ("ahead >= '1970-01-01 02:00:00'", "b"),
        ("ahead = '1970-01-01T00:00:00+00:00'", "a"),
        ("opens >= '09:00' AND opens <= TIME '09:00:00'", "b"),
        ("array_has(tags, 'x') OR 'z' IN tags", "ad"),
        ("'y' = ANY(tags)", "a"),
        ("NOT array_has(tags, 'x')", "bd"),
        ("array_has_any(tags, ['y', 'z'])", "ad"),
        ("array_has_all(tags, ['x', 'y'])", "a"),
        ("array_has(sizes, 40.0)", "d"),
        ("array_has(sizes, 1.5)", ""),
        ("NOT array_has(sizes, 1.5)", "abd"),
        ("array_length(tags) = 2", "ad"),
        ("blob IS NULL", "c"),
        ("lower(upper(colour)) LIKE 'r_d' AND length(trim(colour)) = 3", "a"),
        ("starts_with(colour, 'r') OR ends_with(colour, 'ue') OR contains(colour, '1')", "abd"),
        ("colour || '!' = 'red!' OR concat(colour, '?') = 'blue?'", "ab"),
        ("colour LIKE '%' || 'd'", "a"),
        ("abs(0 - price) = 10 AND round(weight) = 2", "a"),
        ("coalesce(price, 0) = 0 OR coalesce(colour, 'none') = 'none'", "c"),
        ("CAST(colour AS BIGINT) = 10", "d"),
        ("colour::double > 9.5", "d"),
        ("CAST(price AS TEXT) LIKE '1_'", "ab"),
        ("CAST(taken AS DATE) = '1969-12-31'", "d"),
        ("price IS DISTINCT FROM 10", "bcd"),
        ("price IS NOT DISTINCT FROM NULL", "c"),
        ("1 = 1 AND 'a' < 'b' AND NOT 2 < 1", "abcd"),
        ("NULL = 1 OR price = NULL", ""),
        ("id = 'it''s' OR colour = ''", ""),
    ],
)
def test_a_condition_means_what_people_write(stored, where, ids):
    assert found(stored, where) == ids


def test_parameters_are_values_whatever_they_hold(stored):
    assert found(stored, "price < ? AND colour = ?", [11, "red"]) == "a"
    assert found(stored, "price < :most AND colour = :name OR price = :most", {"most": 11, "name": "red"}) == "ab"
    assert found(stored, "colour IN :names", {"names": ["red", "blue"]}) == "ab"
    assert found(stored, "colour IN (:names)", {"names": ("red", "blue")}) == "ab"
    assert found(stored, "colour IN (?, ?)", ["red", "blue"]) == "ab"
    assert found(stored, "colour NOT IN ?", [[]]) == "abcd" and found(stored, "colour IN ?", [[]]) == ""
    assert found(stored, "colour = ?", ["x' OR '1'='1"]) == ""
    assert found(stored, "price IN ?", [np.array([10, 11])]) == "ab" == found(stored, "price IN ?", [{10, 11}])
    assert found(stored, "price = ? AND weight < ?", [np.int64(10), np.float32(2)]) == "a"
    assert found(stored, "price < ?", ["12.5"]) == "ab" and found(stored, "sold = ?", [True]) == "ad"
    assert found(stored, "day = ? AND day < ?", [date(2024, 5, 1), datetime(2024, 5, 1, 12)]) == "a"
    assert found(stored, "day = ?", [np.datetime64("2024-05-01")]) == "a"
    assert found(stored, "berlin = ?", [datetime(1970, 1, 1, tzinfo=UTC)]) == "a"
    assert found(stored, "taken = ?", [datetime(1970, 1, 1) + timedelta(hours=1)]) == "b"
    assert found(stored, "opens = ?", [time(9)]) == "b" and found(stored, "cost = ?", [Decimal("1.50")]) == "a"
    assert found(stored, "weight = ?", [float("nan")]) == "b" and found(stored, "price > ?", [-(10**5000)]) == "abd"
    assert found(stored, "price = :limit OR price = :from", {"limit": 10, "from": 11}) == "ab"
    assert found(stored, "price = ?", [None]) == "" and found(stored, "price IS DISTINCT FROM ?", [None]) == "abd"
    assert found(stored, "array_has_any(tags, ?)", [["y", "z"]]) == "ad"
    assert found(stored, "':a' = ':a' AND price = :a", {"a": 10}) == "a"


@pytest.mark.parametrize(
    ("where", "params", "says"),
    [
        ("price = ?", [], "more \\? than"),
        ("price = ?", [1, 2], "2 parameters are given for 1"),
        ("price = :a", {"b": 1, "a": 1}, "no :b in it"),
        ("price = :a OR price = ?", {"a": 1}, "one kind"),
        ("price = ?", {"a": 1}, "more"),
        ("price = ?", [[1, 2]], "give lists to IN"),
        ("price = ?", [object()], "must be None, a bool"),
        ("price = ?", [1j], "must be None, a bool"),
        ("price = ?", [b"1"], "must be None, a bool"),
        ("price IN ?", [["a"]], "no number"),
        ("array_has_any(tags, ?)", [[]], "something in it"),
        ("colour LIKE ?", ["%a" * 10_000], "at most 10,000"),
        ("colour LIKE ?", [5], "in quotes"),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused(where, params, says):
    import re

    assert re.search(says, refusal(where, params))


@pytest.mark.parametrize("params", ["price", 5, {1: 2}, [{"a": 1}], [[[1]]]])
def test_parameters_of_a_wrong_form_are_refused(params):
    with pytest.raises(BadSpec, match=r"^[^\n]+$"):
        Params.of(params)


def test_true_and_one_are_different_parameters():
    assert Params.of([True]) != Params.of([1]) != Params.of([1.0]) and Params.of([[1]]) != Params.of([[True]])
    assert Params.of({"a": 1}) == Params.of({"a": 1}) and hash(Params.of([[1]])) == hash(Params.of([(1,)]))


def test_size_and_depth_are_bounded_and_chains_are_not_deep(stored):
    assert found(stored, " OR ".join(f"price = {n}" for n in range(3000))) == "ab"
    assert found(stored, " AND ".join(["price <> 11"] * 3000)) == "ad"
    assert found(stored, f"price IN ({', '.join(map(str, range(10_000)))})") == "ab"
    assert found(stored, "price IN ?", [range(100_000)]) == "ab"
    assert found(stored, "id NOT IN ?", [[f"it's {n}" for n in range(100_000)]]) == "abcd"
    assert found(stored, "(" * 49 + "price < 11" + ")" * 49) == "a"
    assert found(stored, "price" + " + 1" * 40 + " = 50") == "a"
    for deep in (
        "price" + "+1" * 1000 + " < 5",
        "price" + "+1" * 30_000 + " < 5",
        "(" * 1000 + "price < 11" + ")" * 1000,
        "NOT " * 10_000 + "sold",
        "- " * 30_000 + "price < 5",
        "price < " + "(" * 20_000,
        "lower(" * 60 + "colour" + ")" * 60 + " = 'x'",
        "(sold = " * 60 + "sold" + ")" * 60,
    ):
        assert "50 levels" in refusal(deep)
    for long in ("price = 1 OR " * 6000 + "price = 2", "colour = '" + "é" * (LONGEST // 2) + "'"):
        assert "64 KB" in refusal(long)


def test_the_recursion_limit_is_as_it_was():
    before = sys.getrecursionlimit()
    refusal("(" * 45 + "price < < 11" + ")" * 45)
    assert sys.getrecursionlimit() == before


def test_a_condition_tells_which_columns_it_names():
    named = compile(FIELDS, Condition("Price < 5 OR 'z' IN tags AND length(\"colour\") > 1")).columns
    assert (
        named == {"price", "tags", "colour"} and compile(FIELDS, Condition("1 = 1 AND NOT 'a' = 'b'")).columns == set()
    )


def test_what_grows_by_doubling_is_refused_in_time():
    for pattern in ("({} IS NULL AND sold)", "(({}) = (sold OR price > 1))"):
        where = "sold"
        for _ in range(23):
            where = pattern.format(where)
        assert "too complex" in refusal(f"NOT {where}")
