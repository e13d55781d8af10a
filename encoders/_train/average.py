"""A running mean of the weights that are trained (EMA), to be validated and saved in their place.

Polyak and Juditsky 1992; with the decay at the start of TensorFlow's ``ExponentialMovingAverage``. The arithmetic is
torch's (``torch.optim.swa_utils``). Buffers, such as those of batch normalisation, are not averaged.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from quiver.encoders._train import optimiser, sharding
from quiver.encoders._train.interrupt import uninterrupted


class Average:
    """The running mean.

    Args:
        model: its weights begin the mean; on the device where they are trained.
        decay: the largest weight of the mean in an update.

    Attributes:
        values: the mean of each trained parameter, by name; divided among ranks as the parameter is.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay, self._exchanged = model, decay, False
        self.values: dict[str, Tensor] = {name: weight.detach().clone() for name, weight in optimiser.named(model)}

    def restore(self, values: dict[str, Tensor]) -> None:
        """Continue from the mean of an earlier process."""
        for name, value in values.items():
            mean = self.values[name]
            sharding.own(mean).copy_(sharding.own(sharding.like(value, mean)))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the current weights, after ``step`` updates."""
        mix = get_ema_multi_avg_fn(min(self._decay, (1 + step) / (10 + step)))
        weights = [sharding.own(weight.detach()) for _, weight in optimiser.named(self._model)]
        mix([sharding.own(mean) for mean in self.values.values()], weights, None)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the model has the mean as its weights."""
        try:
            self._exchange()
            yield
        finally:
            if self._exchanged:
                self._exchange()

    def leave(self) -> None:
        """Give the model the mean as its weights for good."""
        self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        with uninterrupted():  # half of each would be saved as the state of the run
            for name, weight in optimiser.named(self._model):
                mine, mean = sharding.own(weight.detach()), sharding.own(self.values[name])
                kept = mine.clone()
                mine.copy_(mean)
                mean.copy_(kept)
            self._exchanged = not self._exchanged
