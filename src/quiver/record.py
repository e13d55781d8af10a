"""The base of the descriptions that a collection returns: a dataclass that can be read like a dict."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any


class Record:
    """A dataclass whose fields can be read like those of a dict, for one more release."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(name)
        return getattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Mapping):
            return self.to_dict() == other
        return isinstance(other, Record) and type(other) is type(self) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # mappings and lists have none either

    def keys(self) -> list[str]:
        """Return the names of the fields."""
        return [each.name for each in fields(self)]  # type: ignore[arg-type]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field by name, or ``default`` if there is no such field."""
        return getattr(self, name) if name in self else default

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as dicts, lists and plain values, for JSON."""
        return asdict(self)  # type: ignore[call-overload]
