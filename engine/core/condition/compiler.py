"""From the syntax tree of a condition to Lance's SQL: only what is listed here is allowed, everything else refused."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlglot import exp

from quiver.engine.core import sql
from quiver.engine.core.condition import calls, terms
from quiver.engine.core.condition.domains import Domain, Text
from quiver.engine.core.condition.syntax import DEEPEST, TOO_DEEP, Syntax
from quiver.engine.core.condition.terms import Constants, Operator, Part, Term
from quiver.engine.core.condition.values import Constant, number
from quiver.errors import BadSpec
from quiver.wording import nearest

#: What a node may have besides what it is made of; anything else it has is not understood.
_PLAIN = {"this", "expression", "expressions"}
_MORE: Mapping[type[exp.Expr], set[str]] = {
    exp.Between: {"low", "high"},
    exp.In: {"field"},
    exp.Cast: {"to"},
    exp.TryCast: {"to", "safe"},
    exp.Literal: {"is_string"},
    exp.DPipe: {"safe"},
    exp.Like: {"negate"},
    exp.ILike: {"negate"},
    exp.Div: {"typed", "safe"},
}
_COMPARISONS: Mapping[type[exp.Expr], Operator] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
}  # fmt: skip
_ARITHMETIC: Mapping[type[exp.Expr], calls.Sign] = {
    exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.Mod: "%",
}  # fmt: skip
_TYPES = {
    "int": "TINYINT SMALLINT INT BIGINT",
    "float": "FLOAT DOUBLE",
    "text": "TEXT VARCHAR CHAR",
    "bool": "BOOLEAN",
    "date": "DATE",
    "stamp": "TIMESTAMP DATETIME",
    "zoned": "TIMESTAMPTZ",
    "time": "TIME",
}
_CAST_TO = {name: target for target, names in _TYPES.items() for name in names.split()}
#: Words for what is asked for most and not there.
_HINTS = {
    "Case": "CASE is not supported: join conditions by AND and OR",
    "Select": "queries within a condition are not supported",
    "Subquery": "queries within a condition are not supported",
    "Parameter": "a parameter is written as :name or ?",
    "Alias": "a second word where an operator should be",
    "Interval": "intervals are not supported: give the date as a parameter",
}


#: Letters of a LIKE pattern: matching takes time in proportion to them.
_LONGEST_PATTERN = 10_000
_PREDICATES = (
    *_COMPARISONS, exp.Is, exp.In, exp.Between, exp.Like, exp.ILike, exp.Escape, exp.Not,
    exp.NullSafeEQ, exp.NullSafeNEQ,
)  # fmt: skip


class Compiler:
    """One condition on its way to SQL.

    Attributes:
        columns: the columns that it names.
    """

    def __init__(self, syntax: Syntax, given: Mapping[str | int, Any], domains: Mapping[str, Domain]) -> None:
        self.columns: set[str] = set()
        self._syntax = syntax
        self._given = given
        self._domains = domains

    def compile(self) -> str:
        """Return the SQL.

        Raises:
            BadSpec: something in it is not allowed, or does not fit the columns.
        """
        return terms.condition(self._part(self._syntax.tree, 1))[0]

    def _part(self, node: exp.Expr, level: int) -> Part:
        if level > DEEPEST:
            raise BadSpec(TOO_DEEP)
        while isinstance(node, exp.Paren):
            node = node.this
        kind = type(node)
        _check_plain(node)
        if kind in (exp.And, exp.Or):
            parts = [self._part(each, level + 1) for each in _chain(node)]
            return terms.joined("AND" if kind is exp.And else "OR", parts)
        if kind in _COMPARISONS:
            return self._compared(node, level)
        if kind in _ARITHMETIC:
            return calls.arithmetic(_ARITHMETIC[kind], self._part(node.this, level + 1), self._right(node, level))
        make = _NODES.get(kind)
        if make is None:
            raise BadSpec(_HINTS.get(kind.__name__, f"{_shown(node)} is not supported"))
        return cast(Part, make(self, node, level))

    def _right(self, node: exp.Expr, level: int) -> Part:
        return self._part(node.args["expression"], level + 1)

    def _column(self, node: exp.Column, level: int) -> Part:
        written = ".".join(part.name for part in node.parts)
        quoted = any(part.args.get("quoted") for part in node.parts)
        name = self._resolved(written, quoted)
        self.columns.add(name)
        return Term(sql.name(name), self._domains[name], name)

    def _resolved(self, written: str, quoted: bool) -> str:
        if written in self._domains:
            return written
        alike = [name for name in self._domains if name.lower() == written.lower()]
        if len(alike) == 1 and not quoted:
            return alike[0]
        begins = sorted((name for name in self._domains if not quoted and _begins(name, written)), key=len)
        near = begins[0] if begins else nearest(written, self._domains)
        hint = f"did you mean {_quoted(near)}? " if near else ""
        raise BadSpec(
            f"there is no column {written!r}: {hint}a text takes single quotes, as in '{written}'; there are"
            f" {', '.join(map(_quoted, self._domains))}"
        )

    def _placeholder(self, node: exp.Placeholder, level: int) -> Part:
        value = self._parameter(node)
        if isinstance(value, tuple):
            raise BadSpec("a list stands where one value is needed: give lists to IN")
        return value

    def _parameter(self, node: exp.Placeholder) -> Constant | Constants:
        return cast("Constant | Constants", self._given[self._syntax.names[int(node.name[1:])]])

    def _compared(self, node: exp.Expr, level: int) -> Part:
        operator = _COMPARISONS[type(node)]
        _check_brackets(node)
        for one, other in ((node.this, node.args["expression"]), (node.args["expression"], node.this)):
            if operator == "=" and isinstance(other, exp.Anonymous | exp.Any) and other.name.lower() in ("any", ""):
                column = other.expressions[0] if isinstance(other, exp.Anonymous) else other.this
                return calls.holds("ANY", (self._part(column, level + 1), self._part(one, level + 1)))
        return terms.compare(operator, self._part(node.this, level + 1), self._right(node, level))

    def _not(self, node: exp.Not, level: int) -> Part:
        return terms.negated(self._part(node.this, level + 1))

    def _is(self, node: exp.Is, level: int) -> Part:
        wanted = node.args["expression"]
        if not isinstance(wanted, exp.Null | exp.Boolean):
            raise BadSpec(f"{_shown(node)}: IS is followed by NULL, TRUE, FALSE or DISTINCT FROM")
        value = bool(wanted.this) if isinstance(wanted, exp.Boolean) else None
        return terms.is_value(self._part(node.this, level + 1), value)

    def _between(self, node: exp.Between, level: int) -> Part:
        part = self._part(node.this, level + 1)
        if isinstance(part, Term) and part.predicate:
            raise BadSpec("a condition is not BETWEEN two values")
        low, high = (self._part(node.args[name], level + 1) for name in ("low", "high"))
        return terms.joined("AND", [terms.compare(">=", part, low), terms.compare("<=", part, high)])

    def _in(self, node: exp.In, level: int) -> Part:
        part, field = self._part(node.this, level + 1), node.args.get("field")
        if field is None:
            listed = [self._part(each, level + 1) for each in node.expressions if not self._is_list(each)]
            lists = [self._parameter(_bare(each)) for each in node.expressions if self._is_list(each)]
            if not listed and not lists:
                raise BadSpec("IN () is empty: list something, or give a parameter")
            listed += [each for some in lists for each in cast(Constants, some)]
        elif isinstance(_bare(field), exp.Placeholder):
            value = self._parameter(_bare(field))
            listed = list(value) if isinstance(value, tuple) else [value]
        else:
            return calls.holds("IN", (self._part(field, level + 1), part))
        return self._member(part, listed)

    def _member(self, part: Part, listed: Sequence[Part]) -> Part:
        constants = [each for each in listed if isinstance(each, Constant)]
        others = [each for each in listed if isinstance(each, Term)]
        if isinstance(part, Term) and not others:
            return terms.member(part, constants)
        if (isinstance(part, Term) and part.predicate) or any(each.predicate for each in others):
            raise BadSpec("a condition is not looked for IN a list: compare it with true or false")
        return terms.joined("OR", [terms.compare("=", part, each) for each in listed] or [terms.truth(False)])

    def _is_list(self, node: exp.Expr) -> bool:
        return isinstance(_bare(node), exp.Placeholder) and isinstance(self._parameter(_bare(node)), tuple)

    def _like(self, node: exp.Like | exp.ILike, level: int, escape: str = "\\") -> Part:
        part, pattern = self._part(node.this, level + 1), self._right(node, level)
        word = "ILIKE" if isinstance(node, exp.ILike) else "LIKE"
        if not isinstance(pattern, Constant):
            raise BadSpec(f"{word} takes a pattern in quotes, not the column {pattern.name}")
        if pattern.value is None or (isinstance(part, Constant) and part.value is None):
            return terms.truth(None)
        if not isinstance(part, Term) or part.domain.kind != "text":
            held = f"{part.name} holds {part.domain.says}" if isinstance(part, Term) else f"{part} is no column"
            raise BadSpec(f"{word} needs text: {held}: write CAST(... AS TEXT), or array_has for a list")
        Text().place(pattern, equal=False)
        if len(pattern.written) > _LONGEST_PATTERN:
            raise BadSpec(f"a pattern of {word} has at most {_LONGEST_PATTERN:,} letters")
        written = _pattern(pattern.written, escape)
        found, other = (f"({part.sql} {no}{word} {sql.text(written)})" for no in ("", "NOT "))
        return terms.predicate(other, found) if node.args.get("negate") else terms.predicate(found, other)

    def _escape(self, node: exp.Escape, level: int) -> Part:
        inner, mark = node.this, node.args["expression"]
        if not isinstance(inner, exp.Like | exp.ILike) or not isinstance(mark, exp.Literal) or len(mark.name) != 1:
            raise BadSpec("ESCAPE takes one character in quotes, after LIKE and its pattern")
        _check_plain(inner)
        return self._like(inner, level, mark.name)

    def _distinct(self, node: exp.NullSafeNEQ | exp.NullSafeEQ, level: int) -> Part:
        _check_brackets(node)
        found = terms.distinct(self._part(node.this, level + 1), self._right(node, level))
        return found if isinstance(node, exp.NullSafeNEQ) else terms.negated(found)

    def _cast(self, node: exp.Cast, level: int) -> Part:
        to = node.args["to"]
        name = to.this.name if isinstance(to, exp.DataType) and isinstance(to.this, exp.DType) else str(to)
        target = _CAST_TO.get(name)
        if target is None or to.expressions:
            raise BadSpec(
                f"a cast to {_shown(to)} is not supported: there are BIGINT, DOUBLE, TEXT, BOOLEAN, DATE, TIMESTAMP"
            )
        return calls.cast(self._part(node.this, level + 1), target)

    def _call(self, node: exp.Anonymous, level: int) -> Part:
        return calls.call(str(node.this), [self._argument(each, level) for each in node.expressions])

    def _argument(self, node: exp.Expr, level: int) -> Part | Constants:
        inner = _bare(node)
        if isinstance(inner, exp.Array) or (isinstance(inner, exp.Anonymous) and inner.name.lower() == "make_array"):
            found = [self._part(each, level + 2) for each in inner.expressions]
            if any(isinstance(each, Term) for each in found):
                raise BadSpec(f"{_shown(inner)}: a list holds constants")
            return cast(Constants, tuple(found))
        return self._parameter(inner) if isinstance(inner, exp.Placeholder) else self._part(node, level + 1)

    def _extract(self, node: exp.Extract, level: int) -> Part:
        return calls.part_of_date(node.this.name.lower(), self._right(node, level))

    def _literal(self, node: exp.Literal, level: int) -> Part:
        return Constant(node.name, node.name) if node.is_string else number(node.name)


_NODES: Mapping[type[exp.Expr], Any] = {
    exp.Column: Compiler._column,
    exp.Placeholder: Compiler._placeholder,
    exp.Literal: Compiler._literal,
    exp.Null: lambda *_: calls.NULL,
    exp.Boolean: lambda _, node, level: terms.truth(bool(node.this)),
    exp.Not: Compiler._not,
    exp.Is: Compiler._is,
    exp.Between: Compiler._between,
    exp.In: Compiler._in,
    exp.Like: Compiler._like,
    exp.ILike: Compiler._like,
    exp.Escape: Compiler._escape,
    exp.NullSafeEQ: Compiler._distinct,
    exp.NullSafeNEQ: Compiler._distinct,
    exp.Cast: Compiler._cast,
    exp.TryCast: Compiler._cast,
    exp.Anonymous: Compiler._call,
    exp.Extract: Compiler._extract,
    exp.Neg: lambda self, node, level: calls.negative(self._part(node.this, level + 1)),
    exp.DPipe: lambda self, node, level: calls.concatenated(
        "||", (self._part(node.this, level + 1), self._right(node, level))
    ),
}


def _chain(node: exp.Expr) -> list[exp.Expr]:
    """Return the operands of a chain of ANDs or of ORs, in order, however long it is."""
    kind, found, waiting = type(node), [], [node]
    while waiting:
        each = waiting.pop()
        inner = _bare(each)
        if type(inner) is kind:
            _check_plain(inner)
            waiting += [inner.args["expression"], inner.this]
        else:
            found.append(each)
    return found


def _bare(node: exp.Expr) -> Any:
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def _check_plain(node: exp.Expr) -> None:
    """Refuse what a node has beside its operands: whatever is not looked at would be dropped."""
    allowed = _PLAIN | _MORE.get(type(node), set())
    if type(node) is exp.Column:
        allowed = {"this", "table", "db", "catalog"}
    odd = [name for name, value in node.args.items() if value and name not in allowed]
    if odd and not isinstance(node, exp.DataType):
        raise BadSpec(_HINTS.get(type(node).__name__, f"{_shown(node)} is not supported"))


def _check_brackets(node: exp.Expr) -> None:
    """Refuse a comparison of a comparison without brackets, which SQL dialects read in different ways."""
    for operand in (node.this, node.args["expression"]):
        if type(operand) in _PREDICATES:
            raise BadSpec(f"{_shown(node)} is read in different ways: 1 < x < 5 is x > 1 AND x < 5; else put brackets")


def _quoted(name: str) -> str:
    """Write the name of a column as a condition takes it.

    >>> _quoted("price"), _quoted("base colour")
    ('price', '"base colour"')
    """
    return name if name.isidentifier() else f'"{name}"'


def _begins(name: str, written: str) -> bool:
    """Whether a word is the beginning of a name with other characters than letters: ``a`` of ``a-b``."""
    rest = name.lower().removeprefix(written.lower())
    return rest not in (name.lower(), "") and not (rest[0].isalnum() or rest[0] == "_")


def _shown(node: exp.Expr) -> str:
    try:
        return repr(node.sql()[:60])
    except (ValueError, RecursionError):
        return type(node).__name__


def _pattern(written: str, escape: str) -> str:
    """Write a LIKE pattern with a backslash as its escape character."""
    found, at = [], 0
    while at < len(written):
        letter = written[at]
        if letter == escape and at + 1 < len(written):
            at += 1
            letter = written[at]
            found.append(f"\\{letter}" if letter in "%_\\" else letter)
        else:
            found.append("\\\\" if letter == "\\" else letter)
        at += 1
    return "".join(found)
