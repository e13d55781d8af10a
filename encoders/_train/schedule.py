"""The learning rate, as a function of the number of updates done and of nothing else."""

import math

from quiver.encoders._train.loop import Loop


def rate(loop: Loop, step: int) -> float:
    """Return the learning rate of one update.

    The warmup's line starts from 0 before the first update, so that no update is spent at rate 0.

    Args:
        loop: peak, warmup and schedule.
        step: updates done before this one.

    >>> loop = Loop(steps=6, batch=1, rate=0.4, warmup=2)
    >>> [round(rate(loop, step), 3) for step in range(6)]
    [0.2, 0.4, 0.4, 0.341, 0.2, 0.059]
    """
    if step < loop.warmup:
        return loop.rate * (step + 1) / loop.warmup
    if loop.schedule == "cosine":
        done = (step - loop.warmup) / max(1, loop.steps - loop.warmup)
        return loop.rate * (1 + math.cos(math.pi * min(1.0, done))) / 2
    return loop.rate * 0.5 ** (step // loop.halve_every) if loop.schedule == "halve" else loop.rate
