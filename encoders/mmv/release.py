"""The whole of a released MMV checkpoint, heads and words included, as weights of ours.

A checkpoint is given as ``weights.from_haiku`` takes it. The released ones have the ``fac`` graph: S3D-G is
``Config.paper()`` with ``space_to_depth=True``, TSM ``video="tsm50"`` or ``"tsm50x2"``. They are CC BY-NC 4.0 and not
part of Quiver. Their heads between audio and text, which nothing trained, are left out.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from quiver.encoders.mmv.weights import from_haiku
from quiver.errors import BadData
from quiver.types import Floats

#: Official names of our heads.
HEADS: Mapping[str, Mapping[str, str]] = {
    "shared": {"video_vat": "vis_embd", "audio_vat": "audio_embd", "text_vat": "txt_embd"},
    "disjoint": {"video_va": "vid2audio_embd", "video_vt": "vis_embd", "audio_va": "audio_embd", "text_vt": "txt_embd"},
    "fac": {"video_va": "vid2audio_embd", "va_vat": "vis_embd", "audio_va": "audio_embd", "text_vat": "txt_embd"},
}
_TOWERS = {"video": r"S3D|TSMResNetV2", "audio": r"res_net_v2"}
_WORDS = {"table": "text_module/~/embed/embeddings", "word.weight": "text_module/~/text_conv1/w",
          "word.bias": "text_module/~/text_conv1/b"}  # fmt: skip
#: Layers of a head, as ``from_haiku`` leaves them, by what kind of head it is.
_LAYERS = {
    "video": {
        "final_projection_inner": "inner",
        "norm": "inner_norm",
        "final_projection": "outer",
        "norm_1": "outer_norm",
    },
    "va": {"final_projection": "linear", "norm": "norm"},
    "linear": {"final_projection": ""},
}


def from_release(params: Mapping[str, Floats], state: Mapping[str, Floats], *, graph: str = "fac") -> dict[str, Tensor]:
    """Convert a checkpoint.

    Args:
        params: ``module/parameter`` to array.
        state: ``module/~/mean_ema/average`` and so on to array.
        graph: of the checkpoint.

    Returns:
        A state dict for ``MMV``; its towers are those the checkpoint has.

    Raises:
        BadData: a head or the words are missing, or an array has a form that no layer has.
    """
    converted = {f"towers.text.{ours}": _words(params, theirs) for ours, theirs in _WORDS.items()}
    for modality, pattern in _TOWERS.items():
        if root := next((found[1] for name in params if (found := re.search(rf"(?:^|/)({pattern})/", name))), None):
            tower = from_haiku(params, state, root=root)
            converted |= {f"towers.{modality}.{name}": value for name, value in tower.items()}
    for ours, theirs in HEADS[graph].items():
        source = ours.partition("_")[0]
        layers = _LAYERS.get(source, _LAYERS["linear"])
        for name, value in from_haiku(params, state, root=theirs).items():
            layer, _, number = name.rpartition(".")
            converted[".".join(filter(None, ("graph.heads", ours, layers[layer], number)))] = value
    return converted


def _words(params: Mapping[str, Floats], name: str) -> Tensor:
    found = [array for key, array in params.items() if key.endswith(name)]
    if not found:
        raise BadData(f"the checkpoint has no {name!r}: it is not one of MMV with text")
    tensor = torch.from_numpy(found[0].astype("float32", copy=True))
    return tensor[0].T.contiguous() if name.endswith("/w") else tensor
