"""Answers as data frames, by way of their Arrow tables."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class _Arrow(Protocol):
    def to_arrow(self) -> "pa.Table":
        """Return an Arrow table."""
        ...


class Frames:
    """Adds data frames to a class that has ``to_arrow``."""

    __slots__ = ()

    def to_pandas(self: _Arrow) -> Any:
        """Return the hits as a pandas data frame with the columns of ``to_arrow``.

        Raises:
            MissingExtra: pandas is not installed.
        """
        from quiver.engine.execution import output

        return output.to_pandas(self.to_arrow())

    def to_polars(self: _Arrow) -> Any:
        """Return the hits as a polars data frame with the columns of ``to_arrow``.

        Raises:
            MissingExtra: polars is not installed.
        """
        from quiver.engine.execution import output

        return output.to_polars(self.to_arrow())
