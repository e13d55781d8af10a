"""Whether maps find the change: ``python -m quiver.benchmarks.study.change_maps --run NAME=FOLDER ...``.

The pointing game (Zhang et al. 2016, arXiv:1608.00507) on made tables: in each picture that shows the changed body,
does the largest cell of a map hold the middle of that body? Of trained models of ``clip4idc``, several of one name
for several seeds:

* ``attention``: where the class tokens of stage one look in the last block, as pages of results show it;
* ``captions``: the same of the generator's own encoder of pairs; with DUDA its attention;
* ``difference``: length of the difference of the two pictures' features in a cell, which nobody has trained;
* ``chance``: one cell of all.

A figure is the mean over seeds, with the bootstrap interval of that mean over pairs.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quiver import registry
from quiver.benchmarks import datasets
from quiver.benchmarks.datasets.world import World
from quiver.encoders._patch.extract import Extractor, open
from quiver.encoders.clip4idc.caption_model import FOLDER, CaptionModel
from quiver.encoders.clip4idc.duda import Duda
from quiver.encoders.clip4idc.encoder import Eyes, eyes
from quiver.encoders.clip4idc.model import Clip4Idc
from quiver.errors import BadSpec
from quiver.files import write_json
from quiver.types import Floats, Item

Points = list[tuple[tuple[float, float] | None, tuple[float, float] | None]]
Show = Callable[[Tensor], Floats]
RESAMPLES = 2000
#: Pairs that are looked at together.
AT_ONCE = 32


def shown(data: str) -> tuple[list[Item], Points]:
    """Return the changed pairs of a made world, and where the changed body is in both pictures.

    Raises:
        BadSpec: the data set is no track of changes of a world.
    """
    name, options = registry.split(data)
    if name != "world" or options.get("track", "") not in ("changes", "changes_views"):
        raise BadSpec(f"--data {data!r}: only world track=changes and track=changes_views know where the change is")
    world = World(seed=int(options.get("seed", 0)), size=int(options.get("size", 64)))
    items = [item for item in datasets.load(data).items if item.meta["change"] != "none"]
    return items, [world.pair(int(item.id.removeprefix("pair"))).changed_at for item in items]


def hits(maps: Floats, points: Points) -> NDArray[np.float64]:
    """Return for each pair the share of its pictures with the changed body whose largest cell holds its middle, (n,).

    Args:
        maps: (n, 2, rows, columns), of the pictures before and after.
        points: of n pairs, see ``shown``.
    """
    _, _, rows, columns = maps.shape
    found = np.empty(len(points))
    for place, both in enumerate(points):
        told = []
        for grid, point in zip(maps[place], both, strict=True):
            if point is not None:
                row, column = divmod(int(grid.argmax()), columns)
                x, y = (min(max(each, 0.0), 1 - 1e-9) for each in point)
                told.append((int(y * rows), int(x * columns)) == (row, column))
        found[place] = np.mean(told)
    return found


def maps(folder: Path, items: Sequence[Item]) -> dict[str, Floats]:
    """Return the maps (n, 2, rows, columns) of a trained model, by their name."""
    model = Clip4Idc.open(folder).eval()
    look = eyes(model.config, open(Extractor.read(folder), device="cpu", folder=folder))
    grid = (model.config.vision.rows, model.config.vision.columns)
    show: dict[str, Show] = {"attention": lambda given: model.pairs.attention(given).numpy()}
    if (folder / FOLDER).is_dir():
        teller = CaptionModel.open(folder / FOLDER).eval()
        show["captions"] = lambda given: _attention(teller, given)

    def difference(given: Tensor) -> Floats:
        gap = ((given[:, 1] - given[:, 0]) / model.pairs.spread).norm(dim=2).unflatten(1, grid)
        return gap[:, None].expand(-1, 2, -1, -1).numpy()

    show["difference"] = difference
    parts: dict[str, list[Floats]] = {name: [] for name in show}
    with torch.inference_mode():
        for given in _batches(look, items):
            for name, each in show.items():
                parts[name].append(each(given))
    return {name: np.concatenate(each) for name, each in parts.items()}


def _attention(teller: CaptionModel, given: Tensor) -> Floats:
    if isinstance(teller.writer, Duda):
        return teller.writer.detector(teller.memory(given)).maps.numpy()
    assert teller.pairs is not None
    return teller.pairs.attention(given).numpy()


def _batches(look: Eyes, items: Sequence[Item]) -> Iterator[Tensor]:
    for start in range(0, len(items), AT_ONCE):
        yield look.given(
            [look.reader((item.media["before"], item.media["after"])) for item in items[start : start + AT_ONCE]]
        )


def measure(data: str, runs: dict[str, list[Path]]) -> dict[str, Any]:
    """Return the share of hits with its interval, by run and kind of map."""
    items, points = shown(data)
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(items), size=len(items)) for _ in range(RESAMPLES)]
    found: dict[str, Any] = {}
    for name, folders in runs.items():
        each = [maps(folder, items) for folder in folders]
        found[name] = {"chance": {"value": 1 / each[0]["attention"][0, 0].size}}
        for kind in each[0]:
            seeds = np.stack([hits(one[kind], points) for one in each])
            mean = seeds.mean(axis=0)
            low, high = np.quantile([mean[rows].mean() for rows in drawn], [0.025, 0.975])
            found[name][kind] = {
                "value": float(mean.mean()),
                "low": float(low),
                "high": float(high),
                "seeds": seeds.mean(axis=1).tolist(),
            }
    return {"data": data, "pairs": len(items), "runs": found}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="world track=changes_views split=test count=240", help="made world")
    parser.add_argument("--run", action="append", required=True, help="NAME=FOLDER of a trained model; may be repeated")
    parser.add_argument("--out", type=Path, help="JSON file")
    given = parser.parse_args(arguments)
    runs: dict[str, list[Path]] = {}
    for each in given.run:
        name, _, folder = each.partition("=")
        runs.setdefault(name, []).append(Path(folder))
    report = {"command": " ".join(sys.argv), **measure(given.data, runs)}
    if given.out:
        write_json(given.out, report, indent=1)
    print(f"the largest cell holds the changed body, {report['pairs']} pairs")
    for name, figures in report["runs"].items():
        for kind, told in figures.items():
            spread = f" [{told['low']:.3f}, {told['high']:.3f}] seeds " if "low" in told else ""
            print(f"{name} {kind}: {told['value']:.3f}{spread}{' '.join(f'{x:.3f}' for x in told.get('seeds', []))}")


if __name__ == "__main__":
    main()
