"""Files: where caches live, and small text files that appear whole or not at all, whoever else writes them."""

import os
from pathlib import Path
from uuid import uuid4


def keep(path: Path, text: str) -> None:
    """Write text as UTF-8, in place of what was there; folders are made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{uuid4().hex}.new")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)


def cache_home() -> Path:
    """Return the folder for caches: ``$QUIVER_CACHE``, else ``~/.cache/quiver``."""
    return Path(os.environ.get("QUIVER_CACHE", Path.home() / ".cache" / "quiver"))
