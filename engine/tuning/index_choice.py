"""Choose an index by number of vectors, dimension, memory and update rate.

Small collections stay exact. Larger ones get an inverted file with sqrt(n) lists of 4-bit product quantisation codes,
which are scanned fast, and the best candidates are rescored exactly. Collections that do not fit into memory are
searched on disk. The rules began as those of autofaiss (https://github.com/criteo/autofaiss, Apache-2.0), which builds
graphs if memory allows, and 4 times as many lists. On 100,000 x 128 and 50,000 x 784 real vectors these lists took half
the time of a graph at recall 0.95 and 0.99, single and batched, and a third of the build time; with 4 times as many
lists search took 1.5 times as long. Graphs remain for dimensions that cannot be divided into codes.
"""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from quiver import registry
from quiver.engine.statistics.cost_model import Machine
from quiver.errors import BadSpec
from quiver.types import Space

Updates = Literal["rare", "often"]

#: Exact scans up to this many milliseconds are not worth an index: the rest of a search takes 0.2 ms.
_CHEAP = 0.5
#: Up to this many vectors are always scanned exactly: autofaiss's rule for Flat.
_FEW = 1_000
#: Largest rows x dimension for a graph: its build time grows faster than the number of rows.
_GRAPH = 1 << 26
#: Links per node of a graph: fewer lose recall, more gain nothing.
_LEAST, _MOST = 8, 32
#: Training vectors per list.
_TRAIN = 128
#: Up to this dimension a code encodes two numbers, above it four.
_NARROW = 128
#: Default fraction of the free memory to use.
_SHARE = 0.8
#: Bytes per dimension of the int8 copy used by exact scans; bytes per row of the row-id maps.
_COPY, _ROW = 1, 24


@dataclass(frozen=True, slots=True)
class Choice:
    """An index that could be built.

    Attributes:
        kind: of index.
        options: build options.
        held: bytes of memory while it serves, including the vectors if they must be in memory.
        build: peak bytes while it is built and measured.
        why: reason for this choice.
    """

    kind: str
    options: dict[str, str]
    held: int
    build: int
    why: str

    def __str__(self) -> str:
        return " ".join([self.kind, *(f"{name}={value}" for name, value in self.options.items())])


def choose(
    space: Space, rows: int, *, machine: Machine, memory: int | None = None, updates: Updates = "rare"
) -> Choice:
    """Choose an index.

    Args:
        space: of the vectors.
        rows: number of vectors.
        machine: measured scan costs.
        memory: limit in bytes; None for four fifths of the free memory.
        updates: how often vectors change; ``often`` prefers indexes that are cheap to rebuild.

    Raises:
        BadSpec: no index fits into memory.
    """
    budget = free() if memory is None else memory
    every = list(_choices(space, rows, machine, budget, updates))
    for choice in every:
        if choice.build <= budget:
            return choice
    least = min(every, key=lambda choice: choice.build)
    raise BadSpec(
        f"{size(budget)} of memory are too little for any index of {_named(space, rows)}: "
        f"{least} needs {size(least.build)}"
    )


def admit(
    space: Space, rows: int, kind: str, options: Mapping[str, str], *, memory: int | None, machine: Machine
) -> Choice:
    """Return an index of a named kind with its memory needs.

    Raises:
        BadSpec: it needs more memory than there is; the message names an index that fits.
    """
    budget = free() if memory is None else memory
    named = _sized(space, rows, kind, options, "as asked")
    if named.build <= budget:
        return named
    allowed = "of memory are allowed" if memory is not None else "of memory can be used here"
    try:
        fits = choose(space, rows, machine=machine, memory=budget)
        hint = f"{fits} would fit, with {size(fits.build)}"
    except BadSpec:
        hint = "nothing else would fit either"
    raise BadSpec(
        f"{named} of {_named(space, rows)} takes about {size(named.build)} while it is built and {size(named.held)} to"
        f" serve, and {size(budget)} {allowed}: {hint}"
    )


def resident(space: Space, rows: int, memory: int | None) -> bool:
    """Whether the vectors fit into memory for an exact scan."""
    return _exact(space, rows) <= (free() if memory is None else memory)


def free() -> int:
    """Return the usable bytes of memory: most of the free memory of the system or container."""
    import psutil

    left = [psutil.virtual_memory().available, *_contained()]
    return int(_SHARE * min(left))


def parse(text: str) -> int:
    """Parse an amount of memory.

    >>> parse("8GB"), parse("1.5 GiB"), parse("250M")
    (8000000000, 1610612736, 250000000)

    Raises:
        BadSpec: the text is not an amount of memory.
    """
    units = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
    units |= {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
    number = text.strip().lower().removesuffix("b").rstrip("kmgti ")
    unit = text.strip().lower().removesuffix("b")[len(number) :].strip()
    try:
        return int(float(number) * units[unit])
    except (ValueError, KeyError):
        raise BadSpec(f"memory must look like 8GB or 500MiB, not {text!r}") from None


def size(amount: float) -> str:
    """Format bytes for people.

    >>> size(1_234_000_000)
    '1.23 GB'
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if amount >= scale:
            return f"{amount / scale:.3g} {unit}"
    return f"{amount / 1e3:.3g} kB"


def _choices(space: Space, rows: int, machine: Machine, budget: int, updates: Updates) -> Iterator[Choice]:
    """Yield the indexes that could be built, best first."""
    scan = machine.scanning(rows, space.dim).alone
    need = _exact(space, rows)
    if scan <= _CHEAP or rows <= _FEW:
        yield Choice("exact", {}, need, need, f"{rows:,} vectors are scanned exactly in about {scan:.2g} ms")
    links = int(min(_MOST, (budget / (4 * max(rows, 1)) - space.dim) / 2))
    lists, parts = _lists(rows), _parts(space.dim)
    if not parts and updates == "rare" and links >= _LEAST and rows * space.dim <= _GRAPH:
        why = f"no codes are made of {space.dim} numbers, memory allows a graph, and changes are rare"
        yield _sized(space, rows, "faiss", {"factory": f"HNSW{links}"}, why)
    codes = f"PQ{parts}x4fs" if parts else "SQ8"
    options = {"factory": f"IVF{lists},{codes},RFlat", "train": str(min(rows, _TRAIN * lists))}
    yield _sized(space, rows, "faiss", options, f"memory holds the vectors, in {lists:,} lists that are soon built")
    kind = "IVF_RQ" if space.dim % 8 == 0 else "IVF_PQ"
    yield _sized(space, rows, "lance", {"kind": kind}, "memory does not hold the vectors: they are searched on disk")
    if scan > _CHEAP:
        yield Choice("exact", {}, need, need, f"{rows:,} vectors are too few for an index")


def _sized(space: Space, rows: int, kind: str, options: Mapping[str, str], why: str) -> Choice:
    module, options = registry.module("indexers", kind), dict(options)
    if not hasattr(module, "memory"):
        return Choice(kind, options, 0, 0, why)
    values = registry.convert(module.over if kind == "lance" else module.build, options, name=kind)
    known = inspect.signature(module.memory).parameters
    needs = module.memory(space, rows, **{name: value for name, value in values.items() if name in known})
    if kind == "lance":
        return Choice(kind, options, needs.held, needs.build, why)
    raw = 4 * rows * space.dim
    return Choice(
        kind, options, needs.held + _exact(space, rows), max(needs.build + raw, needs.held + _exact(space, rows)), why
    )


def _exact(space: Space, rows: int) -> int:
    return rows * ((4 + _COPY) * space.dim + _ROW)


def _lists(rows: int) -> int:
    return max(1, int(min(rows**0.5, rows / _TRAIN)))


def _parts(dim: int) -> int:
    """Return the number of 4-bit codes per vector; 0 if the dimension cannot be divided."""
    most = dim // (2 if dim <= _NARROW else 4)
    return next((parts for parts in range(most, dim // 8, -1) if dim % parts == 0), 0)


def _named(space: Space, rows: int) -> str:
    return f"{rows:,} vectors of {space.dim}"


def _contained() -> Iterator[int]:
    """Yield the free memory of the container, if it has a limit."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        if limit != "max":
            yield max(0, int(limit) - int((folder / "memory.current").read_text()))
    except (OSError, ValueError):
        return
