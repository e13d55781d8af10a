"""Weights of several losses, from the gradients they have (FashionBERT, section on adaptive loss).

    min over w of  -1/2 sum w_i^2 g_i^2 + 1/2 sum (w_i - w_j)^2   with  sum w = 1,  w >= 0

g_i^2 is the squared length of loss i's gradient in parameters all tasks share, L the number of tasks. On the simplex
this is 1/2 sum (c - g_i^2) w_i^2 plus a constant, with c = L when each pair of tasks counts once (the published
formula) and 2 L when the double sum is taken literally. While max g^2 < c it is strictly convex, and
w_i ~ 1 / (c - g_i^2): the larger the gradient, the larger the weight. From there on the minimum is one-hot at the
largest gradient, and the published formula gives negative weights; gradients of BERT usually are that large.

Reference: alibaba/EasyTransfer, ``pretrain_main.build_loss``, Apache-2.0; it takes softmax(losses)^2 for g^2 and
never computes a gradient (mode ``official``; weights lie within 2/7 and 3/7).
Deviates: the three modes and what happens at the pole are ours; no gradient flows through the weights.
Shapes: L tasks, n of them alive.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn

from quiver.errors import BadSpec

Doubles = NDArray[np.float64]
#: What may become of a step, besides an ordinary solution.
EVENTS = ("steps", "degenerate", "invalid", "skipped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How weights are found.

    Attributes:
        mode: ``raw`` takes g^2 as it is (as published), ``share`` divides it by its sum, which a common scale of
            the losses does not change, ``official`` takes softmax(losses)^2.
        alpha: c = alpha L; 1 is the printed formula, 2 the literal double sum.
        delta: how near to c, as a share of it, the largest g^2 may come before the guard steps in.
        floor: smallest weight, before the last rescaling to sum 1.
        guard: ``raise`` c so that weights differ by 1 / delta at most, ``exact`` one-hot (exactly the minimum with
            delta=0), or ``uniform``.
        decay: of the running mean of g^2.
        every: steps between two measurements of gradients.
        warmup: steps of equal weights at the start.

    Raises:
        BadSpec: numbers out of range.
    """

    mode: Literal["raw", "share", "official"] = "raw"
    alpha: float = 1.0
    delta: float = 0.05
    floor: float = 0.0
    guard: Literal["raise", "exact", "uniform"] = "raise"
    decay: float = 0.9
    every: int = 1
    warmup: int = 0

    def __post_init__(self) -> None:
        if self.mode not in {"raw", "share", "official"} or self.guard not in {"raise", "exact", "uniform"}:
            raise BadSpec(f"no such mode or guard: {self.mode!r}, {self.guard!r}")
        if not (self.alpha > 0 and 0 <= self.delta < 1 and 0 <= self.floor < 1 and 0 <= self.decay < 1):
            raise BadSpec("alpha must be positive; delta, floor and decay at least 0 and below 1")
        if self.guard == "raise" and self.delta == 0:
            raise BadSpec("guard=raise needs a positive delta")
        if self.every < 1 or self.warmup < 0:
            raise BadSpec("every must be at least 1 and warmup not negative")


class State(nn.Module):
    """State of the adaptive weights: running means and counters, as buffers.

    A module that holds the model and this is what to train, so that a resumed run goes on with the same means.

    Attributes:
        tasks: names, in order.
    """

    squares: Tensor
    seen: Tensor
    counts: Tensor

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.register_buffer("squares", torch.zeros(len(tasks), dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(len(tasks), dtype=torch.bool))
        self.register_buffer("counts", torch.zeros(len(EVENTS), dtype=torch.int64))

    def count(self, event: str) -> None:
        """Add one to a counter of EVENTS."""
        self.counts[EVENTS.index(event)] += 1

    def report(self) -> dict[str, int]:
        """Return the counters by name, for logs."""
        return dict(zip(EVENTS, self.counts.tolist(), strict=True))

    def remember(self, fresh_n: Doubles, places: Sequence[int], decay: float) -> None:
        """Fold finite measurements into the running means; the first one starts them."""
        for place, value in zip(places, fresh_n.tolist(), strict=True):
            if np.isfinite(value):
                self.squares[place] = value + decay * (self.squares[place] - value) if self.seen[place] else value
                self.seen[place] = True


def weights(
    losses: Mapping[str, Tensor], active: Collection[str], *, shared: Sequence[Tensor], rule: Rule, state: State
) -> dict[str, float]:
    """Return the weight of every loss: together 1, none negative, 0 for a task that is not alive.

    A task is alive where it is active and its loss finite. Ranks average their measurements, so all of them find
    the same weights; all must call.

    Args:
        losses: scalars by task, in graphs that are kept; not scaled for half precision.
        active: tasks that have something to learn from in this batch.
        shared: parameters that every task reaches, such as the last block's.
        rule: how.
        state: of ``State(tasks)`` with the tasks of ``losses``; changed in place.
    """
    first = next(iter(losses.values()))
    flags = [task in active and bool(torch.isfinite(losses[task])) for task in state.tasks]
    held_L = _everywhere(torch.tensor(flags, dtype=torch.float64, device=first.device)).cpu().numpy()
    alive = [place for place, held in enumerate(held_L) if held]
    step = state.report()["steps"]
    state.count("steps")
    found = dict.fromkeys(state.tasks, 0.0)
    if not alive:
        state.count("skipped")
        return found
    if step < rule.warmup or len(alive) == 1:
        w_n, event = _uniform(len(alive)), ""
    else:
        w_n, event = solve(_measured(losses, flags, (alive, held_L), shared, rule, state), rule)
    if event:
        state.count(event)
    found.update({state.tasks[place]: float(w) for place, w in zip(alive, w_n, strict=True)})
    return found


def combine(losses: Mapping[str, Tensor], weights: Mapping[str, float], *, scale: float = 1.0) -> Tensor:
    """Return scale times the weighted sum, to be differentiated.

    Weights that sum to 1 make steps about 1 / L as long as the plain sum does; scale=L makes up for it. A loss that
    is not finite is left out.
    """
    first = next(iter(losses.values()))
    total = torch.zeros((), device=first.device, requires_grad=True)
    for task, loss in losses.items():
        if torch.isfinite(loss):
            total = total + scale * weights[task] * loss
    return total


def squared_norms(losses: Sequence[Tensor], shared: Sequence[Tensor]) -> Tensor:
    """Return (L,) float64 detached: the squared length of each loss's gradient in the shared parameters."""
    return torch.stack([_squared_norm(loss, shared) for loss in losses])


def solve(squares_n: Doubles, rule: Rule) -> tuple[Doubles, str]:
    """Return the weights for given g^2 (or what stands for it), and an event of EVENTS or "".

    Args:
        squares_n: (n,) float64, any values at all.
        rule: how; ``mode`` only says whether to divide by the sum.
    """
    q_n, n = np.asarray(squares_n, np.float64), len(squares_n)
    if n == 1:
        return _uniform(1), ""
    if not np.isfinite(q_n).all() or (q_n < 0).any():
        return _uniform(n), "invalid"
    if rule.mode == "share":
        if q_n.max() == 0:
            return _uniform(n), ""
        q_n = q_n / q_n.max()  # before the sum, which might overflow
        q_n = q_n / q_n.sum()
    c = rule.alpha * n
    largest = max(c, q_n.max())
    q_n, c = q_n / largest, c / largest
    event = ""
    if q_n.max() >= (1 - rule.delta) * c:
        event = "degenerate"
        if rule.guard == "uniform":
            return _uniform(n), event
        if rule.guard == "exact":
            return _floored(np.eye(n)[q_n.argmax()], rule.floor), event
        c = q_n.max() / (1 - rule.delta)
    w_n = _floored(1 / (c - q_n), rule.floor)
    fair = np.isfinite(w_n).all() and (w_n >= 0).all() and abs(w_n.sum() - 1) < 1e-9
    return (w_n, event) if fair else (_uniform(n), "invalid")


def _measured(
    losses: Mapping[str, Tensor],
    flags: Sequence[bool],
    alive: tuple[Sequence[int], Doubles],
    shared: Sequence[Tensor],
    rule: Rule,
    state: State,
) -> Doubles:
    """Return what stands for g^2 of the living tasks, averaged over the ranks that have them: (n,)."""
    places, held_L = alive
    due = (state.report()["steps"] - 1) % rule.every == 0 or not bool(state.seen[list(places)].all())
    if rule.mode != "official" and not due:
        return state.squares[list(places)].cpu().numpy()
    device = next(iter(losses.values())).device
    own_L = torch.zeros(len(flags), dtype=torch.float64, device=device)
    mine = [place for place, flag in enumerate(flags) if flag]
    values = [losses[state.tasks[place]] for place in mine]
    if mine:
        official = rule.mode == "official"
        own_L[mine] = torch.stack(values).detach().double() if official else squared_norms(values, shared)
    mean_n = (_everywhere(own_L).cpu().numpy() / np.maximum(held_L, 1))[list(places)]
    if rule.mode == "official":
        return np.asarray(torch.from_numpy(mean_n).softmax(0).square().numpy())
    if not np.isfinite(mean_n).all():
        return mean_n  # one bad step must not enter the running means of the others
    state.remember(mean_n, places, rule.decay)
    return state.squares[list(places)].cpu().numpy()


def _squared_norm(loss: Tensor, shared: Sequence[Tensor]) -> Tensor:
    gradients = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
    norms = [torch.linalg.vector_norm(g.detach(), dtype=torch.float64) for g in gradients if g is not None]
    return torch.stack(norms).square().sum() if norms else loss.new_zeros((), dtype=torch.float64)


def _everywhere(x: Tensor) -> Tensor:
    """Sum over ranks."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(x)
    return x


def _uniform(n: int) -> Doubles:
    return np.full(n, 1 / n)


def _floored(w_n: Doubles, floor: float) -> Doubles:
    w_n = np.maximum(w_n / w_n.sum(), floor)
    return np.asarray(w_n / w_n.sum())
