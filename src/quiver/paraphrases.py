"""Other words for templated changes: "the same in red" as "make it red", "i want this but red please", "red".

A composer that learned from one template does not know others. The wordings come in two disjoint sets: TRAINED, which a
training may use, and UNSEEN, which it never sees, to measure whether wording matters.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from quiver.errors import BadSpec

#: How the texts of generated questions are worded: the plain template, one of TRAINED by chance, or one of UNSEEN.
Wording = Literal["plain", "varied", "unseen"]
WORDINGS: tuple[Wording, ...] = ("plain", "varied", "unseen")
_PLAIN = re.compile(r"the same (in|for|as|with) (.+)", re.DOTALL)
_CHANGE = ("{v} instead", "make it {v}", "like this, only {v}", "change it to {v}")
#: Wordings for training, by the preposition of the plain text; {v} is what follows it, {p} the preposition.
TRAINED: Mapping[str, Sequence[str]] = {
    "in": ("the same in {v}", "in {v}", "have you got this in {v}", "the {v} one", *_CHANGE),
    "for": ("the same for {v}", "for {v}", "have you got this for {v}", "one for {v}", "like this, only for {v}"),
    "as": ("the same as {v}", "as {v}", "have you got this as {v}", *_CHANGE),
    "with": ("the same with {v}", "with {v}", "have you got this with {v}", "one with {v}", "like this, only with {v}"),
}
#: Wordings that no training sees.
UNSEEN: Mapping[str, Sequence[str]] = {
    "in": ("{v}", "i want this but {v} please", "could you show me a similar thing in {v}"),
    "for": ("{v}", "i want this but for {v} please", "could you show me a similar thing for {v}"),
    "as": ("{v}", "i want this but {v} please", "could you show me a similar thing as {v}"),
    "with": ("{v}", "i want this but with {v} please", "could you show me a similar thing with {v}"),
}


def paraphrases(text: str, templates: Mapping[str, Sequence[str]] = UNSEEN) -> list[str]:
    """Return other wordings of a templated text; a text of no template is returned alone.

    >>> paraphrases("the same in navy blue")[:2]
    ['navy blue', 'i want this but navy blue please']
    """
    found = _PLAIN.fullmatch(text)
    if found is None:
        return [text]
    return [template.format(v=found[2]) for template in templates[found[1]]]


def worded(text: str, wording: str, *, seed: str) -> str:
    """Return a templated text in a wording; which of several is decided by the seed.

    Args:
        text: the plain text; a text of no template stays as it is.
        wording: the wording.
        seed: text that identifies the question.

    Raises:
        BadSpec: there is no such wording.
    """
    if wording not in WORDINGS:
        raise BadSpec(f"wording must be one of {', '.join(WORDINGS)}, not {wording!r}")
    if wording == "plain":
        return text
    ways = paraphrases(text, TRAINED if wording == "varied" else UNSEEN)
    return ways[int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8]) % len(ways)]
