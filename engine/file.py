"""Small files of text that appear whole or not at all, whoever else writes them."""

import os
from pathlib import Path
from uuid import uuid4


def keep(path: Path, text: str) -> None:
    """Write text as UTF-8, in place of what was there; folders are made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{uuid4().hex}.new")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)
