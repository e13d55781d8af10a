"""Weights, gradients and the optimiser's state divided among ranks (``loop.shard``): FSDP2, torch's ``fully_shard``.

Zhao et al. 2023, "PyTorch FSDP", arXiv:2304.11277. Each rank keeps one slice of every weight, of its gradient, of the
optimiser's state for it and of its running mean. The weights of a block are gathered while it is computed, and its
gradients are averaged and divided again, so that a rank needs the memory of its slices, one block, and the weights
outside of blocks.

The model that ``fit`` was given stays whole and on the CPU; a copy of it is divided and trained. Validation, which the
first rank does alone, and all files get whole weights, so that a checkpoint does not tell how it was trained.
"""

import copy
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from quiver.encoders._train.loop import Loop
from quiver.encoders._train.rank import average_gradients, share
from quiver.errors import BadSpec


def refuse(loop: Loop, ranks: int | None = None) -> None:
    """Refuse to divide weights where that cannot work.

    Args:
        loop: the settings.
        ranks: processes that train together; None asks the environment, as torchrun sets it.

    Raises:
        BadSpec: ``shard`` does not go with the number of ranks, with another setting, or with this version of torch.
    """
    if not loop.shard:
        return
    if (share()[1] if ranks is None else ranks) < 2:
        raise BadSpec(
            "loop.shard=true divides the weights among ranks, and there is one: start several, as in "
            "torchrun --nproc-per-node 4 -m quiver train ..., or leave loop.shard out"
        )
    from torch.distributed import fsdp

    if not hasattr(getattr(fsdp, "FSDPModule", None), "set_reduce_scatter_unused_params"):
        raise BadSpec(f"loop.shard=true needs a newer torch than {torch.__version__}: pip install --upgrade torch")


class Sharded:
    """A copy of a model that is divided among ranks and trained.

    Every rank must have the same weights, and must take part in every forward pass.

    Args:
        model: whole; left as it is.
        place: the device of this rank.

    Attributes:
        model: the copy, whose parameters are ``DTensor``. Scalars, such as a temperature, are whole on every rank.
    """

    def __init__(self, model: nn.Module, place: torch.device) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        made = copy.deepcopy(model)
        self._scalars = [each for each in made.parameters() if not each.ndim]  # which cannot be cut
        for scalar in self._scalars:
            scalar.data = scalar.data.to(place)
        mesh = init_device_mesh(place.type, (dist.get_world_size(),))
        for part in (*blocks(made), made):
            fully_shard(part, mesh=mesh, ignored_params=set(self._scalars))
        for name, each in made.named_modules():
            divided: Any = each
            if isinstance(each, FSDPModule):
                divided.set_reduce_scatter_unused_params(True)  # the batches of two ranks may use different towers
                divided.set_force_sum_reduction_for_comms(place.type == "cpu")  # gloo has no mean
                divided.register_forward_pre_hook(_Noting(self, name))
        self.model: nn.Module = made
        self._noted: set[Tensor] = set()
        self._used: set[str] = set()

    def note(self, part: nn.Module, prefix: str) -> None:
        """Note from now on which of the gathered weights of a part get a gradient."""
        for name, weight in part.named_parameters(prefix):
            if weight.requires_grad and not _divided(weight) and weight not in self._noted:
                self._noted.add(weight)
                weight.register_post_accumulate_grad_hook(lambda _, name=name: self._used.add(name))

    def finish(self) -> None:
        """End the backward passes of an update: gradients are means over ranks; one that no rank has is None.

        Torch makes them zero, by which an optimiser would shrink weights that nothing uses, such as those of a later
        phase.
        """
        if self._scalars:
            average_gradients(self._scalars)
        learned = [(name, weight) for name, weight in self.model.named_parameters() if _divided(weight)]
        used = torch.tensor([name in self._used for name, _ in learned], dtype=torch.int32, device=_place(learned))
        dist.all_reduce(used, dist.ReduceOp.MAX)
        for (_, weight), one in zip(learned, used.tolist(), strict=True):
            if not one:
                weight.grad = None
        self._used.clear()


class _Noting:
    """A hook of a part that is gathered."""

    def __init__(self, sharded: Sharded, name: str) -> None:
        self._sharded, self._name = sharded, name

    def __call__(self, part: nn.Module, _: Any) -> None:
        self._sharded.note(part, self._name)


def blocks(model: nn.Module) -> list[nn.Module]:
    """Return the parts whose weights are gathered apart from the others: the innermost that stand in a row.

    They are the composite members of ``ModuleList`` and ``Sequential``, such as the layers of a transformer, which
    every rank goes through. Those within a ``ModuleDict`` are not: a batch may use some of its members only, and
    ranks would then wait for each other for ever. Neither are parts that share a weight with others, nor torch's
    decoder layers: generators keep keys and values of their attention, and compute them outside of the layer.
    """
    users: dict[int, int] = {}
    for _, weight in model.named_parameters(remove_duplicate=False):
        users[id(weight)] = users.get(id(weight), 0) + 1
    found = dict.fromkeys(_blocks(model))
    return [part for part in found if all(users[id(weight)] == 1 for weight in part.parameters())]


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, nn.ModuleDict):
        return
    for child in module.children():
        inner = list(_blocks(child))
        yield from inner
        row = isinstance(module, nn.ModuleList | nn.Sequential) and not isinstance(child, nn.TransformerDecoderLayer)
        if row and not inner and next(child.children(), None) is not None and _sliced(child):
            yield child


def _sliced(module: nn.Module) -> bool:
    return any(weight.ndim for weight in module.parameters())


@contextmanager
def explained(model: nn.Module) -> Iterator[None]:
    """Within the block, say in one line that a model uses slices of weights as if they were whole.

    Torch warns of models that return views, which must not be changed in place: losses never do that.

    Args:
        model: of ``Sharded``.

    Raises:
        BadSpec: it does.
    """
    try:
        with warnings.catch_warnings():
            said = rf"FSDP2-wrapped module \({type(model).__name__}\) returned a view"
            warnings.filterwarnings("ignore", message=said, category=UserWarning)
            yield
    except RuntimeError as error:
        if "DTensor" not in str(error):
            raise
        raise BadSpec(
            "loop.shard=true does not go with this model, which uses weights of a block outside of the block's forward:"
            " leave loop.shard out"
        ) from error


def own(tensor: Tensor) -> Tensor:
    """Return this rank's slice of a divided tensor, without a copy; another tensor as it is."""
    value: Any = tensor
    local: Tensor = value.to_local() if _divided(tensor) else value
    return local


def like(value: Tensor, weight: Tensor) -> Tensor:
    """Divide a whole value of a weight as the weight is; another value is returned as it is."""
    if not _divided(weight) or value.shape != weight.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    divided: Any = weight
    cut: Tensor = distribute_tensor(
        value.to(divided.device), divided.device_mesh, divided.placements, src_data_rank=None
    )
    return cut


def whole(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Copy tensors to the CPU, divided ones with the slices of all ranks: every rank must call.

    Args:
        tensors: by name, in the same order on every rank.
        keep: False on a rank that only gives its slices; it gets {}.
    """
    found = {}
    for name, tensor in tensors.items():
        value: Any = tensor
        full: Tensor = value.full_tensor() if _divided(tensor) else value
        if keep:
            found[name] = full.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    return found


def clip(weights: Sequence[nn.Parameter], most: float) -> Tensor:
    """Scale gradients down to a largest norm over all slices, as ``torch.nn.utils.clip_grad_norm_`` does.

    Returns:
        () the norm before.
    """
    found = [(weight, weight.grad) for weight in weights if weight.grad is not None]
    slices = [own(gradient) for weight, gradient in found if _divided(weight)]
    scalars = [gradient for weight, gradient in found if not _divided(weight)]
    place = own(weights[0]).device
    square = torch.zeros((), device=place)
    if slices:
        square = square + torch.nn.utils.get_total_norm(slices).square()
    dist.all_reduce(square)
    if scalars:
        square = square + torch.nn.utils.get_total_norm(scalars).square()
    norm = square.sqrt()
    if math.isfinite(most):
        factor = (most / (norm + 1e-6)).clamp(max=1.0)
        for gradient in (*slices, *scalars):
            gradient.mul_(factor)
    return norm


def _divided(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")


def _place(named: Sequence[tuple[str, Tensor]]) -> torch.device:
    return own(named[0][1]).device
