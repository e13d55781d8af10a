"""How much of a ranking by MaxSim do candidates contain? ``python -m quiver.benchmarks.study.many_vectors``.

Texts are stored with a vector for each token, in a collection with the encoder ``multi_vector``; others ask. For each
number of candidates: the share of the first ten by MaxSim over all texts that the search finds, and the milliseconds of
a query. That is ``Collection.measure``, which any collection with such an encoder has.

``--bert FOLDER`` makes the model from any BERT-like one, without further training: its token vectors, scaled to unit
length. ``--model`` names a trained one (ColBERT, PyLate).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.csv as pc

import quiver
from quiver.engine.statistics.scorer_recall import Measured
from quiver.errors import BadData, optional
from quiver.types import Query


def of_tokens(bert: Path, out: Path, *, tokens: int) -> Path:
    """Write a model that gives the token vectors of a BERT-like one, scaled to unit length, and return its folder."""
    with optional():
        from sentence_transformers import MultiVectorEncoder
        from sentence_transformers.base.modules import Normalize, Transformer
        from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    modules = [
        Transformer(str(bert), document_length=tokens, query_length=tokens),
        MultiVectorMask(),
        Normalize(module_input_name="token_embeddings"),
    ]
    MultiVectorEncoder(modules=modules, device="cpu").save_pretrained(str(out))
    return out


def read(path: Path, column: str, count: int, *, seed: int = 0) -> list[str]:
    """Return distinct texts of a CSV file, perhaps compressed, in an order drawn by a seed.

    Raises:
        BadData: it has no such column, or fewer texts.
    """
    table = pc.read_csv(path)
    if column not in table.column_names:
        raise BadData(f"{path} has no column {column}; its columns are {', '.join(table.column_names)}")
    texts = sorted({str(text) for text in table[column].to_pylist() if text})
    if len(texts) < count:
        raise BadData(f"{path} has {len(texts):,} distinct texts, fewer than {count:,}")
    return [texts[n] for n in np.random.default_rng(seed).permutation(len(texts))[:count]]


def study(texts: Sequence[str], asked: Sequence[str], encoder: str, folder: Path) -> Measured:
    """Store texts, and measure what the candidates of other texts contain."""
    collection = quiver.open(folder)
    collection.add([{"id": str(n), "text": text} for n, text in enumerate(texts)], encoder=encoder)
    try:
        return collection.measure([Query({"text": text}, target="text") for text in asked])
    finally:
        collection.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("texts", type=Path, help="CSV file of texts, perhaps .gz")
    parser.add_argument("--column", default="caption", help="its column")
    parser.add_argument("--count", type=int, default=10_000, help="texts to store")
    parser.add_argument("--asked", type=int, default=200, help="texts that ask")
    parser.add_argument("--tokens", type=int, default=24, help="vectors kept of a text")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--bert", type=Path, help="folder of a BERT-like model")
    which.add_argument("--model", help="model with many vectors")
    given = parser.parse_args(arguments)
    texts = read(given.texts, given.column, given.count + given.asked)
    with TemporaryDirectory() as folder:
        model = given.model or of_tokens(given.bert, Path(folder) / "model", tokens=given.tokens)
        encoder = f"multi_vector model='{model}' tokens={given.tokens}"
        found = study(texts[: given.count], texts[given.count :], encoder, Path(folder) / "texts")
    print(f"{found.items:,} texts, {found.queries} queries; ranking all takes {found.ns * found.items / 1e6:.3g} ms\n")
    print("| candidates | share of the first ten | ms |\n|---|---|---|")
    for trial in found.trials:
        print(f"| {trial.depth:,} by {trial.index} | {trial.recall:.3f} | {trial.ms:.3g} |")


if __name__ == "__main__":
    main(sys.argv[1:])
