"""One update of the weights: forward and backward of all parts of a batch, then a step of the optimiser."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from quiver.encoders._train import device, optimiser, sharding
from quiver.encoders._train.cached import Contrast, joined, surrogate
from quiver.encoders._train.loop import Loop
from quiver.encoders._train.order import Order
from quiver.encoders._train.rank import anywhere, average_gradients
from quiver.encoders._train.sharding import Sharded
from quiver.errors import BadData

if TYPE_CHECKING:
    from accelerate import Accelerator

#: Any nested tuple, list, dict or NamedTuple of tensors.
Batch = Any
Loss = Callable[[nn.Module, Batch], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Updates:
    """Updates of a model.

    Attributes:
        model: the plain model, or its copy that is divided among ranks.
        wrapped: as accelerate wraps it for several ranks and precision.
        loss: of a batch, or of a part of it; a ``Contrast`` is computed over all parts.
        stepper: accelerate's optimiser.
        order: rows and random numbers of each step.
        loop: settings.
        accelerator: scales and reduces gradients.
        sharded: reduces them where weights are divided; None where they are not.
    """

    model: nn.Module
    wrapped: nn.Module
    loss: Loss
    stepper: Any
    order: Order
    loop: Loop
    accelerator: "Accelerator"
    sharded: Sharded | None = None

    def advance(self, step: int, parts: Sequence[Batch], *, rate: float) -> dict[str, Tensor]:
        """Update the weights once.

        Args:
            step: updates done before.
            parts: of the batch, on the CPU.
            rate: learning rate; each group of parameters has its own factor of it.

        Returns:
            The scalars to log.

        Raises:
            BadData: loss or gradient is not finite.
        """
        self.wrapped.train()
        for group in self.stepper.param_groups:
            group["lr"] = rate * group["scale"]
        contrast = self.loss if isinstance(self.loss, Contrast) and len(parts) > 1 else None
        with sharding.explained(self.model) if self.sharded is not None else nullcontext():
            scalars = self._summed(step, parts) if contrast is None else self._compared(contrast, step, parts)
        learned = [parameter for _, parameter in optimiser.named(self.model)]
        if self.sharded is not None:
            self.sharded.finish()
            norm = sharding.clip(learned, self.loop.clip or math.inf)
        else:
            if len(parts) > 1:
                average_gradients(learned)
            norm = self.accelerator.clip_grad_norm_(learned, self.loop.clip or math.inf)
        # fp16 overflows now and then: its scaler leaves such a step out and lowers the scale.
        if self.loop.precision != "fp16" and not math.isfinite(norm.item()):
            raise diverged("norm of the gradient", norm.item(), step, self.loop)
        self.stepper.step()
        self.stepper.zero_grad(set_to_none=True)
        return {**scalars, "gradient": norm}

    def _summed(self, step: int, parts: Sequence[Batch]) -> dict[str, Tensor]:
        """Add up the gradients of the parts' losses, each with its share of the rows."""
        found: dict[str, Tensor] = {}
        sizes = self.order.parts
        for place, part in enumerate(parts):
            share = sizes[place] / sum(sizes)
            with self._apart(parts):
                scalars = dict(self.loss(self.wrapped, self._given(step, place, part)))
                self._check(scalars["loss"], step)
                self.accelerator.backward(scalars["loss"] * share if len(parts) > 1 else scalars["loss"])
            for name, value in scalars.items():
                found[name] = found.get(name, 0) + (value.detach() * share if len(parts) > 1 else value.detach())
        return found

    def _compared(self, contrast: Contrast, step: int, parts: Sequence[Batch]) -> dict[str, Tensor]:
        """Compare the rows of all parts, then pass the gradients on part by part."""
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        with torch.no_grad():
            whole = joined([contrast.embed(self.wrapped, self._given(step, *each)) for each in enumerate(parts)])
            for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(before)  # running statistics must see each row once
        scalars = dict(contrast.compare(whole))
        self._check(scalars["loss"], step)
        scalars["loss"].backward()
        start = 0
        for place, part in enumerate(parts):
            with self._apart(parts):
                rows = contrast.embed(self.wrapped, self._given(step, place, part))
                self.accelerator.backward(surrogate(rows, whole, place, start))
            start += self.order.parts[place]
        return {name: value.detach() for name, value in scalars.items()}

    def _given(self, step: int, place: int, part: Batch) -> Batch:
        """Move a part to the device, and begin its random numbers, which are the same each time."""
        torch.manual_seed(self.order.torch_seed(step, place))
        return device.move(part, self.accelerator.device)

    def _apart(self, parts: Sequence[Batch]) -> Any:
        """Let ranks exchange gradients by themselves where there is one part, and after the last of several.

        Divided weights exchange those of every part: to keep them whole would take the memory that is to be saved.
        """
        held = len(parts) > 1 and self.sharded is None
        return self.accelerator.no_sync(self.wrapped) if held else nullcontext()

    def _check(self, loss: Tensor, step: int) -> None:
        """Refuse a loss that is not finite, on all ranks at once: one alone would leave the others waiting."""
        value = loss.item()
        if anywhere(int(not math.isfinite(value)), self.accelerator.device):
            raise diverged("loss", value, step, self.loop)


def diverged(what: str, value: float, step: int, loop: Loop) -> BadData:
    """Return the error of a run whose loss or gradient is not finite, after ``step`` updates."""
    tries = ["a lower rate", "a longer warmup"] + ["clip=1"] * (loop.clip is None)
    tries += ["precision=fp32"] * (loop.precision != "fp32")
    return BadData(
        f"the {what} is {value} at step {step + 1}: try {', '.join(tries)}, and check the data for NaN or inf"
    )
