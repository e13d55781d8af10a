"""Speed of reranking by FashionBERT, shortcut by shortcut: ``python -m quiver.benchmarks.speed.fashionbert_rerank``.

It starts from the plain way, one pair at a time: the text padded to the longest the model takes, the picture's features
embedded again, every block computed for every token, in float32. Each further line adds a shortcut to those before it.
All ways score the same pairs in one process and by turns; each figure is of the shortest of several runs, since others
may be using the machine. Differences are of margins, and to the plain way; they stand beside how much margins vary.

Without ``--checkpoint`` the model has random weights, ``--data`` is not read, and texts are random pieces as long as
product names are; times are those of a trained model of that size, rank agreement is not.
"""

import argparse
import copy
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quiver import registry
from quiver.benchmarks import datasets
from quiver.benchmarks.machine import commit, machine, versions
from quiver.benchmarks.speed._turns import turns
from quiver.encoders.fashionbert.config import Config
from quiver.encoders.fashionbert.model import FashionBert
from quiver.encoders.fashionbert.score import margins
from quiver.types import Floats, Rows


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """What is scored.

    Attributes:
        texts: ids of q texts, unpadded.
        features: (i, P, F) of the pictures.
        rows: (q n, 2) int64, the text and the picture of each pair, n candidates of one text after the other.
    """

    texts: list[list[int]]
    features: Tensor
    rows: Rows


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table: pairs per second, and how far margins (standard deviation ``spread``) are from plain ones.

    ``first`` is the share of texts whose best candidate is that of the plain way.
    """

    way: str
    pairs_s: float
    times: float
    difference: float
    spread: float
    first: float


def made(config: Config, *, texts: int, candidates: int, seed: int) -> tuple[FashionBert, Pairs]:
    """Make a model of random weights and random pairs: texts of 6 to 20 pieces, as product names have them."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = FashionBert(config).eval().requires_grad_(False)
    longest = min(20, config.max_text)
    sizes = rng.integers(min(6, longest), longest + 1, texts)
    ids = [rng.integers(5, config.vocabulary, size).tolist() for size in sizes]
    features = rng.standard_normal((candidates, config.patches, config.feature), np.float32)
    return model, Pairs(ids, torch.from_numpy(features), _rows(texts, candidates))


def trained(checkpoint: Path, data: str, *, texts: int, candidates: int, seed: int) -> tuple[FashionBert, Pairs]:
    """Read a model, and draw texts and pictures of a data set; every text is paired with every picture drawn."""
    stock: Any = registry.load("encoders", f"fashionbert checkpoint='{checkpoint}' device=cpu precision=fp32")
    task = datasets.load(data)
    rng = np.random.default_rng(seed)
    words = sorted({question.query.media["text"] for question in task.questions})
    chosen = [words[number] for number in rng.permutation(len(words))[:texts]]
    pictures = [task.items[number].media["image"] for number in rng.permutation(len(task.items))[:candidates]]
    model: FashionBert = stock.scorers[0].model
    pad = model.config.pad
    ids = [row[row != pad].tolist() for row in stock.pieces.encode(chosen, limit=model.config.max_text)]
    features = [stock.source.look([stock.source.read(ref)]) for ref in pictures]
    return model, Pairs(ids, torch.from_numpy(np.concatenate(features)), _rows(len(ids), len(pictures)))


def _rows(texts: int, candidates: int) -> Rows:
    return np.stack([each.ravel() for each in np.indices((texts, candidates))], axis=1).astype(np.int64)


def ways(model: FashionBert, pairs: Pairs) -> dict[str, Callable[[], Floats]]:
    """Return the ways to score all pairs, each with one more shortcut than the one before it."""
    config = model.config
    padded = torch.full((len(pairs.texts), config.max_text), config.pad)
    for row, ids in zip(padded, pairs.texts, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    with torch.inference_mode():
        kept = model.embed_patches(pairs.features)
    low = copy.deepcopy(model).lower()

    @torch.inference_mode()
    def one_by_one(score: Callable[[int, int], Tensor]) -> Floats:
        return torch.cat([score(text, picture) for text, picture in pairs.rows.tolist()]).numpy()

    def plain(text: int, picture: int) -> Tensor:
        match = model(padded[text : text + 1], pairs.features[picture : picture + 1]).match
        return match[:, 1] - match[:, 0]

    def cached(text: int, picture: int) -> Tensor:
        return _whole(model, padded[text : text + 1], kept[picture : picture + 1])

    def cut(text: int, picture: int) -> Tensor:
        return _whole(model, padded[text : text + 1, : len(pairs.texts[text])], kept[picture : picture + 1])

    def first(text: int, picture: int) -> Tensor:
        return model.score(padded[text : text + 1], kept[picture : picture + 1])

    return {
        "plain, one padded pair at a time": lambda: one_by_one(plain),
        "+ patches embedded once": lambda: one_by_one(cached),
        "+ no padding": lambda: one_by_one(cut),
        "+ last block for [CLS] alone": lambda: one_by_one(first),
        "+ pairs of one length together": lambda: margins(model, pairs.texts, kept, pairs.rows),
        "+ bfloat16": lambda: margins(low, pairs.texts, kept, pairs.rows),
    }


def _whole(model: FashionBert, text_1L: Tensor, patches_1PH: Tensor) -> Tensor:
    """Return the margin (1,) as the plain way has it, from patches embedded before."""
    words = model.words(text_1L)
    tokens, keep = model._join(text_1L, words, patches_1PH)
    match = model._match(model.encoder(tokens, keep)[:, 0], text_1L, words, patches_1PH)
    return match[:, 1] - match[:, 0]


def measure(model: FashionBert, pairs: Pairs, *, repeats: int) -> list[Line]:
    """Score all pairs in all ways."""
    calls = ways(model, pairs)
    found = {name: call() for name, call in calls.items()}
    spent = dict(zip(calls, turns(list(calls.values()), repeats), strict=True))
    plain, *_ = found
    lines = []
    for name, scores in found.items():
        lines.append(
            Line(
                way=name,
                pairs_s=1e3 * len(scores) / spent[name],
                times=spent[plain] / spent[name],
                difference=float(np.abs(scores - found[plain]).max()),
                spread=float(found[plain].std()),
                first=_alike(scores, found[plain], len(pairs.texts)),
            )
        )
    return lines


def _alike(scores: Floats, plain: Floats, texts: int) -> float:
    """Return the share of texts whose best candidate is the same."""
    ours, theirs = (each.reshape(texts, -1).argmax(axis=1) for each in (scores, plain))
    return float((ours == theirs).mean())


def _print(lines: Sequence[Line]) -> None:
    print(f"{'':34} pairs/s  times  difference  same first")
    for line in lines:
        print(f"{line.way:34} {line.pairs_s:7.0f} {line.times:6.1f} {line.difference:11.1e} {line.first:11.3f}")
    print(f"margins have a standard deviation of {lines[0].spread:.3g}")


def main() -> None:
    """Read the arguments, measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="folder of a trained FashionBERT; default: random weights")
    parser.add_argument("--data", default="fashion_products track=text", help="what a trained one scores")
    parser.add_argument("--layers", type=int, default=2, help="of random weights")
    parser.add_argument("--hidden", type=int, default=384, help="of random weights")
    parser.add_argument("--side", type=int, default=4, help="of random weights: the grid has side x side patches")
    parser.add_argument("--texts", type=int, default=16)
    parser.add_argument("--candidates", type=int, default=50, help="pictures that each text is scored with")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None, help="default: as many as torch takes")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    size = {"texts": given.texts, "candidates": given.candidates, "seed": given.seed}
    if given.checkpoint:
        model, pairs = trained(given.checkpoint, given.data, **size)
    else:
        heads, inner = max(1, given.hidden // 32), 4 * given.hidden
        config = Config(
            hidden=given.hidden, layers=given.layers, heads=heads, inner=inner, rows=given.side, columns=given.side,
            feature=1280, max_text=64,
        )  # fmt: skip
        model, pairs = made(config, **size)
    lines = measure(model, pairs, repeats=given.repeats)
    if not given.json:
        _print(lines)
        print(f"{machine()['processor']}, {torch.get_num_threads()} threads, seed {given.seed}")
        return
    report: dict[str, Any] = {"command": sys.argv[1:], "seed": given.seed, "threads": torch.get_num_threads()}
    report |= {"machine": machine(), "versions": versions(), "commit": commit(), "config": asdict(model.config)}
    print(json.dumps({**report, "lines": [asdict(line) for line in lines]}, indent=2))


if __name__ == "__main__":
    main()
