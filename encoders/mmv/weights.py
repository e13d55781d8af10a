"""The weights that the authors of MMV released, under our names.

A released checkpoint is a tree of numpy arrays of Haiku modules; here it is flat, ``module/parameter`` to array, as an
npz file holds it. The weights of google-deepmind/deepmind-research, mmv, are CC BY-NC 4.0 and are not part of Quiver.

Layouts there: convolutions (frames, rows, columns, inputs, outputs) or (rows, columns, inputs, outputs), linear layers
(inputs, outputs), normalisation with leading ones. Layers of one module are numbered in the order they are called in.
"""

import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from quiver.errors import BadData
from quiver.types import Floats

#: A Haiku module, part by part, to ours. What is not here has the same name in both.
_MODULES = (
    (r"__(?:cross_replica_)?batch_norm(_\d)?", r"norm\1"),
    (r"conv3_d(_\d)?", r"conv\1"),
    (r"self_gating", "gate"),
    (r"(Conv2d_\d\w*|Mixed_\d\w)", r"layers.\1"),
    (r"initial_conv|tsm_resnet_stem", "stem"),
    (r"(?:block_group|tsm_resnet_unit)_(\d)", r"stages.\1"),
    (r"block_(\d+)", r"\1"),
    (r"shortcut_conv", "shortcut"),
    (r"mean_ema", "running_mean"),
    (r"var_ema", "running_var"),
)
_PARAMETERS = {"w": "weight", "b": "bias", "scale": "weight", "offset": "bias"}


def from_haiku(params: Mapping[str, Floats], state: Mapping[str, Floats], *, root: str) -> dict[str, Tensor]:
    """Convert the weights of one module, such as a tower.

    Args:
        params: ``module/parameter`` to array.
        state: ``module/~/mean_ema/average`` and so on to array; averages still biased (``hidden``) and counters are
            left out.
        root: the module wanted: ``S3D``, ``TSMResNetV2``, ``res_net_v2``, or any other one's name, wherever in the
            tree it is.

    Returns:
        A state dict for our module of that kind, complete.

    Raises:
        BadData: there is no such module, or an array has a form that no layer has.
    """
    found = {name: array for name, array in params.items() if f"/{root}/" in f"/{name}"}
    if not found:
        near = ", ".join(sorted({name.partition("/")[0] for name in params})[:3]) or "nothing"
        raise BadData(f"the checkpoint has no module {root!r}: it begins with {near}")
    averages = {name: array for name, array in state.items() if name.endswith("/average") and f"/{root}/" in f"/{name}"}
    converted = {rename(name, root=root): to_torch(name, array) for name, array in {**found, **averages}.items()}
    means = [name for name in converted if name.endswith("running_mean")]
    counters = {name.replace("running_mean", "num_batches_tracked"): torch.tensor(0) for name in means}
    return converted | counters


def rename(name: str, *, root: str) -> str:
    """Translate ``.../root/module/parameter`` into our name inside that module."""
    path = f"/{name}".partition(f"/{root}/")[2].replace("/~/", "/").removeprefix("~/")
    *modules, parameter = path.split("/")
    parts = [_module(module) for module in modules]
    return ".".join(parts if parameter == "average" else [*parts, _PARAMETERS.get(parameter, parameter)])


def to_torch(name: str, array: Floats) -> Tensor:
    """Lay an array out as our layers want it: the frames a convolution sees at once in its inputs, earliest first.

    Raises:
        BadData: it has a form that no layer has.
    """
    tensor = torch.from_numpy(_writable(array))
    if not name.endswith("/w"):
        return tensor.flatten()
    if tensor.ndim == 2:
        return tensor.T.contiguous()
    if tensor.ndim == 4:
        return tensor.permute(3, 2, 0, 1).contiguous()
    if tensor.ndim == 5:
        return _clip_weight(tensor)
    raise BadData(f"{name} has the shape {tuple(tensor.shape)}, which no layer has")


def _clip_weight(weight_THWIO: Tensor) -> Tensor:
    _, rows, columns, _, outputs = weight_THWIO.shape
    if rows == columns == 1:
        return weight_THWIO[:, :, 0].permute(3, 2, 0, 1).contiguous()
    return weight_THWIO.permute(4, 0, 3, 1, 2).reshape(outputs, -1, rows, columns)


def _module(name: str) -> str:
    for pattern, ours in _MODULES:
        if match := re.fullmatch(pattern, name):
            return match.expand(ours)
    return name


def _writable(array: Floats) -> Floats:
    return array.astype(np.float32)
