"""Captions of changes: ``python -m quiver.benchmarks.study.change_captions --data SPEC --run NAME=FOLDER ...``.

Trained models of ``clip4idc`` with captioning, several of one name for several seeds, on one data set:

* captions: greedy (or ``--beams``), by CIDEr-D, BLEU-4 and ROUGE-L over all pairs and over changed ones; a figure is
  the mean over seeds, its interval is of that mean, bootstrapped over pairs, and after ``±`` stands the standard
  deviation over seeds. Differences from the first name are bootstrapped over the same draws.
* reranking (``--rerank NAME``): sentences find pairs, and pairs find sentences, by cosine alone and with the
  ``--depth`` best reranked by the likelihood of captions, alone or added to the cosines, both standardised over the
  candidates of a query; milliseconds of CPU per query.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from quiver import registry
from quiver.benchmarks import captioning, datasets
from quiver.benchmarks.captioning.reference import Thing, gather
from quiver.benchmarks.metric import caption
from quiver.benchmarks.metric.measure import Doubles
from quiver.files import write_json
from quiver.protocols import ScorerInput
from quiver.types import Floats, source_of

MEASURES = ("CIDEr-D", "BLEU-4", "ROUGE-L")
Runs = Mapping[str, Sequence[str]]
Drawn = dict[str, dict[str, Doubles]]


def captions(data: str, runs: Runs, *, beams: int) -> dict[str, Any]:
    """Return figures by part, name and measure."""
    _, things = gather(datasets.load(data))
    options = captioning.Options(measures=MEASURES, beams=beams, baselines=False)
    said = {
        name: [_captions(captioning.measure(data, [spec], options=options), things) for spec in specs]
        for name, specs in runs.items()
    }
    report = captioning.measure(data, options=captioning.Options(measures=MEASURES))
    said |= {each["name"]: [[each["captions"][thing.id] for thing in things]] for each in report["systems"]}
    parts = {"all": list(range(len(things)))}
    parts["changed"] = [place for place, thing in enumerate(things) if thing.kind not in ("none", "")]
    return {
        part: {"n": len(places), "names": _figures(said, things, places)} for part, places in parts.items() if places
    } | {"captions": {name: each[0] for name, each in said.items()}, "ids": [thing.id for thing in things]}


def _captions(report: captioning.Report, things: Sequence[Thing]) -> list[str]:
    return [report["systems"][0]["captions"][thing.id] for thing in things]


def _figures(said: Mapping[str, list[list[str]]], things: Sequence[Thing], places: list[int]) -> dict[str, Any]:
    """Return mean, interval, deviation and difference from the first name, by name and measure."""
    right, sources = [things[place].texts for place in places], [things[place].source for place in places]
    drawn: dict[str, dict[str, Doubles]] = {}
    found: dict[str, Any] = {}
    for name, runs in said.items():
        each = [caption.evaluate([own[place] for place in places], right, measures=MEASURES) for own in runs]
        resampled = [run.resampled(sources) for run in each]
        drawn[name] = {measure: np.mean([run[measure] for run in resampled], axis=0) for measure in MEASURES}
        found[name] = {}
        for measure in MEASURES:
            values = np.array([run.corpus[measure] for run in each])
            found[name][measure] = _told(values, drawn[name][measure])
            first = next(iter(drawn))
            if name != first:
                gap = drawn[name][measure] - drawn[first][measure]
                found[name][measure]["difference"] = [float(end) for end in np.quantile(gap, [0.025, 0.975])]
    return found


def _told(values: Doubles, drawn: Doubles) -> dict[str, Any]:
    low, high = np.quantile(drawn, [0.025, 0.975])
    spread = float(values.std(ddof=1)) if len(values) > 1 else None
    return {"mean": float(values.mean()), "low": float(low), "high": float(high), "sd": spread, "seeds": len(values)}


def reranking(data: str, specs: Sequence[str], *, depth: int) -> dict[str, Any]:
    """Return ranks both ways of cosine, likelihood and their sum, and what reranking costs."""
    _, things = gather(datasets.load(data))
    runs = [_ranks(spec, things, depth=depth) for spec in specs]
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {"depth": depth, "pairs": len(things)}
    for way in ("text_to_pair", "pair_to_text"):
        found[way] = {"ms_per_query": float(np.mean([run[way]["ms"] for run in runs]))}
        size = len(runs[0][way]["cosine"])
        times = [rng.integers(size, size=size) for _ in range(caption.RESAMPLES)]
        base = {k: _hits(runs, way, "cosine", k) for k in (1, 5)}
        for how in ("cosine", "likelihood", "sum"):
            for k in (1, 5):
                hits = _hits(runs, way, how, k)
                means = np.array([hits.mean(axis=0)[each].mean() for each in times])
                told = _told(hits.mean(axis=1), means)
                if how != "cosine":
                    gap = (hits - base[k]).mean(axis=0)
                    ends = np.quantile([gap[each].mean() for each in times], [0.025, 0.975])
                    told["difference"] = [float(end) for end in ends]
                found[way][f"{how} R@{k}"] = told
    return found


def _hits(runs: Sequence[Mapping[str, Any]], way: str, how: str, k: int) -> Doubles:
    """Return (seeds, queries): 1 where the right answer is among the first k."""
    return np.stack([run[way][how] <= k for run in runs]).astype(np.float64)


def _ranks(spec: str, things: Sequence[Thing], *, depth: int) -> dict[str, Any]:
    """Rank with one model: every pair, and of every pair the first sentence; what answers too does not compete."""
    encoder = registry.load("encoders", f"{spec} rerank=true")
    texts = [thing.texts[0] for thing in things]
    read = [encoder.reader("pair")(source_of(thing.media, "pair")) for thing in things]
    space, memory = encoder.spaces("pair")
    _, pieces = encoder.spaces("text")
    pairs, sentences = encoder.embed("pair", read, space), encoder.embed_query("text", texts, space)
    columns = {"pair": encoder.embed("pair", read, memory), "text": encoder.embed("text", texts, pieces)}
    same = np.array([[text in thing.texts for thing in things] for text in texts])  # sentence by pair
    forth, back = encoder.scorers
    cosine = sentences @ pairs.T
    said = [ScorerInput({"text": [text]}) for text in texts]
    shown = [ScorerInput({"before": [thing.media["before"]], "after": [thing.media["after"]]}) for thing in things]
    return {
        "text_to_pair": _rerank(cosine, same, forth, said, {memory: columns["pair"]}, depth),
        "pair_to_text": _rerank(cosine.T, same.T, back, shown, {pieces: columns["text"]}, depth),
    }


def _rerank(
    cosine: Floats, same: Any, scorer: Any, asked: Sequence[ScorerInput], columns: Mapping[Any, Floats], depth: int
) -> dict[str, Any]:
    """Rerank the best of every query; return ranks of the right answer by cosine, likelihood and the sum of both."""
    ((space, rows),) = columns.items()
    found: dict[str, list[int]] = {"cosine": [], "likelihood": [], "sum": []}
    held = scorer.hold(asked)
    (key,) = held
    seconds = 0.0
    for query, scores in enumerate(cosine):
        rivals = scores.copy()
        rivals[same[query]] = -np.inf
        rivals[query] = scores[query]
        order = np.argsort(-rivals, kind="stable")[: min(depth, int(np.isfinite(rivals).sum()))]
        started = process_time()
        likely = scorer.score({key: held[key][query : query + 1]}, {space: rows[order]})[0]
        seconds += process_time() - started
        place = int((rivals > rivals[query]).sum()) + 1
        found["cosine"].append(place)
        near = _standard(rivals[order])
        for how, by in (("likelihood", likely), ("sum", near + _standard(likely))):
            own = by[order == query]
            found[how].append(int((by > own[0]).sum()) + 1 if len(own) else place)
    return {**{how: np.array(ranks) for how, ranks in found.items()}, "ms": 1000 * seconds / len(cosine)}


def _standard(values: Floats) -> Floats:
    scaled: Floats = (values - values.mean()) / max(float(values.std()), 1e-6)
    return scaled


def _lines(report: Mapping[str, Any]) -> list[str]:
    lines = []
    for part in ("all", "changed"):
        if part in report["captions"]:
            found = report["captions"][part]
            lines.append(f"{part} ({found['n']} pairs): " + ", ".join(MEASURES))
            for name, figures in found["names"].items():
                lines.append(f"  {name}: " + "; ".join(_figure(figures[measure]) for measure in MEASURES))
    for way in ("text_to_pair", "pair_to_text"):
        if "reranking" in report:
            found = report["reranking"][way]
            lines.append(f"{way}, depth {report['reranking']['depth']}, {found['ms_per_query']:.1f} ms per query")
            lines += [f"  {name}: {_figure(each)}" for name, each in found.items() if name != "ms_per_query"]
    return lines


def _figure(told: Mapping[str, Any]) -> str:
    text = f"{100 * told['mean']:.1f} [{100 * told['low']:.1f}, {100 * told['high']:.1f}]"
    text += "" if told["sd"] is None else f" ±{100 * told['sd']:.1f}"
    if "difference" in told:
        low, high = told["difference"]
        text += f" (difference {100 * low:+.1f} to {100 * high:+.1f})"
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="data set of pairs with sentences")
    parser.add_argument("--run", action="append", required=True, help="NAME=FOLDER of a trained model; may be repeated")
    parser.add_argument("--rerank", help="name of the runs whose captions rerank")
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file")
    given = parser.parse_args(arguments)
    runs: dict[str, list[str]] = {}
    for each in given.run:
        name, _, folder = each.partition("=")
        runs.setdefault(name, []).append(f"clip4idc checkpoint={folder}")
    report: dict[str, Any] = {"command": " ".join(sys.argv), "data": given.data, "beams": given.beams}
    report["captions"] = captions(given.data, runs, beams=given.beams)
    if given.rerank:
        report["reranking"] = reranking(given.data, runs[given.rerank], depth=given.depth)
    if given.out:
        write_json(given.out, report, indent=1)
    print("\n".join(_lines(report)))


if __name__ == "__main__":
    main()
