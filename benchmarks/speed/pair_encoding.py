"""What an ordered pair costs: ``python -m quiver.benchmarks.speed.pair_encoding``, pairs against two plain pictures.

The same CLIP, with random weights, embeds pairs jointly (CLIP4IDC) and each picture by itself. Joint embedding costs
more: the inter blocks attend over twice as many tokens, and nothing of a pair can be kept for another pair, while n
pictures embedded by themselves serve n (n - 1) pairs. Both take turns, batch by batch, and processor seconds are
counted, so that other load on the machine hardly matters; with a GPU, seconds.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median
from sys import stderr
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import torch

from quiver import registry
from quiver.benchmarks.machine import commit, machine, versions
from quiver.encoders.clip4idc.config import Config
from quiver.encoders.clip4idc.start import from_clip
from quiver.errors import BadSpec


def measure(model: str, *, batch: int, turns: int, device: str) -> dict[str, Any]:
    """Return processor seconds per pair of both ways, and their ratio.

    Args:
        model: an architecture of open_clip.
        batch: pairs that go through the network together.
        turns: batches of each way; the median counts.
        device: ``cpu`` or ``cuda``.

    Raises:
        BadSpec: there is no such architecture, or it is no plain vision transformer of 12 blocks.
    """
    import open_clip
    from safetensors.torch import save_file

    if open_clip.get_model_config(model) is None:
        raise BadSpec(f"open_clip has no model {model!r}: see open_clip.list_models()")
    with TemporaryDirectory() as folder, redirect_stdout(stderr):
        torch.manual_seed(0)
        path = Path(folder, "clip.safetensors")
        save_file({name: each.contiguous() for name, each in open_clip.create_model(model).state_dict().items()}, path)
        spec = f"open_clip model={model} checkpoint='{path}'"
        plain, _ = registry.load("encoders", spec, entry="network")
        pairs = from_clip(Config(), spec, seed=0).eval().to(device)
    plain = plain.to(device)
    size = pairs.config.vision.size
    pictures = torch.randn(batch, 2, 3, size, size, device=device)
    ways: dict[str, Callable[[], Any]] = {
        "pair": lambda: pairs.embed_pair(pictures),
        "two pictures": lambda: plain.encode_image(pictures.flatten(0, 1)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    clock = process_time if device == "cpu" else perf_counter
    with torch.inference_mode():
        for turn in range(turns + 1):
            for name, way in ways.items():
                started = clock()
                way()
                if device != "cpu":
                    torch.cuda.synchronize()
                if turn:  # the first warms up
                    seconds[name].append((clock() - started) / batch)
    middle = {name: median(each) for name, each in seconds.items()}
    ratios = sorted(one / other for one, other in zip(seconds["pair"], seconds["two pictures"], strict=True))
    return {
        "model": model,
        "batch": batch,
        "device": device,
        "pairs_per_second": {name: 1 / each for name, each in middle.items()},
        "ratio": {"median": median(ratios), "low": ratios[0], "high": ratios[-1]},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Read arguments, measure, and print a report as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", default="ViT-B-32-quickgelu", help="architecture of open_clip with 12 blocks")
    parser.add_argument("--batch", type=int, default=8, help="pairs that go through the network together")
    parser.add_argument("--turns", type=int, default=5, help="batches of each way")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    given = parser.parse_args(arguments)
    found = measure(given.model, batch=given.batch, turns=given.turns, device=given.device)
    print(json.dumps({**found, "machine": machine(), "versions": versions(), "commit": commit()}, indent=1))


if __name__ == "__main__":
    main()
