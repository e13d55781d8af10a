"""How a checkpoint itself says that its tokens become one vector: the modules that Sentence Transformers wrote.

Format: github.com/huggingface/sentence-transformers, Apache-2.0: ``modules.json`` lists the modules, and the
``config.json`` of the module Pooling names the way. Version 6 writes one name, earlier ones a flag for each way.
"""

import json
from pathlib import Path
from typing import Any

from quiver.encoders import _hub
from quiver.errors import BadSpec

#: Ways of pooling by the names that the library gives them.
_WAYS = {"cls": "cls", "mean": "mean", "lasttoken": "last", "cls_token": "cls", "mean_tokens": "mean"}
#: Modules that this adapter follows. Normalize changes no direction.
_FOLLOWED = {"Transformer", "Pooling", "Normalize"}


def stored(folder: Path) -> str | None:
    """Return ``cls``, ``mean`` or ``last``, as a checkpoint says; None if it says nothing.

    Raises:
        BadSpec: it has modules or a pooling that only Sentence Transformers can run, or the files are no JSON.
    """
    listed = folder / "modules.json"
    if not listed.is_file():
        return None
    modules = {str(part["type"]).rsplit(".", 1)[-1]: folder / str(part["path"]) for part in _read(listed)}
    further = sorted(modules.keys() - _FOLLOWED)
    if further:
        raise BadSpec(f"{folder} goes on with {', '.join(further)} after its network: {_instead(folder)}")
    if "Pooling" not in modules:
        return None
    described = _read(modules["Pooling"] / "config.json")
    ways = described.get("pooling_mode") or [
        name.removeprefix("pooling_mode_")
        for name, used in described.items()
        if name.startswith("pooling_mode_") and used
    ]
    ways = [ways] if isinstance(ways, str) else list(ways)
    if len(ways) != 1 or ways[0] not in _WAYS:
        raise BadSpec(f"{folder} pools by {' and '.join(map(str, ways)) or 'nothing'}: {_instead(folder)}")
    return _WAYS[ways[0]]


def _instead(folder: Path) -> str:
    return f"use sentence_transformers model={folder}, or choose pooling=cls, mean or last yourself"


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadSpec(f"{path} cannot be read: {_hub.brief(error)}") from error
