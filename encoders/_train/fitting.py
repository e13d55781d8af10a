"""The training loop: fetch, differentiate, step; periodically log, validate and save.

On the CPU, a run that was stopped and resumed ends with bit-identical weights to an uninterrupted run.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from quiver.encoders._train import checkpoint, curve, device, optimiser, sharding
from quiver.encoders._train.average import Average
from quiver.encoders._train.batches import ahead
from quiver.encoders._train.checkpoint import Point
from quiver.encoders._train.interrupt import Signals, Stopped, shielded
from quiver.encoders._train.log import Journal, Window
from quiver.encoders._train.loop import Loop, Outcome
from quiver.encoders._train.order import Order
from quiver.encoders._train.rank import agreed, alone, level, wait
from quiver.encoders._train.schedule import extended, lasting, rate
from quiver.encoders._train.update import Batch, Loss, Updates
from quiver.errors import BadData
from quiver.types import Rows

if TYPE_CHECKING:
    from accelerate import Accelerator

Fetch = Callable[[Rows, np.random.Generator], Batch]
Validate = Callable[[nn.Module], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class _Run:
    """Parts of a run that do not change from step to step.

    Attributes:
        model: as ``fit`` was given it. That of ``updates`` is the same, or its copy that is divided among ranks.
    """

    model: nn.Module
    updates: Updates
    validate: Validate | None
    signals: Signals
    average: Average | None
    place: Path
    journal: Journal
    terms: Mapping[str, Any] = field(repr=False)

    @property
    def order(self) -> Order:
        return self.updates.order

    @property
    def loop(self) -> Loop:
        return self.updates.loop

    @property
    def accelerator(self) -> "Accelerator":
        return self.updates.accelerator

    def ended(self, point: Point) -> bool:
        """Whether patience is at its end."""
        return 0 < self.loop.patience <= point.stale


def fit(
    model: nn.Module,
    loss: Loss,
    *,
    fetch: Fetch,
    count: int,
    out: Path,
    loop: Loop,
    validate: Validate | None = None,
    phase: str = "",
) -> Outcome:
    """Optimise a model; resume from ``out/resume`` if a run was stopped there.

    It writes ``out/log.jsonl``, TensorBoard files where that is installed, and ``out/curve.png`` where matplotlib is.
    Rows come without replacement from a permutation per epoch; those that do not fill the last batch of an epoch are
    left out of it, so that batch normalisation and negatives of other ranks always see whole batches. Ctrl-C and
    SIGTERM save a checkpoint from which the same call resumes; several ranks stop after the same update.

    Args:
        model: parameters with ``requires_grad=False`` are not optimised; moved to the device in place.
        loss: given the wrapped model in train mode, to be called through its forward, and a batch on the device;
            returns named scalars, of which ``loss`` is differentiated and the others are logged. A loss that compares
            rows with each other is a ``Contrast``, so that it does so in whole batches whatever ``accumulate`` is.
        fetch: given rows (b,) int64 of the training set and a random generator, returns a batch of tensors on the CPU.
            It runs ahead in a thread, or in forked processes, and must draw from that generator alone.
        count: rows of the training set.
        out: the folder of the run, on several ranks one that all of them see.
        loop: settings of optimisation.
        validate: given the model in eval mode, without gradients and on the first rank alone; its first figure
            selects the best state: larger is better, and the earlier of equal ones wins.
        phase: the name of this part of a training that has several; each resumes by itself, and one that is done
            is not done again.

    Returns:
        The result; the model is left in eval mode on the device with its best state, on every rank.

    Raises:
        BadData: loss, gradient or the selecting figure is not finite, or there are too few rows; the message names
            the step.
        BadSpec: the loop has no steps, the device does not exist, or the checkpoint is of a run with other settings.
        MissingExtra: accelerate, or a package of ``loop.tracker``, is not installed.
        Stopped: Ctrl-C or SIGTERM ended the run; it is a KeyboardInterrupt.
    """
    started = time.perf_counter()
    run, point = _begin(model, loss, validate, count=count, out=out, loop=loop, phase=phase)
    resumed = point.step
    _greet(run, point)
    losses = dict[str, float]()
    try:
        with run.signals.caught():
            losses = _learn(run, point, fetch)
    except KeyboardInterrupt as stop:
        _put_away(run, point, stop)
        raise
    finally:
        run.journal.close()
    _leave_best(run, point)
    if run.accelerator.is_main_process and (why := curve.draw(out)):
        run.journal.say(why)
    return Outcome(
        step=point.step,
        best=point.best,
        figures=point.figures,
        losses=losses,
        resumed=resumed,
        seconds=time.perf_counter() - started,
    )


def _begin(
    model: nn.Module, loss: Loss, validate: Validate | None, *, count: int, out: Path, loop: Loop, phase: str
) -> tuple[_Run, Point]:
    """Place a model on its device or devices, and read the state of a run that was stopped."""
    loop.check_steps()
    loop = device.settled(loop)
    accelerator = device.start(loop)
    rank, ranks = accelerator.process_index, accelerator.num_processes
    sharding.refuse(loop, ranks)
    order = Order.of(count, loop.batch, seed=loop.seed, rank=rank, ranks=ranks, split=loop.accumulate)
    _check_norms(model, order)
    place = out / "resume" / (phase or "main")
    begun = checkpoint.begun(place)
    loop, ends = extended(lasting(loop, loop.counted(order.steps), begun), begun)
    terms = {**asdict(loop), "count": count, "ranks": ranks, "rows": order.batch * ranks}
    point = checkpoint.resume(place, model, terms=terms)
    point.ends = ends
    updates = _updates(model, loss, order, loop, accelerator)
    average = Average(updates.model, loop.ema) if loop.ema else None
    _restore(point, updates, average)
    journal = Journal(
        out, phase, step=point.step, validated=point.validated, loop=loop, silent=not accelerator.is_main_process
    )
    return _Run(model, updates, validate, Signals(together=ranks > 1), average, place, journal, terms), point


def _updates(model: nn.Module, loss: Loss, order: Order, loop: Loop, accelerator: "Accelerator") -> Updates:
    """Wrap a model for several ranks and precision, or divide a copy of it among the ranks."""
    if not loop.shard:
        raw = optimiser.build(model, loop)
        wrapped, stepper = accelerator.prepare(model, raw)
        return Updates(model, wrapped, loss, stepper, order, loop, accelerator)
    level(model, accelerator.device)
    sharded = sharding.Sharded(model, accelerator.device)
    stepper = accelerator.prepare_optimizer(optimiser.build(sharded.model, loop))
    wrapped = accelerator.prepare_model(sharded.model, evaluation_mode=True)  # precision alone
    return Updates(sharded.model, wrapped, loss, stepper, order, loop, accelerator, sharded)


def _put_away(run: _Run, point: Point, stop: KeyboardInterrupt) -> None:
    """Save the state of a run that a signal ended."""
    together = isinstance(stop, Stopped) and stop.together
    with shielded():
        by = f" by {stop}" if isinstance(stop, Stopped) else ""
        if run.updates.sharded is not None and not together:
            run.journal.say(f"stopped{by} at once: the same command resumes from the last checkpoint that was saved")
            return
        _save(run, point)
        run.journal.say(f"stopped{by} after step {point.step}; the same command resumes from there")
        if together:
            wait()  # for the first rank's files: launchers kill the others as soon as one has ended


def _check_norms(model: nn.Module, order: Order) -> None:
    if min(order.parts) < 2 and any(isinstance(each, _BatchNorm) for each in model.modules()):
        fewer = ", or lower accumulate" if order.split > 1 else ""
        raise BadData(f"batch normalisation needs batches of at least 2 rows: raise batch, or give more data{fewer}")


def _restore(
    point: Point,
    updates: Updates,
    average: Average | None,
) -> None:
    if average is not None and point.average:
        average.restore(point.average)
        point.average = {}
    if point.optimiser:
        optimiser.restore(updates.stepper.optimizer, updates.model, point.optimiser)
        point.optimiser = {}
    if point.scaler and updates.accelerator.scaler is not None:
        updates.accelerator.scaler.load_state_dict(dict(point.scaler))


def _greet(run: _Run, point: Point) -> None:
    order, loop = run.order, run.loop
    learned = sum(parameter.numel() for _, parameter in optimiser.named(run.model))
    divided = ", divided weights" if run.loop.shard else ""
    where = f"{run.accelerator.device}, {loop.precision}" + (
        f", {order.ranks} ranks{divided}" if order.ranks > 1 else ""
    )
    run.journal.say(f"training {learned:,} weights on {order.count:,} rows, {loop.steps:,} steps on {where}")
    if order.batch < loop.batch:
        run.journal.say(f"batch reduced from {loop.batch} to {order.batch}, the number of rows")
    if spare := order.count - order.steps * order.batch * order.ranks:
        run.journal.say(f"an epoch has {order.steps} whole batches; {spare} random rows are left out of each epoch")
    if point.step:
        run.journal.say(f"resuming from step {point.step}")
    if point.ends:
        run.journal.say(f"the schedule begins anew after step {point.ends[-1]} (extend=restart)")


def _learn(run: _Run, point: Point, fetch: Fetch) -> dict[str, float]:
    """Take the remaining steps; return the means of the last line of the log."""
    loop, order = run.loop, run.order
    window, losses = Window(), dict[str, float]()
    place = run.accelerator.device

    def fetched(step: int) -> list[Batch]:
        rng = order.generator(step)
        return [fetch(rows, rng) for rows in np.array_split(order.rows(step), order.split)]

    steps = range(point.step, loop.steps)
    with closing(ahead(fetched, steps, workers=loop.workers, pin=place.type == "cuda")) as batches:
        _check_point(run, point)
        while not run.ended(point) and (parts := next(batches, None)) is not None:
            with run.signals.held_back():
                window.add(run.updates.advance(point.step, parts, rate=rate(loop, point.step, point.ends)))
                point.step += 1
                if run.average is not None:
                    run.average.update(point.step)
            run.journal.tick()
            run.signals.check(place)
            if point.step % loop.log_every == 0 or point.step == loop.steps:
                losses = _log(run, point, window)
                window = Window()
            _check_point(run, point)
    if run.ended(point):
        run.journal.say(f"{point.stale} validations without a better figure: ended after step {point.step}")
    return losses


def _check_point(run: _Run, point: Point) -> None:
    """Validate and save if they are due at this step."""
    loop = run.loop
    if run.validate and point.validated < point.step and _due(point.step, loop.validate_every, loop):
        _assess(run, point, run.validate)
    if point.step and (_due(point.step, loop.save_every, loop) or run.ended(point)):
        _save(run, point)


def _due(step: int, every: int, loop: Loop) -> bool:
    return step == loop.steps or (every > 0 and step % every == 0)


def _log(run: _Run, point: Point, window: Window) -> dict[str, float]:
    names, means = window.means()
    means = run.accelerator.reduce(means, "mean")
    figures = dict(zip(names, means.tolist(), strict=True))
    rows = run.order.batch * run.order.ranks
    step, pace = point.step, window.pace() * rows
    extra = {"rate": rate(run.loop, step - 1, point.ends), "epoch": step / run.order.steps, "rows_per_second": pace}
    run.journal.write("train", step, figures={**figures, **extra})
    figures.pop("gradient")
    return figures


def _assess(run: _Run, point: Point, validate: Validate) -> None:
    """Validate on the first rank, and keep the state if it is the best so far."""
    with run.average.in_place() if run.average is not None else nullcontext():
        _measure(run, point, validate)


def _measure(run: _Run, point: Point, validate: Validate) -> None:
    main = run.accelerator.is_main_process
    weights = checkpoint.snapshot(run.updates.model, keep=main) if run.loop.shard else {}
    figures: dict[str, float] = {}
    if main:
        _fill(run, weights)
        run.model.eval()
        torch.manual_seed(run.loop.seed)
        with torch.no_grad(), alone():
            figures = {name: float(value) for name, value in validate(run.model).items()}
    figures = agreed(figures)
    first = next(iter(figures.items()), ("no figure", math.nan))
    if not math.isfinite(first[1]):
        raise BadData(
            f"validation gives {first[0]}={first[1]} after step {point.step}: the best state cannot be selected by it"
        )
    run.journal.write("validation", point.step, figures=figures)
    point.stale += 1
    if not point.best or first[1] > next(iter(point.figures.values())):
        point.best, point.figures, point.stale = point.step, figures, 0
        point.weights = (weights or checkpoint.snapshot(run.model)) if main else None
    if run.loop.shard:
        run.model.to("cpu")
    point.validated = point.step


def _fill(run: _Run, weights: checkpoint.State) -> None:
    """Give the whole model its weights, where it is a copy of it that is trained."""
    if weights:
        run.model.load_state_dict(weights)
        run.model.to(run.accelerator.device)


def _save(run: _Run, point: Point) -> None:
    if run.accelerator.is_main_process:
        scaler = run.accelerator.scaler
        point.scaler = scaler.state_dict() if scaler is not None else {}
        checkpoint.save(run.place, point, parts=_parts(run, keep=True), terms=run.terms)
    elif run.loop.shard:
        for _ in _parts(run, keep=False):
            pass


def _parts(run: _Run, *, keep: bool) -> Iterator[tuple[str, checkpoint.State]]:
    """Yield the tensors of a run's state by file, on the CPU."""
    model = run.updates.model
    yield "model", checkpoint.snapshot(model, keep=keep)
    yield "optimiser", sharding.whole(optimiser.tensors(run.updates.stepper.optimizer, model), keep=keep)
    if run.average is not None:
        yield "average", sharding.whole(run.average.values, keep=keep)


def _leave_best(run: _Run, point: Point) -> None:
    """Give every rank the best state of the first, in a model without accelerate's wrapping."""
    if run.average is not None:
        run.average.leave()
    if run.loop.shard:
        _fill(run, checkpoint.snapshot(run.updates.model, keep=run.accelerator.is_main_process))
        run.model.to(run.accelerator.device)
    else:
        run.accelerator.unwrap_model(run.updates.wrapped, keep_fp32_wrapper=False)
    if not point.best:
        point.best = point.step
    elif point.weights is not None:
        run.model.load_state_dict(point.weights)
    # The first rank alone has the best state, and running statistics are each one's own.
    level(run.model, run.accelerator.device)
    run.model.eval()
    run.accelerator.free_memory()
