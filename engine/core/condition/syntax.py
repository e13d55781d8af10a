"""From the text of a condition to a syntax tree, by sqlglot (https://github.com/tobymao/sqlglot, MIT).

The grammar is SQL's, with names in double quotes or backticks, and nothing that sqlglot knows of particular functions:
every call stays a name with arguments. The tree stands for the whole text: comments, a second statement and anything
else that would be dropped is refused.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any, ClassVar

from sqlglot import exp, parser, tokens
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from quiver.errors import BadSpec

#: Bytes of a condition, without its parameters.
LONGEST = 64 * 1024
#: Levels of brackets, and of operations within operations; chains of AND and of OR count as one.
DEEPEST = 50
TOO_DEEP = f"it has more than {DEEPEST} levels of nesting: write it flatter"
#: Levels that need no more room on Python's stack than there is.
_SHALLOW = 15
_ROOM = 4_000
#: Two words side by side at the end of what was read.
_WORDS = re.compile(r"\b[^\W\d]\w*( \w+)+$")
_STACK = Lock()


class _Conditions(Dialect):
    class Tokenizer(tokens.Tokenizer):
        IDENTIFIERS: ClassVar[list[str | tuple[str, str]]] = ['"', "`"]

    class Parser(parser.Parser):
        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
            name: parse
            for name, parse in parser.Parser.FUNCTION_PARSERS.items()
            if name in ("CAST", "TRY_CAST", "EXTRACT")
        }
        NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}
        NO_PAREN_FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Syntax:
    """A condition that was read.

    Attributes:
        tree: its syntax tree; a parameter is a ``Placeholder`` called by its place in ``names``.
        names: the parameters in the order of the text: names, or numbers from 0 for question marks.
    """

    tree: exp.Expr
    names: tuple[str | int, ...]


@lru_cache(maxsize=256)
def parse(text: str) -> Syntax:
    """Read a condition.

    Raises:
        BadSpec: it is empty, too long, too deep, or not one SQL expression from end to end.
    """
    if len(text.encode(errors="replace")) > LONGEST:
        raise BadSpec(
            f"it is longer than {LONGEST // 1024} KB: give long lists as parameters, such as id IN :ids, which may be"
            " of any length"
        )
    dialect = _Conditions()
    try:
        found = dialect.tokenize(text)
    except TokenError as error:
        raise BadSpec(f"it cannot be read: {_plain(str(error))}") from None
    if not found:
        raise BadSpec("it is empty")
    _check_whole(text, found)
    depth = _depth(found)
    if depth > DEEPEST:
        raise BadSpec(TOO_DEEP)
    marked, names = _mark(text, found)
    try:
        with _room(depth):
            trees = dialect.parse(marked)
    except ParseError as error:
        raise BadSpec(_complaint(error)) from None
    except RecursionError:
        raise BadSpec(TOO_DEEP) from None
    if len(trees) != 1 or trees[0] is None:
        raise BadSpec("it is not one expression")
    return Syntax(trees[0], names)


def _check_whole(text: str, found: Sequence[Token]) -> None:
    """Refuse what the tokenizer leaves out, such as comments, and what ends a statement."""
    end = 0
    for token in found:
        if token.token_type == TokenType.SEMICOLON:
            raise BadSpec("it goes on after a semicolon: a condition is one expression")
        _check_gap(text[end : token.start])
        end = token.end + 1
    _check_gap(text[end:])


def _check_gap(gap: str) -> None:
    if gap.strip():
        what = "comments are not read" if gap.strip().startswith(("--", "/*", "{#")) else "it cannot be read"
        raise BadSpec(f"{what}: {gap.strip()[:40]!r}")


def _depth(found: Sequence[Token]) -> int:
    """Return the levels of brackets, and of NOT and signs in a row, at the deepest place."""
    opening = (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE)
    closing = (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE)
    signs = (TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE)
    level = run = deepest = 0
    for token in found:
        kind = token.token_type
        level += (kind in opening) - (kind in closing)
        run = run + 1 if kind in signs else run if kind in opening else 0
        deepest = max(deepest, level + run)
    return deepest


def _mark(text: str, found: Sequence[Token]) -> tuple[str, tuple[str | int, ...]]:
    """Name every parameter by its place, so that any word may be the name of one and question marks keep their order.

    Raises:
        BadSpec: there are parameters of both kinds.
    """
    names: list[str | int] = []
    parts: list[str] = []
    end = at = 0
    while at < len(found):
        token, following = found[at], found[at + 1] if at + 1 < len(found) else None
        named = (
            token.token_type == TokenType.COLON
            and following is not None
            and following.start == token.end + 1
            and following.text.isidentifier()
            and following.token_type not in (TokenType.STRING, TokenType.IDENTIFIER)
        )
        if named or token.token_type == TokenType.PLACEHOLDER:
            last = following if named and following is not None else token
            parts += [text[end : token.start], f" :p{len(names)} "]
            names.append(last.text if named else sum(isinstance(each, int) for each in names))
            end, at = last.end + 1, at + named
        at += 1
    if len({type(name) for name in names}) > 1:
        raise BadSpec("it mixes parameters by name (:name) and by position (?): use one kind")
    return "".join([*parts, text[end:]]), tuple(names)


@contextmanager
def _room(depth: int) -> Iterator[None]:
    """Let sqlglot, which takes some 20 Python frames for a level, parse the levels that are allowed."""
    if depth <= _SHALLOW:
        yield
        return
    with _STACK:
        usual = sys.getrecursionlimit()
        sys.setrecursionlimit(usual + _ROOM)
        try:
            yield
        finally:
            sys.setrecursionlimit(usual)


def _complaint(error: ParseError) -> str:
    told = error.errors[0] if error.errors else {}
    word, before = str(told.get("highlight") or ""), str(told.get("start_context") or "")[-30:].strip()
    if "Required keyword" in str(told.get("description") or error):
        return f"something is missing near {word!r}" if word else "something is missing at its end"
    after = f" after {before!r}" if before else ""
    if word and (names := _WORDS.search(before)):
        after += f'; a name of several words takes double quotes, as in "{names[0]}"'
    return f"{word!r} is not understood{after}" if word else f"it breaks off{after}"


def _plain(message: str) -> str:
    return message.split("\n", 1)[0].split(". Line", 1)[0]
