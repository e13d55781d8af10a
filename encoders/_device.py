"""Choice of the device that a model runs on."""

from typing import TYPE_CHECKING

from quiver.errors import BadSpec

if TYPE_CHECKING:
    import torch


def pick(name: str) -> "torch.device":
    """Return the device a ``device=`` option means.

    Args:
        name: ``auto`` (the first GPU where there is one, else the CPU), ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        BadSpec: no such device, or this machine does not have it.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in {"cpu", "cuda"} or not (number or "0").isdecimal() or (kind == "cpu" and number):
        raise BadSpec(f"device must be auto, cpu, cuda or cuda:N, not {name!r}")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise BadSpec(f"device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use device=cpu")
    return torch.device(name)
