"""Activation checkpointing: a part drops what lies inside it, and computes it again when its gradient is needed.

It saves memory for a second forward pass of the part. The result is the same, except for rounding.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(parts: Iterable[nn.Module]) -> None:
    """Let parts of a model drop their activations in training.

    Args:
        parts: modules from tensors to a tensor; what goes in and out of each is kept.
    """
    for part in parts:
        part.forward = partial(_forward, part)


def _forward(part: nn.Module, *given: Any) -> Any:
    plain = partial(type(part).forward, part)
    if not (part.training and torch.is_grad_enabled()):
        return plain(*given)
    return checkpoint(plain, *given, use_reentrant=False, context_fn=lambda: (nullcontext(), _still(part)))


@contextmanager
def _still(part: nn.Module) -> Iterator[None]:
    """Leave the running statistics of batch normalisation as they are: the first pass has updated them."""
    norms = [each for each in part.modules() if isinstance(each, _BatchNorm) and each.track_running_stats]
    before = [(each, each.momentum, each.num_batches_tracked) for each in norms]
    for each in norms:
        each.momentum = 0.0
        if each.num_batches_tracked is not None:
            each.num_batches_tracked = each.num_batches_tracked.clone()
    try:
        yield
    finally:
        for each, momentum, count in before:
            each.momentum, each.num_batches_tracked = momentum, count
