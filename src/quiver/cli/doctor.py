"""``quiver doctor``: check installed libraries and the machine."""

import importlib
import importlib.metadata
import os
import platform
from dataclasses import asdict
from typing import Annotated, Any

import typer

from quiver.cli import place, show
from quiver.errors import explained

#: Distribution by module.
_LIBRARIES = {
    "numpy": "numpy",
    "pyarrow": "pyarrow",
    "lance": "pylance",
    "faiss": "faiss-cpu",
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
    "pycocoevalcap": "pycocoevalcap",
}


def doctor(
    collection: Annotated[
        str | None, typer.Argument(help="Check the stored vectors of this collection instead of the installation.")
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure the speed of this machine again (one or two seconds).")
    ] = False,
    trust: show.Trust = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the installation: versions, import errors, GPUs, Java, threads, and search speed on this machine.

    With a collection, check its vectors: whether they differ, and whether its encoders still give the stored ones.
    """
    from quiver import __version__, registry

    if collection is not None:
        _vectors(collection, trust=trust, json=json)
        return

    found: dict[str, Any] = {
        "quiver": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "libraries": {module: _check(module, name) for module, name in _LIBRARIES.items()},
        "encoders": registry.names("encoders"),
        "indexers": registry.names("indexers"),
        **_compute(),
        **_java(),
        "costs": _costs(anew=calibrate),
    }
    if json:
        show.write_json(found)
        return
    for name in ("quiver", "python", "machine", "gpus", "torch_threads"):
        print(f"{name.replace('_', ' ')}: {found[name]}")
    print(f"java: {found['java'] or 'not found'}")
    for measure, problem in found["caption_measures"].items():
        print(f"{measure}: {problem or 'can be computed'}")
    rows = [(name, each["version"] or "-", each["problem"] or "loads") for name, each in found["libraries"].items()]
    show.write_table(("library", "version", "state"), rows)
    print(_priced(found["costs"]))
    print(f"encoders: {', '.join(found['encoders'])}\nindexers: {', '.join(found['indexers'])}")


def _vectors(collection: str, *, trust: bool, json: bool) -> None:
    found = place.opened(collection, trust=trust).check_vectors()
    if json:
        show.write_json(found)
    else:
        rows = [
            (
                each.key,
                each.space,
                each.sampled,
                "-" if each.cosine is None else f"{each.cosine:.3f}",
                each.alike,
                f"{min(each.again.values()):.5f} ({len(each.again)} items)" if each.again else "-",
            )
            for each in found
        ]
        show.write_table(("embeds", "space", "sampled", "mean cosine", "equal vectors", "embedded again"), rows)
    for each in found:
        for line in each.problems:
            show.warn(line)


def _java() -> dict[str, Any]:
    """Return the version of Java, and by measure of captions that needs it why it cannot be computed."""
    from quiver.benchmarks.metric import caption_java

    problems = {measure: caption_java.missing(measure) for measure in ("METEOR", "SPICE")}
    return {"java": caption_java.version(), "caption_measures": problems}


def _costs(*, anew: bool) -> dict[str, Any]:
    from quiver.engine.statistics.machine import machine
    from quiver.engine.tuning.calibration import calibrate

    return asdict(calibrate() if anew else machine())


def _priced(costs: dict[str, Any]) -> str:
    measured = (
        f"measured {costs['at']}" if costs["at"] else "not measured on this machine yet: run quiver doctor --calibrate"
    )
    scans = ", ".join(
        f"{costs[name]['alone']:.3g} ns a number {what}, {costs[name]['together']:.3g} in a batch"
        for name, what in (("scan", "scanned"), ("pick", "picked"))
    )
    floors = ", ".join(f"{name} {costs[name]['alone']:.2g} ms" for name in ("exact", "faiss", "lance"))
    return f"searching: {scans}; a call takes at least: {floors}; memory {costs['bandwidth']:.0f} GB/s ({measured})"


def _check(module: str, name: str) -> dict[str, str | None]:
    problem = None
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        problem = str(explained(error))
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    for distribution in (name, name.replace("cpu", "gpu")):
        try:
            return {"version": importlib.metadata.version(distribution), "problem": problem}
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"version": None, "problem": problem or f"no distribution called {name}"}


def _compute() -> dict[str, Any]:
    try:
        import torch
    except ModuleNotFoundError:
        return {"gpus": [], "torch_threads": None}
    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return {"gpus": gpus, "torch_threads": torch.get_num_threads()}
