"""Precision of weights and sums; vectors are float32 whatever it is."""

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

#: ``auto`` is the precision in which the checkpoint is stored.
Precision = Literal["auto", "fp32", "bf16", "fp16"]


def dtype(precision: Precision) -> "torch.dtype | Literal['auto']":
    """Return the type that ``from_pretrained`` of transformers takes."""
    import torch

    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    return "auto" if precision == "auto" else kinds[precision]


def cast(inputs: "dict[str, Any]", wanted: "torch.dtype") -> "dict[str, Any]":
    """Convert the inputs of a network that are real numbers to its own type; whole numbers and masks stay."""
    return {
        name: value.to(wanted) if hasattr(value, "is_floating_point") and value.is_floating_point() else value
        for name, value in inputs.items()
    }
