"""Initialisation from BERT or Oscar: the names of weights in their checkpoints.

Library: github.com/huggingface/transformers, Apache-2.0, for the names; the files are read without it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from quiver.encoders import _weights
from quiver.encoders.fashionbert.config import Trunk
from quiver.errors import BadSpec, MissingWeights

#: A pattern of theirs, and ours. BERT's head for the next sentence is left out: its class 0, not 1, says "belongs".
NAMES = (
    (r"embeddings\.word_embeddings\.(.+)", r"words.word.\1"),
    (r"embeddings\.position_embeddings\.(.+)", r"words.position.\1"),
    (r"embeddings\.token_type_embeddings\.(.+)", r"words.segment.\1"),
    (r"embeddings\.LayerNorm\.(.+)", r"words.norm.\1"),
    (r"encoder\.layer\.(\d+)\.attention\.self\.(query|key|value)\.(.+)", r"encoder.blocks.\1.\2.\3"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(.+)", r"encoder.blocks.\1.attended.\2"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.(.+)", r"encoder.blocks.\1.attended_norm.\2"),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.(.+)", r"encoder.blocks.\1.widen.\2"),
    (r"encoder\.layer\.(\d+)\.output\.dense\.(.+)", r"encoder.blocks.\1.narrow.\2"),
    (r"encoder\.layer\.(\d+)\.output\.LayerNorm\.(.+)", r"encoder.blocks.\1.narrow_norm.\2"),
    (r"pooler\.dense\.(.+)", r"pooler.\1"),
    (r"cls\.predictions\.transform\.dense\.(.+)", r"guess_word.dense.\1"),
    (r"cls\.predictions\.transform\.LayerNorm\.(.+)", r"guess_word.norm.\1"),
    (r"cls\.predictions\.bias", r"guess_word.bias"),
    # Oscar's own
    (r"img_embedding\.(.+)", r"regions.project.\1"),
    (r"LayerNorm\.(.+)", r"regions.norm.\1"),
    (r"classifier\.(.+)", r"classify.\1"),
)
_SETTINGS = {
    "vocab_size": "vocabulary", "hidden_size": "hidden", "num_hidden_layers": "layers", "num_attention_heads": "heads",
    "intermediate_size": "inner", "max_position_embeddings": "positions", "type_vocab_size": "types",
    "hidden_dropout_prob": "dropout", "layer_norm_eps": "epsilon", "pad_token_id": "pad",
}  # fmt: skip
_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh"}


def settings(folder: Path) -> dict[str, Any]:
    """Return the fields of ``Trunk`` that a checkpoint's config.json fixes, as in ``Config(**settings(folder))``.

    Raises:
        MissingWeights: there is no config.json.
        BadSpec: its activation is none of BERT's.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise MissingWeights(f"{folder} has no config.json: give the folder of a BERT of transformers")
    theirs = json.loads(path.read_text(encoding="utf-8"))
    activation = theirs.get("hidden_act", "gelu")
    if activation not in _ACTIVATIONS:
        raise BadSpec(f"{path}: hidden_act {activation!r} is not one of {', '.join(_ACTIVATIONS)}")
    known = {field.name for field in fields(Trunk)}
    ours = {name: theirs[key] for key, name in _SETTINGS.items() if theirs.get(key) is not None and name in known}
    return {**ours, "activation": _ACTIVATIONS[activation]}


def start(model: nn.Module, folder: Path) -> tuple[str, ...]:
    """Load BERT's or Oscar's part of a model: the trunk, the pooler, the head for words; the rest stays unchanged.

    Args:
        model: a FashionBert or Oscar of ``settings(folder)``.
        folder: of ``save_pretrained`` of transformers, or a download.

    Returns:
        The names of the model's weights that the checkpoint does not have.

    Raises:
        MissingWeights: the folder has no weights, too few or too many of the trunk, or of other shapes.
    """
    given, own = translate(_weights.read(folder)), model.state_dict()
    trunk = [name for name in own if name.startswith(("words.", "encoder."))]
    if absent := [name for name in trunk if name not in given]:
        raise MissingWeights(f"{folder} is no BERT of this depth: it lacks {absent[0]} and {len(absent) - 1} more")
    used = {name: weight for name, weight in given.items() if name in own}
    if wrong := [name for name, weight in used.items() if weight.shape != own[name].shape]:
        theirs, ours = tuple(used[wrong[0]].shape), tuple(own[wrong[0]].shape)
        raise MissingWeights(f"{folder}: {wrong[0]} is {theirs} where the model has {ours}: use its settings()")
    parts = ("words.", "encoder.", "regions.") if "regions.project.weight" in own else ("words.", "encoder.")
    if left := [name for name in given if name.startswith(parts) and name not in own]:
        raise MissingWeights(f"{folder} has {left[0]} and {len(left) - 1} more, which the model does not")
    model.load_state_dict(used, strict=False)
    return tuple(name for name in own if name not in used)


def translate(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a checkpoint's weights our names; those that have none are dropped."""
    ours = {}
    for name, weight in weights.items():
        bare = name.removeprefix("bert.").replace("LayerNorm.gamma", "LayerNorm.weight")
        bare = bare.replace("LayerNorm.beta", "LayerNorm.bias")  # names of checkpoints converted from TensorFlow
        for pattern, replacement in NAMES:
            if re.fullmatch(pattern, bare):
                ours[re.sub(pattern, replacement, bare)] = weight
    return ours
