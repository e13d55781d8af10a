"""Work that ranks share before training: numbered pieces, each done once, by the rank that claims it first."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from quiver.encoders._train.rank import share, turns

#: Seconds between two looks at what other ranks have done.
_PAUSE = 0.05


def divided(
    count: int, *, done: Callable[[int], bool], work: Callable[[int], None], folder: Path | None
) -> Iterator[int]:
    """Do what is left of ``count`` pieces of work, together with the other ranks; yield the number of each done one.

    Ranks start at different pieces. A piece is claimed by a lock on a file, which ends with its process: what a rank
    that was killed leaves is done by another one.

    Args:
        count: number of pieces.
        done: whether a piece is done, by any rank.
        work: does one, so that ``done`` is true afterwards.
        folder: for the locks, on a disk that all ranks see; None where every rank does everything for itself.

    Raises:
        Exception: what ``work`` raises.
    """
    left = turns(count)
    alone = folder is None or share()[1] == 1
    while left:
        busy = []
        for number in left:
            if not done(number):
                with _claimed(None if alone or folder is None else folder / f"{number:06d}.lock") as mine:
                    if not mine:
                        busy.append(number)
                        continue
                    if not done(number):
                        work(number)
            yield number
        left = busy
        if left:
            time.sleep(_PAUSE)


@contextmanager
def _claimed(path: Path | None) -> Iterator[bool]:
    """Hold a lock within the block, and say whether it is held; a disk without locks claims nothing for anybody."""
    from filelock import FileLock, Timeout

    if path is None:
        yield True
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except (NotImplementedError, OSError):  # no locks there: a piece that two ranks do is the same twice
        yield True
        return
    try:
        yield True
    finally:
        lock.release()
        path.unlink(missing_ok=True)
