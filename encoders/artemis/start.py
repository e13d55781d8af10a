"""CIRPLANT from a BERT or Oscar: sizes, word pieces and weights of a checkpoint.

Without them it is not the system of its paper (R@1 on CIRR 15.2 instead of 19.6, by the authors' ablation).
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import nn

from quiver.encoders import _weights
from quiver.encoders.artemis.cirplant import Cirplant, translate
from quiver.encoders.artemis.config import Config
from quiver.encoders.artemis.model import Model
from quiver.encoders.artemis.text import Feature
from quiver.encoders.artemis.word import pieces
from quiver.errors import BadData, BadSpec, MissingWeights

#: Oscar's regions end in this many terms of a box, which a whole picture does not have.
BOX = 6


def sized(config: Config, folder: Path) -> Config:
    """Return a config with the sizes and word pieces of a checkpoint.

    Raises:
        BadSpec: it has fewer layers or positions than ``config.bert`` asks for, or another activation than BERT's.
        MissingWeights: its config.json or vocabulary is missing.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise MissingWeights(f"{folder} has no config.json: give the folder of a BERT of transformers")
    theirs = json.loads(path.read_text(encoding="utf-8"))
    for name, wanted, key in (
        ("layers", config.bert.layers, "num_hidden_layers"),
        ("length", config.bert.length, "max_position_embeddings"),
    ):
        if wanted > theirs[key]:
            raise BadSpec(f"model.bert.{name}={wanted}: the BERT of {folder} has {theirs[key]}")
    if theirs.get("hidden_act", "gelu") != "gelu":
        raise BadSpec(f"{path}: hidden_act {theirs['hidden_act']!r} is not gelu, which CIRPLANT has")
    bert = replace(config.bert, heads=theirs["num_attention_heads"], inner=theirs["intermediate_size"])
    return replace(config, dim=theirs["hidden_size"], bert=bert, words=vocabulary(folder), pieces=True)


def vocabulary(folder: Path) -> tuple[str, ...]:
    """Return the word pieces of a checkpoint, in the order of their ids.

    Raises:
        BadData: they are not those of an uncased BERT.
        MissingWeights: there are none.
    """
    listed, whole = folder / "vocab.txt", folder / "tokenizer.json"
    if listed.is_file():
        return pieces(listed)
    if not whole.is_file():
        raise MissingWeights(f"{folder} has neither {listed.name} nor {whole.name}: its word pieces are missing")
    told: dict[str, Any] = json.loads(whole.read_text(encoding="utf-8"))
    places = told["model"].get("vocab")
    if told["model"].get("type", "WordPiece") != "WordPiece" or sorted(places.values()) != list(range(len(places))):
        raise BadData(f"{whole} holds no word pieces of BERT")
    return tuple(sorted(places, key=places.__getitem__))


def fill(model: Model, folder: Path) -> None:
    """Load the weights of a checkpoint into CIRPLANT; Oscar's layer of regions too, where pictures are as wide.

    Raises:
        MissingWeights: a weight is missing, or has another shape.
    """
    found = {_bare(name): tensor for name, tensor in _weights.read(folder).items()}
    composer = cast(Cirplant, model.composer)
    try:
        composer.load_state_dict(translate(found, model.config, prefix=""))
    except (KeyError, RuntimeError) as error:
        raise MissingWeights(f"{folder} is no BERT of these sizes: {' '.join(str(error).split())[:300]}") from error
    project = model.image.project if isinstance(model.image, Feature) else None
    weight = found.get("img_embedding.weight")
    if weight is not None and isinstance(project, nn.Linear) and weight.shape[1] == project.in_features + BOX:
        own = {"weight": weight[:, :-BOX], "bias": found["img_embedding.bias"]}
        project.load_state_dict({name: tensor.clone() for name, tensor in own.items()})


def _bare(name: str) -> str:
    """Return a name without the prefix and the old endings of checkpoints converted from TensorFlow."""
    bare = name.removeprefix("bert.").replace("LayerNorm.gamma", "LayerNorm.weight")
    return bare.replace("LayerNorm.beta", "LayerNorm.bias")
