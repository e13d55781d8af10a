"""Models that give a vector for each token: ColBERT for texts, ColPali and ColQwen for pictures and pages.

    texts      ``multi_vector model=lightonai/GTE-ModernColBERT-v1``, colbert-ir/colbertv2.0, any PyLate model
    pictures   ``multi_vector model=vidore/colqwen2-v1.0-hf``, ColPali, ColModernVBERT: a text finds them

The score of an item is MaxSim (Khattab and Zaharia, SIGIR 2020): for each token of the query its best product with a
token of the item, added up. Library: ``MultiVectorEncoder`` of github.com/huggingface/sentence-transformers,
Apache-2.0.

An item's vectors are stored side by side in one column, ``tokens=`` of them. A small collection is ranked whole. In a
large one an encoding of all vectors of an item in one (``_muvera``) finds candidates, exactly or by any index, and
MaxSim ranks them; ``recall="routes"`` lets another encoder or full-text search find them. Memory and disk: 4 bytes for
each number, such as 67 kB for 128 tokens of 128 numbers, 0.5 MB for a page of ColPali; an encoding takes 20 kB.
Shapes: q queries, n items, T tokens of an item, D numbers of a vector, L numbers of the longest query.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from quiver.encoders import _device, _fingerprint, _hub, _muvera, _sentence
from quiver.encoders._custom_code import Code
from quiver.encoders._precision import Precision
from quiver.encoders._tower import check_sizes
from quiver.errors import BadSpec, SpaceMismatch, optional
from quiver.media import ImageReader, TextReader
from quiver.protocols import Held, Reader, ScorerInput
from quiver.types import Floats, Probe, Space

#: Texts that go through a model together, and pictures.
AT_ONCE = {"text": 32, "image": 4}
#: Name of the recall recipe: the encoding of all vectors in one.
MUVERA = "muvera"
#: Most tokens of a text that are stored unless the user wants more.
MOST = 256
_LOG = logging.getLogger("quiver")


def load(
    *,
    model: str,
    tokens: int | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    at_once: int | None = None,
    custom_code: bool = False,
    revision: str | None = None,
) -> "MultiVectors":
    """Load a model.

    Args:
        model: a folder, or a repository of the Hugging Face Hub.
        tokens: vectors kept of every item; the rest of longer ones is not compared, which a warning says. None for the
            model's own longest document, at most 256, and of pictures for those of a square picture.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: of weights and sums; ``auto`` is that of the checkpoint. Vectors are float32 whatever it is.
        at_once: items that go through the model together; None for 32 texts or 4 pictures.
        custom_code: run the Python code that comes with the model; only together with ``revision``.
        revision: commit of the repository, 40 hexadecimal digits; with ``custom_code`` and a folder, the hash of its
            Python files.

    Raises:
        BadSpec: no such model, it was not trained to give many vectors, or it needs code that may not run.
        MissingWeights: the files are not on disk and cannot be downloaded, or are not complete.
    """
    with optional():
        import sentence_transformers  # noqa: F401
    check_sizes(None, at_once)
    if tokens is not None and tokens < 1:
        raise BadSpec(f"tokens must be at least 1, not {tokens}")
    place = _device.pick(device)
    code = Code.of(model, custom_code, revision)

    def build(folder: Path) -> tuple[Any, str]:
        _check(folder)
        opened = _sentence.opened("MultiVectorEncoder", folder, place, precision=precision, custom_code=custom_code)
        return opened, _sentence.shapes(folder)

    with _hub.quiet():
        network, shapes = _hub.load(model, build, code=code)
        key = "image" if "image" in network.modalities else "text"
        width = int(network.get_embedding_dimension())
        encode = partial(_encoded, network, at_once or AT_ONCE[key])
        kept = tokens or _usual(network, key, encode)
    pinned = (f"code {revision}",) if custom_code else ()
    revised = _fingerprint.of_state(
        network.state_dict(),
        *("multi_vector 1", shapes, _sentence.settings(network), repr(network.prompts), f"{kept} tokens", *pinned),
    )
    name = Path(model).expanduser().resolve().name if code.is_folder else model
    space = Space(f"multi_vector/{name}", kept * width, "dot", revised)
    vectors = MultiVectors(space, key, width, encode)
    return replace(vectors, scorers=(MaxSim(vectors, network),))


def _check(folder: Path) -> None:
    """Refuse models to which the library would add a projection of random weights.

    Raises:
        BadSpec: the model gives one vector, or none.
    """
    named = _hub.described(folder).get("architectures") or ()
    own = folder / "config_sentence_transformers.json"
    kind = ""
    if own.is_file():
        found = _sentence.read(own)
        kind = str(found.get("model_type", "ColBERT" if "query_prefix" in found else ""))
    trained = kind in ("MultiVectorEncoder", "ColBERT")
    if not trained and not any(name == "HF_ColBERT" or name.endswith("ForRetrieval") for name in named):
        raise BadSpec(
            f"{folder} was not trained to give a vector for each token: use sentence_transformers or transformers"
        )


def _encoded(network: Any, at_once: int, key: str, batch: Sequence[Any], *, query: bool = False) -> list[Floats]:
    """Return the (t, D) float32 vectors of each input."""
    from PIL import Image

    mixed = "image" in network.modalities
    given = [Image.fromarray(each) if key == "image" else {"text": each} if mixed else each for each in batch]
    encode = network.encode_query if query else network.encode_document
    found = encode(given, batch_size=at_once, show_progress_bar=False, convert_to_numpy=True)
    return [np.asarray(each, np.float32) for each in found]


def _usual(network: Any, key: str, encode: Any) -> int:
    if key == "image":
        blank = np.full((1024, 1024, 3), 255, np.uint8)
        return len(encode("image", [blank])[0])
    longest = getattr(network[0], "document_length", None) or network.max_seq_length or MOST
    return min(int(longest), MOST)


@dataclass(frozen=True, slots=True, eq=False)
class MultiVectors:
    """An encoder of items into all their vectors, side by side; zeros after the last one.

    Attributes:
        space: of the column: T D numbers.
        key: ``text`` or ``image``.
        width: D.
        encode: gives the vectors of a batch.
        scorers: MaxSim.
    """

    space: Space
    key: str
    width: int
    encode: Any
    scorers: tuple["MaxSim", ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Texts, or pictures."""
        return (self.key,)

    def spaces(self, key: str) -> tuple[Space, ...]:
        """Return its one space; () for a foreign key."""
        return (self.space,) if key == self.key else ()

    @property
    def features(self) -> tuple[Space, ...]:
        """Its space and that of the encodings, which are for MaxSim alone: a product of either is no similarity."""
        return (self.space, self.bridges[0].target)

    @property
    def bridges(self) -> tuple[_muvera.OneVector, ...]:
        """The bridge from all vectors of an item to their encoding."""
        return (_muvera.OneVector(self.space, self.width),)

    def reader(self, key: str) -> Reader:
        """Return the reader of its key."""
        self._check(key)
        return TextReader() if key == "text" else ImageReader()

    def embed(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Return (n, T D) float32.

        Raises:
            BadSpec: the key is foreign.
            SpaceMismatch: the space is foreign.
        """
        self._check(key)
        if space != self.space:
            raise SpaceMismatch(f"{self.space} does not embed into {space}")
        rows = np.zeros((len(batch), space.dim), np.float32)
        found = self.encode(key, batch) if len(batch) else []
        kept = space.dim // self.width
        for row, vectors in zip(rows, found, strict=True):
            row[: min(len(vectors), kept) * self.width] = vectors[:kept].ravel()
        if longer := sum(len(vectors) > kept for vectors in found):
            _LOG.warning(
                "%d of %d items have more than %d vectors, and only the first ones are compared:"
                " multi_vector tokens=%d keeps all of them",
                *(longer, len(batch), kept, max(map(len, found))),
            )
        return rows

    def _check(self, key: str) -> None:
        if key != self.key:
            raise BadSpec(f"{self.space} embeds {self.key}, not {key}")


@dataclass(frozen=True, slots=True, eq=False)
class MaxSim:
    """The scorer: texts find items by the best product of each of their vectors.

    Attributes:
        items: the encoder of items.
        network: a MultiVectorEncoder.
    """

    items: MultiVectors
    network: Any

    @property
    def name(self) -> str:
        """Its name."""
        return "multi_vector"

    @property
    def holds(self) -> tuple[str, ...]:
        """A text."""
        return ("text",)

    @property
    def finds(self) -> str:
        """Texts or pictures."""
        return self.items.key

    @property
    def reads(self) -> tuple[Space, ...]:
        """The vectors of an item."""
        return (self.items.space,)

    @property
    def recalls(self) -> Mapping[str, tuple[Space, ...]]:
        """One: by encodings of all vectors in one, whose product approximates the score."""
        return {MUVERA: (self.items.bridges[0].target,)}

    @property
    def device(self) -> str:
        """Its device."""
        return str(self.network.device)

    @property
    def exact(self) -> bool:
        """False: a product of encodings only approximates its score."""
        return False

    def hold(self, asked: Sequence[ScorerInput]) -> Held:
        """Embed the text of each query, (q, L); zeros after its last vector. Several texts of one are joined.

        The vectors of a stored example stand for a text.

        Raises:
            BadMedia: a text cannot be read.
            BadSpec: a query has none.
        """
        read, width = TextReader(), self.items.width
        texts = [" ".join(read(text) for text in each.media.get("text", ())) for each in asked]
        said = [n for n, each in enumerate(asked) if each.media.get("text")]
        found: dict[int, list[Floats]] = {n: [] for n in range(len(asked))}
        encoded = self.items.encode("text", [texts[n] for n in said], query=True) if said else []
        for n, vectors in zip(said, encoded, strict=True):
            found[n].append(vectors)
        for n, each in enumerate(asked):
            found[n] += [_kept(row, width) for row in each.examples.get(self.items.space, ())]
        if not all(found.values()):
            raise BadSpec("multi_vector needs words: give text")
        whole = [np.concatenate(found[n]).ravel() for n in range(len(asked))]
        rows = np.zeros((len(asked), max(map(len, whole), default=width)), np.float32)
        for row, vectors in zip(rows, whole, strict=True):
            row[: len(vectors)] = vectors
        return {"text": rows}

    def probes(self, held: Held, recall: str, moments: Mapping[Space, Floats]) -> tuple[Probe, ...]:
        """Return the encodings of the queries, (q, 1, dim).

        Raises:
            BadSpec: it has no such recall method.
        """
        if recall != MUVERA:
            raise BadSpec(f"multi_vector has no recall method {recall!r}: use {MUVERA}")
        vectors = _muvera.of_queries([_kept(row, self.items.width) for row in held["text"]])
        return (Probe(self.items.bridges[0].target, vectors[:, None]),)

    def score(self, held: Held, columns: Mapping[Space, Floats]) -> Floats:
        """Return MaxSim of every pair, (q, n) float32, divided by the query's tokens if the model says "meanmaxsim"."""
        import torch
        from sentence_transformers.util import maxsim

        width, rows = self.items.width, columns[self.items.space]
        queries = [torch.from_numpy(_kept(row, width)) for row in held["text"]]
        items = torch.from_numpy(np.ascontiguousarray(rows)).reshape(len(rows), -1, width)
        if not queries or not len(items):
            return np.empty((len(queries), len(items)), np.float32)
        mask = (items != 0).any(2)
        longest = max(1, int(mask.sum(1).max()))
        items, mask = items[:, :longest], mask[:, :longest]
        mean = self.network.similarity_fn_name == "meanmaxsim"
        found = maxsim(queries, items, b_mask=mask, length_normalize=mean, device=self.network.device)
        scores: Floats = found.cpu().numpy().astype(np.float32)
        return scores

    def terms(self, held: Held, columns: Mapping[Space, Floats]) -> Mapping[str, Floats]:
        """Return the one thing that scores are made of: ``match``."""
        return {"match": self.score(held, columns)}


def _kept(row: Floats, width: int) -> Floats:
    """Return the (t, D) vectors of a row, without the zeros after them."""
    vectors = np.asarray(row, np.float32).reshape(-1, width)
    return np.ascontiguousarray(vectors[vectors.any(1)])
