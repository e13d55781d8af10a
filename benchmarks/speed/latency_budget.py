"""Is a latency budget kept? Latencies of queries with a cross-encoder reranker, relative to their budget.

``python -m quiver.benchmarks.speed.latency_budget`` creates a collection of 3,000 texts, finds candidates by full-text
search, and lets a cross-encoder of the size of TinyBERT-L2 with random weights rerank them: it measures the cost of
scoring pairs, not their quality; its scores are blended with recall as in any search (the safe blend of a reranker that
was not fitted). Queries run one at a time, their hits are read, and no two queries are equal. The
reranker is calibrated by ``Collection.measure`` first, and every search updates the calibration. ``--model FOLDER``
uses another cross-encoder.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import quiver
from quiver.benchmarks.machine import machine
from quiver.engine.execution.stages.rerank import Rerank
from quiver.types import Item, Query

#: Syllables of the synthetic words.
_SYLLABLES = ("ba", "do", "ke", "li", "mu", "na", "po", "ra", "se", "ti", "vo", "zu")
_WORDS = 2_000


def words(count: int, *, seed: int) -> list[str]:
    """Generate texts of 5 to 30 frequent and rare words, so that lengths of pairs vary realistically."""
    language, rng = np.random.default_rng(0), np.random.default_rng(seed)
    known = ["".join(language.choice(_SYLLABLES, language.integers(2, 5))) for _ in range(_WORDS)]
    return [" ".join(known[n] for n in rng.zipf(1.3, rng.integers(5, 31)) % _WORDS) for _ in range(count)]


def write_model(folder: Path) -> Path:
    """Write a random cross-encoder of the size of TinyBERT-L2, 2 blocks of width 128; syllables are word pieces."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_SYLLABLES, *(f"##{each}" for each in _SYLLABLES)]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def run(
    folder: Path, *, model: Path | None, items: int, queries: int, budgets: Sequence[float]
) -> list[dict[str, Any]]:
    """Return, for each budget, the latencies of queries and the numbers of scored pairs."""
    spec = f"cross_encoder model={model or write_model(folder / 'model')} characters=256"
    collection = quiver.open(folder / "c")
    texts = words(items, seed=1)
    collection.add(*(Item(str(n), {"text": text}) for n, text in enumerate(texts)), encoder=spec, progress=False)
    asked = [" ".join(text.split()[:6]) for text in words(queries + 20, seed=2)]
    collection.measure([Query({"text": text}, target="text") for text in asked[:5]])
    for text in asked[:20]:  # warm up: loading on first use is not part of the measurement
        list(collection.search(text=text, target="text", budget_ms=max(budgets)))
    return [_measure(collection, asked[20:], budget) for budget in budgets]


def _measure(collection: quiver.Collection, texts: Sequence[str], budget: float) -> dict[str, Any]:
    taken, pairs = [], []
    for text in texts:
        started = perf_counter()
        found = collection.search(text=text, target="text", budget_ms=budget)
        list(found.hits)
        taken.append((perf_counter() - started) * 1e3)
        stage = next((stage for stage in found.plan.stages if isinstance(stage, Rerank)), None)
        said = next((note.split()[1] for note in found.plan.notes if note.startswith("reranked ")), None)
        ranked = next((each.rows for each in found.actual if stage is not None and each.label == stage.label), 0)
        pairs.append(0 if stage is None else min(stage.depth, ranked) if said is None else int(said))
    p50, p95, p99 = np.percentile(taken, [50, 95, 99])
    least, middle, most = np.percentile(pairs, [5, 50, 95])
    times = {"p50": p50, "p95": p95, "p99": p99, "p95_of_budget": p95 / budget}
    return {"budget_ms": budget, "queries": len(taken), **times, "pairs": [least, middle, most]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print or write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder of a cross-encoder; default: random weights")
    parser.add_argument("--items", type=int, default=3_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--budgets", type=float, nargs="+", default=[20.0, 50.0, 100.0], help="milliseconds")
    parser.add_argument("--json", type=Path, help="file for the figures as JSON")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="quiver-bench-") as folder:
        found = run(
            Path(folder), model=asked.model, items=asked.items, queries=asked.queries, budgets=tuple(asked.budgets)
        )
    for each in found:
        times = ", ".join(f"{name} {each[name]:.1f} ms" for name in ("p50", "p95", "p99"))
        least, middle, most = each["pairs"]
        reach = f"{middle:.0f} pairs ({least:.0f} to {most:.0f})"
        print(f"budget {each['budget_ms']:g} ms: {times}, p95 / budget {each['p95_of_budget']:.3f}, {reach}")
    if asked.json is not None:
        asked.json.write_text(json.dumps({"machine": machine(), "budgets": found}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
