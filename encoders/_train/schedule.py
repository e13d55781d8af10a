"""The learning rate, as a function of the number of updates done and of the plan alone."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from quiver.encoders._train.loop import Loop
from quiver.errors import BadSpec


def rate(loop: Loop, step: int, ends: Sequence[int] = ()) -> float:
    """Return the learning rate of one update.

    The warmup's line starts from 0 before the first update, so that no update is spent at rate 0.

    Args:
        loop: peak, warmup and schedule.
        step: updates done before this one.
        ends: last steps of earlier plans, ascending: there a cosine began anew (``extend=restart``).

    >>> loop = Loop(steps=6, batch=1, rate=0.4, warmup=2)
    >>> [round(rate(loop, step), 3) for step in range(6)]
    [0.2, 0.4, 0.4, 0.341, 0.2, 0.059]
    >>> loop = Loop(steps=12, batch=1, rate=0.4, warmup=2)
    >>> [round(rate(loop, step, [6]), 3) for step in range(4, 12)]
    [0.2, 0.059, 0.2, 0.4, 0.4, 0.341, 0.2, 0.059]
    """
    number = bisect_right(ends, step)
    begin, end = (ends[number - 1] if number else 0), (*ends, loop.steps)[number]
    if step - begin < loop.warmup:
        return loop.rate * (step - begin + 1) / loop.warmup
    if loop.schedule == "cosine":
        done = (step - begin - loop.warmup) / max(1, end - begin - loop.warmup)
        return loop.rate * (1 + math.cos(math.pi * min(1.0, done))) / 2
    return loop.rate * 0.5 ** (step // loop.halve_every) if loop.schedule == "halve" else loop.rate


def extended(loop: Loop, begun: Mapping[str, Any]) -> tuple[Loop, tuple[int, ...]]:
    """Return the loop of a run that goes on, and the ends of its earlier plans.

    Args:
        loop: as asked for, counted in updates.
        begun: ``terms`` and ``ends`` of the checkpoint that the run goes on from; {} for a new run.

    Raises:
        BadSpec: more steps than planned would raise the rate of a cosine.
    """
    if not begun:
        return loop, ()
    planned, ends = begun["terms"].get("steps", loop.steps), tuple(begun.get("ends", ()))
    if loop.steps > planned and loop.schedule == "cosine":
        if loop.extend == "refuse":
            raise BadSpec(refusal("steps", planned, loop.steps))
        ends = (*ends, planned)
    return loop, ends


def lasting(asked: Loop, counted: Loop, begun: Mapping[str, Any]) -> Loop:
    """Keep the warmup of a run's first plan where it was given as a share of all steps, which may have been raised."""
    if begun and asked.warmup_share:
        return replace(counted, warmup=begun["terms"].get("warmup", counted.warmup))
    return counted


def refusal(name: str, planned: Any, wanted: Any) -> str:
    """Return why a run with a cosine is not continued beyond its end, and what to do."""
    return (
        f"the run was planned for {name}={planned}, where its cosine ends: {name}={wanted} would raise the rate again "
        "in the middle. loop.extend=restart begins a second warmup and cosine after the first; --fresh starts over"
    )
