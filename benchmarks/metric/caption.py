"""Measures of captions: BLEU-4, ROUGE-L, CIDEr-D, METEOR and SPICE, by the coco-caption code (package pycocoevalcap).

METEOR, SPICE and the Penn Treebank tokenizer are Java programs. A measure that cannot be computed is in ``absent`` with
its reason; it is never left out silently.

Rules that change figures. BLEU: counts of the whole set, closest reference length. ROUGE-L: best precision and best
recall over the references separately, beta 1.2. CIDEr-D is called "CIDEr" by that code: its n-gram weights come from
the references of this set, so figures of two sets, or of a part of a set, cannot be compared; a single thing has 0.
METEOR: aggregated over the set, which is not the mean of its sentences. ``tokens="plain"`` lower-cases and keeps
letters and digits of any script; ``"ptb"`` is the papers' tokenizer, which treats clitics (n't, 's), hyphens and
symbols differently.

Papineni et al. 2002 (BLEU); Lin 2004 (ROUGE); Vedantam et al. 2015, arXiv:1411.5726 (CIDEr-D); Denkowski and Lavie 2014
(METEOR 1.5); Anderson et al. 2016, arXiv:1607.08822 (SPICE).
Legend: n things.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quiver.benchmarks.metric import caption_java
from quiver.benchmarks.metric.significance import Interval
from quiver.encoders._cider import plain
from quiver.errors import BadData, BadSpec, optional

Doubles = NDArray[np.float64]
Tokens = Literal["plain", "ptb"]
MEASURES = ("BLEU-4", "ROUGE-L", "CIDEr-D", "METEOR", "SPICE")
#: Those that need Java.
JAVA = ("METEOR", "SPICE")
RESAMPLES = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Captions:
    """Figures of the captions of n things.

    Attributes:
        corpus: figure of the whole set by measure. CIDEr-D is from 0 to 10, the others from 0 to 1.
        each: (n,) figures of the things; for BLEU-4 and METEOR their mean is not the corpus figure.
        absent: reason by measure that was wanted and cannot be computed.
        counts: (n, 10) of BLEU: matching n-grams, n-grams of the caption, length of the caption, of the reference.
    """

    corpus: Mapping[str, float]
    each: Mapping[str, Doubles]
    absent: Mapping[str, str]
    counts: Doubles

    def intervals(
        self, sources: Sequence[str] = (), *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
    ) -> dict[str, Interval]:
        """Bootstrap the figures over things, or over sources of things.

        CIDEr-D keeps the n-gram weights of the whole set. METEOR has none: its program aggregates.

        Args:
            sources: of each thing, such as the picture that several pairs begin with; empty for the things themselves.
            level: of confidence.
            resamples: number of resamples.
            seed: of the draws.
        """
        tails = [(1 - level) / 2, (1 + level) / 2]
        drawn = self.resampled(sources, resamples=resamples, seed=seed)
        ends = {name: np.quantile(values, tails) for name, values in drawn.items()}
        return {
            name: Interval(self.corpus[name], float(low), float(high), level, resamples, seed)
            for name, (low, high) in ends.items()
        }

    def resampled(
        self, sources: Sequence[str] = (), *, resamples: int = RESAMPLES, seed: int = 0
    ) -> dict[str, Doubles]:
        """Return the figures (resamples,) of resampled things; with equal sources and seed the draws are the same.

        Raises:
            BadData: there is another number of sources than of captions.
        """
        size = len(self.counts)
        names = list(sources) if sources else list(map(str, range(size)))
        if len(names) != size:
            raise BadData(f"sources: {len(names)} for {size} captions")
        _, source = np.unique(names, return_inverse=True)
        rng = np.random.default_rng(seed)
        count = int(source.max()) + 1
        drawn: dict[str, list[float]] = {name: [] for name in self.corpus if name != "METEOR"}
        for _ in range(resamples):
            times = np.bincount(rng.integers(count, size=count), minlength=count)[source]
            for name, values in drawn.items():
                values.append(
                    _bleu(times @ self.counts)
                    if name == "BLEU-4"
                    else float(np.average(self.each[name], weights=times))
                )
        return {name: np.array(values) for name, values in drawn.items()}


def evaluate(
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    measures: Sequence[str] = MEASURES,
    tokens: Tokens = "plain",
) -> Captions:
    """Measure one caption per thing against its references.

    Args:
        captions: of n things; an empty one matches nothing.
        references: one or more sentences per thing.
        measures: of MEASURES.
        tokens: how texts are cut into words.

    Raises:
        BadData: there is no caption, the numbers differ, or a thing has no reference with a word.
        BadSpec: an unknown measure.
        MissingExtra: pycocoevalcap is not installed.
        Unavailable: tokens="ptb" without Java.
    """
    if unknown := [name for name in measures if name not in MEASURES]:
        raise BadSpec(f"{unknown[0]!r} is no measure of captions: {', '.join(MEASURES)}")
    if not captions or len(captions) != len(references):
        raise BadData(f"{len(captions)} captions and references for {len(references)}: give one list per caption")
    said, right = _cut(captions, references, tokens)
    for place, own in enumerate(right):
        if not own:
            raise BadData(f"references of caption {place} have no word: {list(references[place])!r:.80}")
    given = {place: [text] for place, text in enumerate(said)}
    wanted = dict(enumerate(right))
    corpus, each, absent = dict[str, float](), dict[str, Doubles](), dict[str, str]()
    counts = _counts(given, wanted)
    for name in measures:
        try:
            corpus[name], each[name] = _MEASURE[name](given, wanted)
        except caption_java.Unavailable as why:
            absent[name] = str(why)
    return Captions(corpus, each, absent, counts)


def _cut(
    captions: Sequence[str], references: Sequence[Sequence[str]], tokens: Tokens
) -> tuple[list[str], list[list[str]]]:
    """Return the texts as words with blanks between them; references without a word are left out."""
    texts = [*captions, *(text for own in references for text in own)]
    cut = caption_java.tokenize(texts) if tokens == "ptb" else list(map(plain, texts))
    said, rest = cut[: len(captions)], iter(cut[len(captions) :])
    return said, [[text for text in (next(rest) for _ in own) if text] for own in references]


Given = Mapping[int, list[str]]


def _counts(given: Given, wanted: Given) -> Doubles:
    """Return the counts that BLEU adds up."""
    with optional():
        from pycocoevalcap.bleu.bleu_scorer import BleuScorer
    scorer = BleuScorer(n=4)
    for place, texts in given.items():
        scorer += (texts[0], wanted[place])
    rows = []
    for own in scorer.ctest:
        length = own["testlen"]
        reference = min((abs(other - length), other) for other in own["reflen"])[1]
        rows.append([*own["correct"], *own["guess"], length, reference])
    return np.array(rows, np.float64)


def _bleu(sums: Doubles) -> float:
    """Return BLEU-4 of added counts, by the rule of the package."""
    right, said, (length, reference) = sums[:4], sums[4:8], sums[8:]
    precision = float(np.prod((right + 1e-15) / (said + 1e-9))) ** 0.25
    ratio = (length + 1e-15) / (reference + 1e-9)
    return precision * float(np.exp(min(0.0, 1 - 1 / ratio)))


def _by_bleu(given: Given, wanted: Given) -> tuple[float, Doubles]:
    with optional():
        from pycocoevalcap.bleu.bleu import Bleu
    corpus, each = Bleu(4).compute_score(wanted, given, verbose=0)
    return float(corpus[3]), np.array(each[3])


def _by_rouge(given: Given, wanted: Given) -> tuple[float, Doubles]:
    with optional():
        from pycocoevalcap.rouge.rouge import Rouge
    return _plainly(Rouge().compute_score(wanted, given))


def _by_cider(given: Given, wanted: Given) -> tuple[float, Doubles]:
    with optional():
        from pycocoevalcap.cider.cider import Cider
    return _plainly(Cider().compute_score(wanted, given))


def _by_meteor(given: Given, wanted: Given) -> tuple[float, Doubles]:
    return _plainly(caption_java.meteor([texts[0] for texts in given.values()], list(wanted.values())))


def _by_spice(given: Given, wanted: Given) -> tuple[float, Doubles]:
    return _plainly(caption_java.spice([texts[0] for texts in given.values()], list(wanted.values())))


def _plainly(found: tuple[Any, Any]) -> tuple[float, Doubles]:
    return float(found[0]), np.asarray(found[1], np.float64)


_MEASURE = {
    "BLEU-4": _by_bleu,
    "ROUGE-L": _by_rouge,
    "CIDEr-D": _by_cider,
    "METEOR": _by_meteor,
    "SPICE": _by_spice,
}
