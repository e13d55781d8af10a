"""New models: from the weights of a CLIP, or from nothing with patches of a frozen network.

Library: github.com/mlfoundations/open_clip, MIT.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from quiver import registry
from quiver.encoders._patch.extract import Extractor, Source
from quiver.encoders._pieces import Pieces
from quiver.encoders.clip4idc.config import Config, Text, Vision
from quiver.encoders.clip4idc.model import Clip4Idc, translate
from quiver.encoders.clip4idc.words import Clip, Learnt
from quiver.errors import BadSpec, optional

#: Beginnings of the names of parameters below the first block.
BELOW = (
    *("pairs.conv1.", "pairs.class_embedding", "pairs.positional_embedding", "pairs.ln_pre."),
    "sentences.token_embedding.",
)


def from_nothing(config: Config, extractor: Extractor, source: Source, texts: Sequence[str], *, seed: int) -> Clip4Idc:
    """Make a model with random weights, always the same of a seed.

    Args:
        config: sizes.
        extractor: of the patches.
        source: the same with its network.
        texts: sentences to learn word pieces from, if the config has a text tower.
        seed: of the weights.
    """
    vision = replace(
        config.vision,
        patch=0,
        size=extractor.size,
        rows=extractor.rows,
        columns=extractor.columns,
        feature=source.width,
        source=source.revision,
    )
    config = replace(config, vision=vision)
    words = None
    if not config.text.feature:
        words = Learnt(Pieces.train(texts, size=config.text.vocabulary))
        text = replace(config.text, clip=False, begin=words.begin, end=words.end, pad=words.pad)
        config = replace(config, text=replace(text, vocabulary=len(words)))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Clip4Idc(config)
    model.words = words
    return model


def from_clip(config: Config, spec: str, *, seed: int) -> Clip4Idc:
    """Make a model with the weights of a CLIP; what is new in it is random, always the same of a seed.

    Args:
        config: model.vision.intra, dropouts, model.text.length, and a frozen text encoder if there is one. What is
            only for features of a frozen network (``change``, ``relative``) is left out.
        spec: of open_clip.
        seed: of the new weights.

    Raises:
        BadSpec: it is no CLIP of a plain vision transformer and, unless sentences are read by a frozen encoder, of a
            plain text transformer with CLIP's own byte pairs.
        MissingWeights: the weights are not on disk and cannot be downloaded.
    """
    network, tokenizer = registry.load("encoders", spec, entry="network")
    eye = network.visual
    vision = _vision(eye, config.vision, spec)
    dim = eye.proj.shape[1]
    text = config.text if config.text.feature else _text(network, tokenizer, config.text, spec)
    config = replace(config, dim=dim, vision=vision, text=text)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Clip4Idc(config)
    state = translate(_flat(network), length=text.length, sentences=not text.feature)
    lacking, unknown = model.load_state_dict(state, strict=False)
    new = ("pairs.before", "pairs.after", "pairs.joint", "pairs.ln_mid.")
    free = (*new, "sentences.") if text.feature else new
    if unknown or [name for name in lacking if not name.startswith(free)]:
        raise BadSpec(f"clip4idc: {spec!r} is no plain CLIP: {', '.join([*unknown, *lacking][:3])} differ")
    model.words = None if text.feature else Clip()
    return model


def freeze(model: nn.Module) -> None:
    """Keep everything below the first blocks as it is."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(BELOW))


def _flat(network: Any) -> dict[str, Tensor]:
    """Return the weights of a CLIP with the names of the original, where the text tower has no prefix."""
    state: Mapping[str, Tensor] = network.state_dict()
    return {name.removeprefix("text."): each.float() for name, each in state.items() if name != "attn_mask"}


def _vision(eye: Any, said: Vision, spec: str) -> Vision:
    """Return the sizes of a CLIP's vision transformer."""
    with optional():
        from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
    blocks = eye.transformer.resblocks if isinstance(eye, VisionTransformer) else []
    plain = len(blocks) > 0 and all(type(each) is ResidualAttentionBlock for each in blocks)
    if not plain or eye.attn_pool is not None or eye.pool_type != "tok" or eye.final_ln_after_pool or eye.proj is None:
        raise BadSpec(
            f"clip4idc: {spec!r} has no vision transformer with a class token and a projection: take one such as "
            "ViT-B-32 (a ResNet, a timm model or attention pooling will not do)"
        )
    settings, first = dict(eye.preprocess_cfg), blocks[0]
    rows, columns = eye.grid_size
    if rows != columns or eye.image_size[0] != eye.image_size[1]:
        raise BadSpec(f"clip4idc: {spec!r} takes pictures of {eye.image_size}: they must be square")
    scale = getattr(first.ls_1, "gamma", None)
    return replace(
        said,
        size=eye.image_size[0],
        patch=eye.patch_size[0],
        feature=0,
        source="",
        rows=rows,
        columns=columns,
        change=0,
        relative=False,
        width=eye.conv1.out_channels,
        layers=len(blocks),
        heads=first.attn.num_heads,
        ratio=first.mlp.c_fc.out_features / eye.conv1.out_channels,
        activation=_activation(first),
        layer_scale=None if scale is None else float(scale.detach().mean()),
        pre_norm=not isinstance(eye.ln_pre, nn.Identity),
        resample="bilinear" if settings["interpolation"] == "bilinear" else "bicubic",
        mean=_channels(settings["mean"]),
        std=_channels(settings["std"]),
    )


def _text(network: Any, tokenizer: Any, said: Text, spec: str) -> Text:
    """Return the sizes of a CLIP's text tower."""
    with optional():
        from open_clip.tokenizer import SimpleTokenizer
        from open_clip.transformer import ResidualAttentionBlock
    tower = getattr(network, "text", network)
    blocks = getattr(getattr(tower, "transformer", None), "resblocks", [])
    plain = len(blocks) > 0 and all(type(each) is ResidualAttentionBlock for each in blocks)
    pool = getattr(tower, "pool_type", None) or getattr(network, "text_pool_type", "argmax")
    causal = getattr(tower, "attn_mask", None) is not None
    if not plain or not causal or pool != "argmax" or getattr(tower, "cls_emb", None) is not None:
        raise BadSpec(f"clip4idc: {spec!r} has no text tower like CLIP's: give text=ENCODER, such as a MiniLM")
    if type(tokenizer) is not SimpleTokenizer or not isinstance(tower.text_projection, nn.Parameter):
        raise BadSpec(f"clip4idc: {spec!r} does not read CLIP's byte pairs: give text=ENCODER, such as a MiniLM")
    words = Clip()
    return replace(
        said,
        vocabulary=tower.token_embedding.num_embeddings,
        clip=True,
        begin=words.begin,
        end=words.end,
        pad=words.pad,
        length=min(said.length, len(tower.positional_embedding)),
        width=tower.token_embedding.embedding_dim,
        layers=len(blocks),
        heads=blocks[0].attn.num_heads,
        activation=_activation(blocks[0]),
    )


def _activation(block: Any) -> Literal["quick_gelu", "gelu"]:
    with optional():
        from open_clip.transformer import QuickGELU
    return "quick_gelu" if isinstance(block.mlp.gelu, QuickGELU) else "gelu"


def _channels(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(each) for each in values)
    return red, green, blue
