"""Distributed training: rank of this process, and values and rows gathered from all ranks.

Shapes: b rows of one rank, r ranks.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")

_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


def first() -> bool:
    """Whether this process is the one that writes files and lines, before or after processes have met."""
    return os.environ.get("RANK", "0") == "0"


def share() -> tuple[int, int]:
    """Return rank and number of processes, as set by torchrun."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def turns(count: int) -> list[int]:
    """Return the numbers of all blocks; each rank starts at a different one and later skips finished ones."""
    rank, ranks = share()
    start = count * rank // ranks
    return [*range(start, count), *range(start)]


def leave() -> None:
    """Leave the process group at the very end, all ranks at once: an early exit would abort the others."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def wait() -> None:
    """Wait for all ranks."""
    if _several():
        dist.barrier()


@contextmanager
def alone() -> Iterator[None]:
    """Within the block, ``gathered`` does not wait for other ranks, which do not take part."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def agreed(value: T) -> T:
    """Return the first rank's value on every rank."""
    held: list[Any] = [value]
    if _several():
        dist.broadcast_object_list(held)
    agreed: T = held[0]
    return agreed


def anywhere(value: int, place: torch.device) -> int:
    """Return the largest value of all ranks.

    Args:
        value: of this rank.
        place: the device that ranks exchange tensors on.
    """
    if not _several():
        return value
    found = torch.tensor(value, device=place)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found.item())


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace gradients by their mean over ranks; one that no rank has stays None."""
    if not _several():
        return
    has = torch.tensor([each.grad is not None for each in parameters], device=parameters[0].device, dtype=torch.int32)
    dist.all_reduce(has, dist.ReduceOp.MAX)
    used = [each for each, one in zip(parameters, has.tolist(), strict=True) if one]
    for each in used:
        if each.grad is None:
            each.grad = torch.zeros_like(each)
    gradients = [each.grad for each in used if each.grad is not None]
    if not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, mean in zip(gradients, (flat / dist.get_world_size()).split(sizes), strict=True):
        gradient.copy_(mean.view_as(gradient))


def level(model: nn.Module, place: torch.device) -> None:
    """Give every rank the first one's parameters and buffers.

    Args:
        model: on any device.
        place: the device that ranks exchange tensors on.
    """
    for tensor in model.state_dict().values() if _several() else ():
        sent = tensor.to(place)
        dist.broadcast(sent, 0)
        tensor.copy_(sent)


def gathered(x: Tensor) -> Tensor:
    """Join the rows of all ranks, so that every rank contrasts with all negatives.

    Gradients flow back through the local rows and through those that other ranks received, summed over the ranks'
    losses. Averaged over ranks, as in ``fit``, they are the gradients of the mean of the ranks' losses, or of the loss
    itself if every rank computes the same one.

    Args:
        x: (b, ...), of the same shape on every rank.

    Returns:
        (r * b, ...), in the order of ranks; x itself on one rank.
    """
    if _ALONE.get() or not _several():
        return x
    return _Gathered.apply(x) if x.requires_grad else _join(x)


def own_start(count: int) -> int:
    """Return the place of this rank's first row in what ``gathered`` joins, of ``count`` rows of each rank."""
    return 0 if _ALONE.get() or not _several() else dist.get_rank() * count


def over_ranks(value: Tensor) -> Tensor:
    """Return the mean of a value over ranks, without gradients: the divisor of a mean over rows of all ranks."""
    mean = value.detach().float().clone()
    if not _ALONE.get() and _several():
        dist.all_reduce(mean)
        mean /= dist.get_world_size()
    return mean


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _join(x: Tensor) -> Tensor:
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.detach().contiguous())
    return torch.cat(parts)


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        return _join(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        start = dist.get_rank() * ctx.rows
        return total[start : start + ctx.rows]
