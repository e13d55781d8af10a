"""``quiver doctor``: what is installed, what loads, and what the machine has."""

import importlib
import importlib.metadata
import os
import platform
from typing import Annotated, Any

import typer

from quiver.engine.cli import show

#: Distribution by module.
_LIBRARIES = {
    "numpy": "numpy",
    "pyarrow": "pyarrow",
    "lance": "pylance",
    "faiss": "faiss-gpu",
    "torch": "torch",
    "timm": "timm",
    "open_clip": "open_clip_torch",
    "transformers": "transformers",
    "sentence_transformers": "sentence-transformers",
    "onnxruntime": "onnxruntime",
    "av": "av",
    "soundfile": "soundfile",
    "soxr": "soxr",
    "PIL": "pillow",
}


def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check the installation: versions, what loads, GPUs seen, threads."""
    from quiver import __version__, registry

    found: dict[str, Any] = {
        "quiver": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "libraries": {module: _check(module, name) for module, name in _LIBRARIES.items()},
        "encoders": registry.names("encoders"),
        "indexers": registry.names("indexers"),
        **_compute(),
    }
    if json:
        show.write_json(found)
        return
    for name in ("quiver", "python", "machine", "gpus", "faiss_gpus", "torch_threads"):
        print(f"{name.replace('_', ' ')}: {found[name]}")
    rows = [(name, each["version"] or "-", each["problem"] or "loads") for name, each in found["libraries"].items()]
    show.write_table(("library", "version", "state"), rows)
    print(f"encoders: {', '.join(found['encoders'])}\nindexers: {', '.join(found['indexers'])}")


def _check(module: str, name: str) -> dict[str, str | None]:
    problem = None
    try:
        importlib.import_module(module)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    for distribution in (name, name.replace("gpu", "cpu")):
        try:
            return {"version": importlib.metadata.version(distribution), "problem": problem}
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"version": None, "problem": problem or f"no distribution called {name}"}


def _compute() -> dict[str, Any]:
    import faiss
    import torch

    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return {"gpus": gpus, "faiss_gpus": faiss.get_num_gpus(), "torch_threads": torch.get_num_threads()}
