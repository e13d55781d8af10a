"""Fingerprint of a tokenizer: with another one, the same words get other vectors."""

import json
from typing import Any

from quiver.encoders import _fingerprint


def fingerprint(tokenizer: Any) -> str:
    """Hash a Hugging Face tokenizer as it stands after loading: vocabulary, rules and special tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    special = json.dumps(tokenizer.special_tokens_map, sort_keys=True, default=str)
    return _fingerprint.of_parts(type(tokenizer).__name__, rules, special)
