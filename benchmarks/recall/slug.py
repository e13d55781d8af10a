"""Names of folders and files that are readable and unique."""

import hashlib
import re


def slug(name: str, *parts: str) -> str:
    """Return a folder name: a readable part, then twelve digits of a hash.

    >>> slug("fashion_products track=text", "x")
    'fashion_products-track-text-2d711642b726'
    """
    readable = re.sub(r"[^\w.]+", "-", name).strip("-")[:48]
    return f"{readable}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:12]}"
