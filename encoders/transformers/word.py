"""From texts to token numbers."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quiver.encoders import _tokens
from quiver.encoders.transformers.checkpoint import Checkpoint, part

if TYPE_CHECKING:
    import torch

# Their position numbers start behind the number of the padding token.
_OFFSET = {
    *("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer"),
    *("clap_text_model", "altclip_text_model"),
}


@dataclass(frozen=True, slots=True)
class Words:
    """Cuts texts into the inputs of a network.

    Attributes:
        tokenizer: of the checkpoint, padding on the right.
        length: tokens a text may have; the rest is cut.
        accepted: names of inputs the network takes.
        fixed: pad to ``length`` and hide nothing (SigLIP), or pad to the longest and mask the padding.
        place: the device of the network.
    """

    tokenizer: Any
    length: int
    accepted: tuple[str, ...]
    fixed: bool
    place: "torch.device"

    def __call__(self, texts: Sequence[str]) -> "dict[str, torch.Tensor]":
        """Return inputs of shape (n, tokens), int64."""
        found = self.tokenizer(
            [text.lower() for text in texts] if self.fixed else list(texts),
            padding="max_length" if self.fixed else "longest",
            truncation=True,
            max_length=self.length,
            return_tensors="pt",
        )
        return {name: found[name].to(self.place) for name in self.accepted if name in found}

    def __str__(self) -> str:
        return f"{_tokens.fingerprint(self.tokenizer)} {self.length} {self.accepted} {self.fixed}"


def words(checkpoint: Checkpoint, call: Callable[..., Any], *, fixed: bool = False) -> Words:
    """Load the tokenizer of a checkpoint.

    Args:
        checkpoint: the model.
        call: what takes the inputs.
        fixed: as SigLIP was trained: lower case, padded to its whole length, and no mask over the padding.
    """
    from transformers import AutoTokenizer

    folder = checkpoint.folder
    tokenizer = part("tokenizer", folder, lambda: AutoTokenizer.from_pretrained(folder, trust_remote_code=False))
    tokenizer.padding_side = "right"
    tokenizer.truncation_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    known = inspect.signature(call).parameters
    names = ("input_ids",) if fixed else ("input_ids", "attention_mask", "token_type_ids")
    accepted = tuple(name for name in names if name in known)
    positions = _positions(checkpoint.config.get_text_config())
    length = positions if fixed else min(positions, tokenizer.model_max_length)
    return Words(tokenizer, int(length), accepted, fixed, checkpoint.place)


def _positions(config: Any) -> int:
    """Return the number of token positions of a network."""
    offset = config.pad_token_id + 1 if config.model_type in _OFFSET else 0
    return int(config.max_position_embeddings) - offset
