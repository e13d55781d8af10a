"""The optimiser, and its state as tensors by parameter name."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from quiver.encoders._train import sharding
from quiver.encoders._train.loop import Loop
from quiver.errors import BadData, BadSpec


def build(model: nn.Module, loop: Loop) -> torch.optim.Optimizer:
    """Return an optimiser of the parameters that require gradients; those of fewer than 2 dimensions never decay.

    Each of its groups has a ``scale``, the factor of the learning rate.

    Raises:
        BadData: no parameter requires gradients.
        BadSpec: ``scales`` names no parameter.
    """
    learned = named(model)
    if not learned:
        raise BadData(f"{type(model).__name__} has no trainable parameter: all have requires_grad=False")
    factors = loop.factors
    if idle := [prefix for prefix in factors if not any(name.startswith(prefix) for name, _ in learned)]:
        raise BadSpec(f"scales: no trained parameter begins with {idle[0]!r}, such as {learned[0][0]}")
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for decays in (True, False):
        for name, parameter in learned:
            if (parameter.ndim >= 2) == decays:
                longest = max((prefix for prefix in factors if name.startswith(prefix)), key=len, default="")
                groups.setdefault((loop.decay if decays else 0.0, factors.get(longest, 1.0)), []).append(parameter)
    kind = torch.optim.AdamW if loop.optimiser == "adamw" else torch.optim.Adam
    return kind(
        [{"params": each, "weight_decay": decay, "scale": scale} for (decay, scale), each in groups.items()],
        lr=loop.rate,
        betas=(loop.beta1, loop.beta2),
        eps=loop.eps,
        fused=loop.fused or None,
    )


def named(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the parameters that are optimised, with their names."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def tensors(optimiser: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return the optimiser's state as ``parameter name/entry``, such as ``head.weight/exp_avg``."""
    return {
        f"{name}/{entry}": value
        for name, parameter in named(model)
        for entry, value in optimiser.state.get(parameter, {}).items()
    }


def restore(optimiser: torch.optim.Optimizer, model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Restore the state that ``tensors`` returned."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        name, _, entry = key.rpartition("/")
        by_name.setdefault(name, {})[entry] = value
    names = {id(parameter): name for name, parameter in named(model)}
    for name, parameter in named(model):
        if name in by_name:
            by_name[name] = {entry: sharding.like(value, parameter) for entry, value in by_name[name].items()}
    ordered = [names[id(parameter)] for group in optimiser.param_groups for parameter in group["params"]]
    whole: dict[str, Any] = optimiser.state_dict()
    whole["state"] = {number: by_name[name] for number, name in enumerate(ordered) if name in by_name}
    optimiser.load_state_dict(whole)
