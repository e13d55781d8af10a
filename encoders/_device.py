"""Choice of the device that a model runs on."""

import os
from typing import TYPE_CHECKING

from quiver.errors import BadSpec

if TYPE_CHECKING:
    import torch


def pick(name: str) -> "torch.device":
    """Return the device a ``device=`` option means.

    Args:
        name: ``auto`` (a GPU where there is one, else the CPU), ``cpu``, ``cuda`` or ``cuda:1``. Under torchrun, which
            sets LOCAL_RANK, ``auto`` and ``cuda`` are the GPU of this rank, which becomes the current one.

    Raises:
        BadSpec: no such device, or this machine does not have it.
    """
    import torch

    own = local(name, gpus=torch.cuda.device_count() if torch.cuda.is_available() else 0)
    if own != name:
        place = torch.device(own)
        if place.index is not None:
            torch.cuda.set_device(place)  # else libraries that ask for "cuda" would use the first GPU on every rank
        return place
    kind, _, number = name.partition(":")
    if kind not in {"cpu", "cuda"} or not (number or "0").isdecimal() or (kind == "cpu" and number):
        raise BadSpec(f"device must be auto, cpu, cuda or cuda:N, not {name!r}")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise BadSpec(f"device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use device=cpu")
    return torch.device(name)


def local(name: str, *, gpus: int, rank: str | None = None) -> str:
    """Return the name of a rank's own device; names of one device stay as they are.

    Args:
        name: ``auto``, ``cuda``, or any other.
        gpus: how many this process sees.
        rank: of this process on its machine; None reads LOCAL_RANK.

    >>> [local("auto", gpus=8, rank=rank) for rank in ("0", "7")], local("auto", gpus=0, rank="7")
    (['cuda:0', 'cuda:7'], 'cpu')
    """
    if name == "auto" and not gpus:
        return "cpu"
    if name not in ("auto", "cuda") or not gpus:
        return name
    rank = os.environ.get("LOCAL_RANK", "") if rank is None else rank
    # Some launchers show each rank its own GPU alone: then all of them see one, of number 0.
    return f"cuda:{int(rank) % gpus}" if rank.isdecimal() else "cuda"
