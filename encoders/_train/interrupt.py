"""Ctrl-C and SIGTERM: a training stops between two updates, never in the middle of one, and saves its state.

Schedulers (SLURM, Kubernetes, torchrun) end a job by SIGTERM and kill it some time later.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from quiver.encoders._train.rank import anywhere


class Stopped(KeyboardInterrupt):
    """A signal asked for the end.

    Args:
        number: of the signal.
        together: all ranks stop after the same update.

    Attributes:
        status: exit status of the process, 128 and the signal's number, as shells and schedulers report it.
    """

    def __init__(self, number: int, *, together: bool = False) -> None:
        super().__init__(signal.Signals(number).name)
        self.status, self.together = 128 + number, together


class Signals:
    """SIGINT and SIGTERM while a training runs.

    One process stops at once, except within ``held_back``. Several stop together, after the same update: the first
    signal is kept until ``due`` finds it on any rank, and only a second one stops a rank at once.

    Args:
        together: there are other ranks.
    """

    def __init__(self, *, together: bool) -> None:
        self._together = together
        self._caught = 0
        self._held = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Within the block, the signals raise Stopped; outside of the main thread they are not touched."""
        with _handled(self._catch):
            yield

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Delay a signal to the end of the block, so that weights and optimiser belong to the same step.

        Raises:
            Stopped: after the block, where a signal came during it and there are no other ranks.
        """
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._caught and not self._together:
            raise Stopped(self._caught)

    def check(self, place: torch.device) -> None:
        """Stop all ranks if one of them was asked to; every rank must call.

        Raises:
            Stopped: it was.
        """
        if self._together and (number := anywhere(self._caught, place)):
            raise Stopped(number, together=True)

    def _catch(self, number: int, _: FrameType | None) -> None:
        again, self._caught = self._caught, number
        if not self._held and (again or not self._together):
            raise Stopped(number)


@contextmanager
def shielded() -> Iterator[None]:
    """Within the block, no signal interrupts: files are written whole."""
    with _handled(signal.SIG_IGN):
        yield


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> Iterator[None]:
    """Give SIGINT and SIGTERM a handler within the block; outside of the main thread, which alone gets them, none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Within the block, signals wait; what they raise is raised at its end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def stoppable() -> Iterator[None]:
    """Within the block, SIGTERM raises Stopped, so that work is put away as after Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
