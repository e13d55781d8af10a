"""Batch normalisation over the rows of all ranks: several ranks then train as one does with the joined batch.

On GPUs it is torch's ``SyncBatchNorm``, which the CPU does not have: there each rank normalises the joined rows and
keeps its own, which moves all activations and is meant for trials and tests.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from quiver.encoders._train.rank import gathered, own_start, share


class OverRanks(_BatchNorm):
    """Batch normalisation of inputs of any shape (b, C, ...) by the means and variances of all ranks' rows."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Take every shape."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise; every rank must call, with as many rows."""
        if not self.training:
            return super().forward(input)
        start = own_start(len(input))
        return super().forward(gathered(input))[start : start + len(input)]


def synced(model: nn.Module, *, ranks: int | None = None) -> nn.Module:
    """Let batch normalisation see the rows of all ranks; return the model, with the same weights under the same names.

    Args:
        model: changed in place, unless it is a batch normalisation itself.
        ranks: processes that train together; None asks the environment, as torchrun sets it.
    """
    if (share()[1] if ranks is None else ranks) < 2:
        return model
    if torch.cuda.is_available():
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return converted
    return _joined(model)


def _joined(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        setattr(module, name, _joined(child))
    if not isinstance(module, _BatchNorm):
        return module
    made = OverRanks(module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats)
    made.train(module.training)
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        setattr(made, name, getattr(module, name))
    return made
