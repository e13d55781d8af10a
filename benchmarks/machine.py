"""What a figure was measured on: machine, versions and commit."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

import quiver
from quiver.engine.statistics.machine import installed, processor

_LIBRARIES = (
    "faiss-cpu",
    "faiss-gpu",
    "ir-measures",
    "numpy",
    "onnxruntime",
    "open_clip_torch",
    "pylance",
    "scipy",
    "sentence-transformers",
    "timm",
    "torch",
    "transformers",
)


def machine() -> dict[str, Any]:
    """Return processor, cores, memory (GiB) and GPUs."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": _gpus(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }


def _gpus() -> list[str]:
    try:
        import torch
    except ModuleNotFoundError:
        return []
    return [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]


def resident_mib() -> float:
    """Return the MiB of memory that this process has resident now."""
    return float(psutil.Process().memory_info().rss / 2**20)


def versions() -> dict[str, str]:
    """Return the versions of Python, Quiver and the libraries that figures depend on, as far as installed."""
    return {"python": platform.python_version(), "quiver": quiver.__version__, **installed(_LIBRARIES)}


def commit() -> str | None:
    """Return the commit this code was run from, ``+`` after it where files differ; None outside a checkout."""
    folder = Path(__file__).resolve().parent
    said = _git(folder, "rev-parse", "HEAD")
    tracked = _git(folder, "ls-files", "--error-unmatch", "__init__.py") if said else None
    if not said or not tracked:
        return None
    return said + ("+" if _git(folder, "status", "--porcelain") else "")


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
