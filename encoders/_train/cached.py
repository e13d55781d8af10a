"""Losses that compare the rows of a whole batch, although only a part of it goes through the model at a time.

Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", arXiv:2101.06983
(GradCache): all parts are embedded without gradients, the loss gives the gradient of each embedded row, and each part
is embedded again, with gradients, to pass them on. It costs a second forward pass, and the memory of one part.
Reference: luyug/GradCache, Apache-2.0; nothing was taken.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

#: Embedded rows by name, and what else the comparison needs of them: tensors of b rows, or scalars.
Rows = Mapping[Hashable, Tensor]


@dataclass(frozen=True, slots=True)
class Contrast:
    """A loss in two halves, so that ``loop.accumulate`` need not shrink the batch that is compared.

    Attributes:
        embed: from the wrapped model and a batch to tensors by name. Those with dimensions have a row for each row of
            the batch, in its order; scalars, such as the temperature, are the same for all parts of a batch.
        compare: from the rows of a whole batch (of this rank) to named scalars, of which ``loss`` is differentiated.
    """

    embed: Callable[[nn.Module, Any], Rows]
    compare: Callable[[Rows], Mapping[str, Tensor]]

    def __call__(self, model: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        """Return the loss of a batch that goes through the model at once."""
        return self.compare(self.embed(model, batch))


def joined(parts: Sequence[Rows]) -> dict[Hashable, Tensor]:
    """Join the rows of parts, cut from their graphs; those of floating point get gradients of their own."""
    found = {}
    for name, first in parts[0].items():
        whole = torch.cat([part[name] for part in parts]).detach() if first.ndim else first.detach()
        found[name] = whole.requires_grad_() if whole.is_floating_point() else whole
    return found


def surrogate(part: Rows, whole: Rows, place: int, start: int) -> Tensor:
    """Return a scalar whose gradient is that of the loss in one part.

    Args:
        part: rows embedded again, with gradients.
        whole: of ``joined``, after the loss was differentiated.
        place: number of the part; scalars take part in the first one alone.
        start: the first row of the part.
    """
    terms = []
    for name, value in part.items():
        gradient = whole[name].grad
        if gradient is None or not value.requires_grad or not (value.ndim or place == 0):
            continue
        own = gradient[start : start + len(value)] if value.ndim else gradient
        terms.append((value * own.to(value)).sum(dtype=torch.promote_types(value.dtype, torch.float32)))
    return torch.stack(terms).sum()
