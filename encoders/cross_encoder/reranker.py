"""The scorer: a score of each pair of a query and a candidate.

Shapes: q queries, n candidates, L characters.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from quiver.encoders._packed import SIDES, pack_pictures, pack_texts, unpack_pictures, unpack_texts
from quiver.encoders._reranking import Reranks
from quiver.errors import BadSpec
from quiver.protocols import Held, Reader, ScorerInput
from quiver.types import Floats, Space

#: Scores pairs of a query and an item, each a text or a PIL image: one number for each.
Pairs = Callable[[Sequence[tuple[Any, Any]]], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Reranker(Reranks):
    """The scorer of one direction.

    Attributes:
        columns: the space of each key.
        held: medium of the query, ``text`` or ``image``.
        finds: medium of the items.
        pairs: scores pairs.
        device: where.
        reader: returns the reader of a key.
    """

    called: ClassVar[str] = "cross_encoder"

    columns: Mapping[str, Space]
    held: str
    finds: str
    pairs: Pairs
    device: str
    reader: Callable[[str], Reader]

    @property
    def holds(self) -> tuple[str, ...]:
        """A text, or a picture."""
        return (self.held,)

    @property
    def reads(self) -> tuple[Space, ...]:
        """The items themselves, as numbers."""
        return (self.columns[self.finds],)

    def hold(self, asked: Sequence[ScorerInput]) -> Held:
        """Keep the text (q, L) or the picture of each query, as it would be stored; several texts of one are joined.

        Raises:
            BadMedia: a text or a picture cannot be read.
            BadSpec: a query has none, or several pictures.
        """
        read, space = self.reader(self.held), self.columns[self.held]
        given = [
            ([read(each) for each in one.media.get(self.held, ())], list(one.examples.get(space, ()))) for one in asked
        ]
        if not all(media or stored for media, stored in given):
            wanted = "words: give text" if self.held == "text" else "a picture: give image"
            raise BadSpec(f"cross_encoder needs {wanted}")
        if self.held == "text":
            texts = [" ".join(media + unpack_texts(stored)) for media, stored in given]
            return {"text": pack_texts(texts, max(map(len, texts), default=1))}
        if odd := next((len(media) + len(stored) for media, stored in given if len(media) + len(stored) != 1), None):
            raise BadSpec(f"cross_encoder compares one image at a time, not {odd}")
        rows = [*(pack_pictures(media, space.dim - SIDES) if media else np.stack(stored) for media, stored in given)]
        return {"image": np.concatenate([np.empty((0, space.dim), np.float32), *rows])}

    def score(self, held: Held, columns: Mapping[Space, Floats]) -> Floats:
        """Return the model's logit of every pair, before any sigmoid: (q, n) float32."""
        (space,) = self.reads
        asking, items = _opened(self.held, held[self.held]), _opened(self.finds, columns[space])
        pairs = [(one, other) for one in asking for other in items]
        if not pairs:
            return np.empty((len(asking), len(items)), np.float32)
        return np.asarray(self.pairs(pairs), np.float32).reshape(len(asking), len(items))


def _opened(key: str, rows: Floats) -> list[Any]:
    if key == "text":
        return list(unpack_texts(rows))
    from PIL import Image

    return [Image.fromarray(picture) for picture in unpack_pictures(rows)]
