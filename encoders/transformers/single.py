"""Models of one kind of input: image backbones and text encoders, pooled to one vector."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from quiver.encoders._precision import cast
from quiver.encoders._tower import Tower, in_batches
from quiver.encoders.transformers import pooling
from quiver.encoders.transformers.checkpoint import Checkpoint
from quiver.encoders.transformers.contrastive import AT_ONCE, seen_towers
from quiver.encoders.transformers.pixel import accepted, eyes
from quiver.encoders.transformers.word import words
from quiver.errors import BadSpec
from quiver.media import TextReader
from quiver.types import Floats

if TYPE_CHECKING:
    import torch

_LOG = logging.getLogger("quiver")
#: Image backbones, and what ``pooling=auto`` is. The pooler of ViT and its kin was trained, if at all, to classify.
VISION = {
    **dict.fromkeys(("vit", "deit", "vit_msn"), "cls"),
    **dict.fromkeys(("dinov2", "dinov2_with_registers", "dinov3_vit", "dinov3_convnext"), "pooler"),
    **dict.fromkeys(("convnext", "convnextv2", "regnet", "resnet", "swin", "swinv2"), "pooler"),
    **dict.fromkeys(("clip_vision_model", "siglip_vision_model"), "pooler"),
    "ijepa": "mean",
}
#: Text encoders, and what ``pooling=auto`` is for checkpoints that do not name their pooling.
TEXT = {
    **dict.fromkeys(("albert", "bert", "camembert", "deberta-v2", "distilbert", "electra", "ernie"), "mean"),
    **dict.fromkeys(("longformer", "modernbert", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl"), "mean"),
    **dict.fromkeys(("gemma", "gemma2", "llama", "mistral", "qwen2", "qwen3"), "last"),
}


def towers(checkpoint: Checkpoint) -> tuple[dict[str, Tower], tuple[str, ...]]:
    """Return the towers of a checkpoint and the description of their preprocessing."""
    return _image(checkpoint) if checkpoint.kind in VISION else _text(checkpoint)


def _image(checkpoint: Checkpoint) -> tuple[dict[str, Tower], tuple[str, ...]]:
    import torch

    how = VISION[checkpoint.kind] if checkpoint.pooling == "auto" else checkpoint.pooling
    if how == "last":
        raise BadSpec("pooling=last is for texts: a picture has no last token")
    seen, network = eyes(checkpoint.folder, checkpoint.place), checkpoint.network

    @torch.inference_mode()
    def features(batch: Sequence[Any]) -> Floats:
        output = network(**cast(accepted(seen.inputs(batch), network.forward), checkpoint.dtype))
        return checkpoint.rows(_picture(output, how, checkpoint))

    made, parts = seen_towers(checkpoint, seen, in_batches(features, checkpoint.at_once(AT_ONCE)))
    return made, (*parts, how)


def _picture(output: Any, how: str, checkpoint: Checkpoint) -> "torch.Tensor":
    if how == "pooler":
        if output.pooler_output is None:
            raise BadSpec(f"a {checkpoint.kind} model has no pooler: use pooling=cls or pooling=mean")
        return output.pooler_output.flatten(1)
    hidden = output.last_hidden_state
    if hidden.ndim == 4:  # a convolutional network: (n, channels, height, width)
        if how == "cls":
            raise BadSpec(f"a {checkpoint.kind} model has no class token: use pooling=mean or pooling=pooler")
        return hidden.mean((2, 3))
    return hidden[:, 0] if how == "cls" else hidden[:, _first_patch(checkpoint) :].mean(1)


def _first_patch(checkpoint: Checkpoint) -> int:
    """Return how many tokens (class, distillation, registers) stand before those of the patches."""
    if checkpoint.kind in {"ijepa", "swin", "swinv2", "siglip_vision_model"}:
        return 0
    return 2 if checkpoint.kind == "deit" else 1 + getattr(checkpoint.config, "num_register_tokens", 0)


def _text(checkpoint: Checkpoint) -> tuple[dict[str, Tower], tuple[str, ...]]:
    import torch

    if checkpoint.wishes.frames is not None:
        raise BadSpec(f"a {checkpoint.kind} model takes no video: leave out frames")
    how = _text_pooling(checkpoint) if checkpoint.pooling == "auto" else checkpoint.pooling
    network = checkpoint.network
    tokens = words(checkpoint, network.forward)

    @torch.inference_mode()
    def features(batch: Sequence[str]) -> Floats:
        inputs = tokens(batch)
        output = network(**inputs)
        if how == "pooler":
            return checkpoint.rows(_pooler(output, checkpoint.kind))
        return checkpoint.rows(_tokens(output.last_hidden_state, inputs["attention_mask"], how))

    return {"text": Tower(TextReader(), in_batches(features, checkpoint.at_once(AT_ONCE)))}, (str(tokens), how)


def _text_pooling(checkpoint: Checkpoint) -> str:
    """Return the pooling that a checkpoint names; without one, what its family is usually trained for, and say so."""
    named = pooling.stored(checkpoint.folder)
    if named is not None:
        return named
    usual = TEXT[checkpoint.kind]
    _LOG.warning(
        "%s does not say how its tokens become one vector: pooling=%s is used, as by most %s models; the model card"
        " tells whether it is another (pooling=cls, mean, last or pooler)",
        checkpoint.folder,
        usual,
        checkpoint.kind,
    )
    return usual


def _pooler(output: Any, kind: str) -> "torch.Tensor":
    found = getattr(output, "pooler_output", None)
    if found is None:
        raise BadSpec(f"a {kind} model has no pooler: use pooling=mean, cls or last")
    return found


def _tokens(hidden: "torch.Tensor", mask: "torch.Tensor", how: str) -> "torch.Tensor":
    """Pool (n, tokens, dim) over the tokens where mask is 1."""
    import torch

    if how == "cls":
        return hidden[:, 0]
    if how == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
    weights = mask[:, :, None].to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
