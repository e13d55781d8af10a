"""Devices, ranks and mixed precision, by way of Hugging Face accelerate (Apache-2.0)."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch

from quiver.encoders import _device
from quiver.encoders._train.loop import Loop
from quiver.errors import BadSpec, optional

if TYPE_CHECKING:
    from accelerate import Accelerator

#: What accelerate calls them.
_PRECISION = {"fp32": "no", "tf32": "no", "bf16": "bf16", "fp16": "fp16"}
#: Backends of torch.compile; the last two, which only trace, help to find what a model cannot compile.
COMPILERS = ("inductor", "cudagraphs", "aot_eager", "eager")
#: How long ranks wait while the first one validates.
_PATIENCE = timedelta(hours=6)


def start(loop: Loop) -> "Accelerator":
    """Return the accelerator, which places a model, wraps it for several ranks, and scales its loss.

    Raises:
        BadSpec: the device is not there, or does not compute in that precision, or torch has no such compiler.
        MissingExtra: accelerate is not installed.
    """
    with optional():
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState, GradientState
        from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
    place = _device.pick(loop.device)
    if place.type == "cpu" and loop.precision in ("fp16", "tf32"):
        raise BadSpec(f"precision={loop.precision} needs a GPU: use fp32 or bf16 on a CPU")
    torch.set_float32_matmul_precision("high" if loop.precision == "tf32" else "highest")
    if place.index is not None:
        torch.cuda.set_device(place)
    # accelerate keeps one state per process and refuses another precision; a second phase may want one.
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    return Accelerator(
        mixed_precision=_PRECISION[loop.precision],
        cpu=place.type == "cpu",
        dynamo_plugin=_compiler(loop.compile),
        # A phase may leave parts of a model idle, such as a decoder that is trained later.
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=_PATIENCE),
            DistributedDataParallelKwargs(find_unused_parameters=True),
        ],
    )


def _compiler(backend: str | None) -> Any:
    """Return accelerate's settings of torch.compile."""
    from accelerate.utils import TorchDynamoPlugin

    if backend is not None and backend not in COMPILERS:
        raise BadSpec(f"compile={backend!r} is no backend of torch.compile: take {', '.join(COMPILERS)}, or none")
    return TorchDynamoPlugin(backend="no" if backend is None else backend)


def settled(loop: Loop) -> Loop:
    """Return a loop whose precision is decided.

    bf16 is taken where the processor multiplies it: on a CPU it halves the bytes that are moved, but only with
    instructions for it.
    """
    if loop.precision != "auto":
        return loop
    if _device.pick(loop.device).type == "cuda":
        return replace(loop, precision="bf16" if torch.cuda.is_bf16_supported(False) else "fp32")
    able: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.6 does not tell yet
    return replace(loop, precision="bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32")


def move(batch: Any, place: torch.device) -> Any:
    """Move every tensor of a nested tuple, list, dict or NamedTuple; anything else is passed on as it is."""
    if isinstance(batch, torch.Tensor):
        return batch.to(place, non_blocking=True)
    if isinstance(batch, dict):
        return {key: move(value, place) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(move(value, place) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(move(value, place) for value in batch)
    return batch
