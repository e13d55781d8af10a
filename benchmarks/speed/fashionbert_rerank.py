"""Speed of FashionBERT reranking by optimisation: ``python -m quiver.benchmarks.speed.fashionbert_rerank``.

The baseline scores one pair at a time in float32: it pads the text to the longest that the model takes, embeds the
picture's features again, and computes every block for every token. Each further line adds one optimisation to those
before it. All methods score the same pairs in one process, interleaved; each figure is the shortest of several runs,
since other processes may use the machine. Differences are differences of margins from the baseline; compare them with
the standard deviation of the margins.

Without ``--checkpoint`` the model has random weights, ``--data`` is not read, and texts are random word pieces as long
as product names. The times then hold for a trained model of that size; the rank agreement does not.
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
    """Texts and pictures to score.

    Attributes:
        texts: ids of q texts, unpadded.
        features: (i, P, F) patch features of the pictures.
        rows: (q n, 2) int64, text and picture of each pair; the n candidates of a text are adjacent.
    """

    texts: list[list[int]]
    features: Tensor
    rows: Rows


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table: pairs per second, and difference of margins from the baseline.

    ``spread`` is the standard deviation of margins; ``first``, the share of texts with the baseline's best candidate.
    """

    way: str
    pairs_s: float
    times: float
    difference: float
    spread: float
    first: float


def made(config: Config, *, texts: int, candidates: int, seed: int) -> tuple[FashionBert, Pairs]:
    """Create a model with random weights and random pairs; texts have 6 to 20 word pieces, like product names."""
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
    """Read a model, and sample texts and pictures of a data set; every text is paired with every sampled picture."""
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
    """Return the methods of scoring all pairs, each with one more optimisation than the one before it."""
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
    """Return the margin (1,) by the baseline, from patches embedded before."""
    words = model.words(text_1L)
    tokens, keep = model._join(text_1L, words, patches_1PH)
    match = model._match(model.encoder(tokens, keep)[:, 0], text_1L, words, patches_1PH)
    return match[:, 1] - match[:, 0]


def measure(model: FashionBert, pairs: Pairs, *, repeats: int) -> list[Line]:
    """Score all pairs with all methods."""
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
    """Return the share of texts with the same best candidate."""
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
    parser.add_argument("--data", default="fashion_products track=text", help="data set that a trained model scores")
    parser.add_argument("--layers", type=int, default=2, help="of random weights")
    parser.add_argument("--hidden", type=int, default=384, help="of random weights")
    parser.add_argument("--side", type=int, default=4, help="random weights: the grid has side x side patches")
    parser.add_argument("--texts", type=int, default=16)
    parser.add_argument("--candidates", type=int, default=50, help="candidate pictures per text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None, help="default: torch's own number")
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
