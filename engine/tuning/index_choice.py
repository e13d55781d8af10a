"""Which index to build: by how many vectors there are, how wide, how much memory there is, and how often they change.

Small collections stay exact. Larger ones are parted into the square root of n lists of codes of 4 bits, which are
scanned fast, and the best rescored from the vectors; what memory does not hold is searched on disk. Autofaiss
(https://github.com/criteo/autofaiss, Apache-2.0), whose rules these were, builds graphs where memory allows, and 4
times as many lists. On 100,000 x 128 and 50,000 x 784 real vectors our lists took half the time of a graph at recall
0.95 and 0.99, alone and in batches, and a third of the time to build; with 4 times as many it was 1.5 times as long.
Graphs are left for widths that cannot be cut into codes.
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

#: An exact scan that takes so many milliseconds at most is hardly more than the rest of a search: 0.2 ms.
_CHEAP = 0.5
#: So few vectors are scanned whatever the machine seemed to take: autofaiss's rule for Flat.
_FEW = 1_000
#: Graphs are built for so many numbers (rows x width) at most: the time they take to build grows faster than the rows.
_GRAPH = 1 << 26
#: Links of a graph's node: below the least it finds too little, above the most nothing is gained.
_LEAST, _MOST = 8, 32
#: Vectors to train on, per list.
_TRAIN = 128
#: Up to this width a code stands for two numbers, above it for four.
_NARROW = 128
#: Share of the free memory that is used unless told otherwise.
_SHARE = 0.8
#: Bytes a second copy of the vectors takes, of one byte a number, that exact scans go by; and of two row numbers each.
_COPY, _ROW = 1, 24


@dataclass(frozen=True, slots=True)
class Choice:
    """An index that may be built.

    Attributes:
        kind: of index.
        options: to build it with.
        held: bytes in memory once it serves, the vectors themselves included where they have to be there.
        build: bytes at most while it is built and measured.
        why: what speaks for it.
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
        rows: how many there are.
        machine: what it takes to scan them.
        memory: bytes that may be used; None for four fifths of what is free.
        updates: whether vectors come and go often, so that an index is built again and again.

    Raises:
        BadSpec: memory allows none.
    """
    budget = free() if memory is None else memory
    every = list(_choices(space, rows, machine, budget, updates))
    for choice in every:
        if choice.build <= budget:
            return choice
    least = min(every, key=lambda choice: choice.build)
    raise BadSpec(
        f"{size(budget)} of memory allow no index of {_named(space, rows)}: {least} needs {size(least.build)}"
    )


def admit(
    space: Space, rows: int, kind: str, options: Mapping[str, str], *, memory: int | None, machine: Machine
) -> Choice:
    """Return an index that was named with what it takes.

    Raises:
        BadSpec: it takes more memory than there is; the message says what would fit.
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
    """Say whether memory allows an exact scan."""
    return _exact(space, rows) <= (free() if memory is None else memory)


def free() -> int:
    """Return bytes of memory that may be used: most of what the system and the container have left."""
    import psutil

    left = [psutil.virtual_memory().available, *_contained()]
    return int(_SHARE * min(left))


def parse(text: str) -> int:
    """Read an amount of memory.

    >>> parse("8GB"), parse("1.5 GiB"), parse("250M")
    (8000000000, 1610612736, 250000000)

    Raises:
        BadSpec: it is none.
    """
    units = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
    units |= {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
    number = text.strip().lower().removesuffix("b").rstrip("kmgti ")
    unit = text.strip().lower().removesuffix("b")[len(number) :].strip()
    try:
        return int(float(number) * units[unit])
    except (ValueError, KeyError):
        raise BadSpec(f"memory is given as 8GB or 500MiB, not {text!r}") from None


def size(amount: float) -> str:
    """Write bytes for people.

    >>> size(1_234_000_000)
    '1.23 GB'
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if amount >= scale:
            return f"{amount / scale:.3g} {unit}"
    return f"{amount / 1e3:.3g} kB"


def _choices(space: Space, rows: int, machine: Machine, budget: int, updates: Updates) -> Iterator[Choice]:
    """Yield what may be built, the best first."""
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
    """Return how many codes of 4 bits stand for a vector; 0 where its width allows no parts."""
    most = dim // (2 if dim <= _NARROW else 4)
    return next((parts for parts in range(most, dim // 8, -1) if dim % parts == 0), 0)


def _named(space: Space, rows: int) -> str:
    return f"{rows:,} vectors of {space.dim}"


def _contained() -> Iterator[int]:
    """Yield what the container has left, where it has a limit."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        if limit != "max":
            yield max(0, int(limit) - int((folder / "memory.current").read_text()))
    except (OSError, ValueError):
        return
