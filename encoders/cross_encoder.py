"""Any cross-encoder of text pairs: it reads a query and a text together, and puts found texts in order.

``cross_encoder model=cross-encoder/ms-marco-MiniLM-L6-v2`` or ``model=FOLDER``, for models of Sentence Transformers
and for those of transformers that classify sequences into one class.

Library: github.com/huggingface/sentence-transformers, Apache-2.0. It has no recall of its own. What it reads of an
item is the text itself, stored as the numbers of its characters in a column that is not to be searched; the model may
be changed without adding items again.
Shapes: q queries, n candidates, L characters.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quiver.encoders import _device, _fingerprint, _hub
from quiver.errors import BadSpec, MissingWeights, SpaceMismatch, optional
from quiver.media import TextReader
from quiver.protocols import Held, Reader, ScorerInput
from quiver.types import Floats, Probe, Space

#: Pairs that go through a model together; the library sorts them by length.
AT_ONCE = 32
#: Characters kept for each token of a model's context, and at most: English has four to five for each.
_PER_TOKEN, _MOST = 6, 4096
_LOG = logging.getLogger("quiver")


def load(*, model: str, characters: int | None = None, device: str = "auto") -> "Readings":
    """Load a model.

    Args:
        model: a folder, or a repository of the Hugging Face Hub.
        characters: kept of every text; the ends of longer ones are not read, which a warning says. None for six for
            each token that the model reads (3,072 for 512 tokens), at most 4,096.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        BadSpec: no such model, or it does not give one score.
        MissingWeights: the files are not on disk and cannot be downloaded, or are not complete.
    """
    with optional():
        import sentence_transformers  # noqa: F401
    if characters is not None and characters < 1:
        raise BadSpec(f"cross_encoder characters must be at least 1, not {characters}")
    place = str(_device.pick(device))
    with _hub.quiet():
        network = _hub.load(model, lambda folder: _open(folder, place))
    if network.num_labels != 1:
        raise BadSpec(f"cross_encoder model={model} gives {network.num_labels} scores of a pair, and one is needed")
    if characters is None:
        characters = min(_PER_TOKEN * int(network.max_seq_length or _MOST), _MOST)
    space = Space("cross_encoder/text", characters, "dot", _fingerprint.of_parts("characters 1", str(characters)))
    return Readings(space, (Reranker(space, network),))


def _open(folder: Path, device: str) -> Any:
    from sentence_transformers import CrossEncoder

    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"no config.json in {folder}")
    if not _reads_pairs(folder):
        raise BadSpec(f"{folder} is no cross-encoder: the library would give it a head of random weights")
    try:
        network = CrossEncoder(str(folder), device=device, trust_remote_code=False)
    except OSError:
        raise
    except Exception as error:  # torch, safetensors and transformers each have errors of their own
        raise MissingWeights(f"{folder} cannot be loaded: {_hub.brief(error)}") from error
    return network.eval()


def _reads_pairs(folder: Path) -> bool:
    own = folder / "config_sentence_transformers.json"
    if own.is_file() and json.loads(own.read_text(encoding="utf-8")).get("model_type") == "CrossEncoder":
        return True
    built = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or ()
    return any(name.endswith("ForSequenceClassification") for name in built)


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """An encoder of texts into the numbers of their characters, 0 after the last one.

    Attributes:
        space: of the column.
        scorers: the one that reads it.
    """

    space: Space
    scorers: tuple["Reranker", ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Texts."""
        return ("text",)

    def spaces(self, key: str) -> tuple[Space, ...]:
        """Return the space of texts; () for a foreign key."""
        return (self.space,) if key == "text" else ()

    @property
    def features(self) -> tuple[Space, ...]:
        """Its one space, in which nothing is near to anything."""
        return (self.space,)

    def reader(self, key: str) -> Reader:
        """Return the text reader."""
        self._check(key)
        return TextReader()

    def embed(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Return (n, L) float32.

        Raises:
            BadSpec: the key is foreign.
            SpaceMismatch: the space is foreign.
        """
        self._check(key)
        if space != self.space:
            raise SpaceMismatch(f"{self.space} does not embed into {space}")
        longer = sum(len(text) > space.dim for text in batch)
        if longer:
            _LOG.warning(
                "%d of %d texts have more than %d characters, and only their beginnings are reranked:"
                " cross_encoder characters=%d reads all of them",
                *(longer, len(batch), space.dim, max(map(len, batch))),
            )
        return _numbers(batch, space.dim)

    def _check(self, key: str) -> None:
        if key != "text":
            raise BadSpec(f"cross_encoder reads text, not {key}")


@dataclass(frozen=True, slots=True, eq=False)
class Reranker:
    """The scorer.

    Attributes:
        space: of the texts it reads.
        network: a CrossEncoder.
    """

    space: Space
    network: Any

    @property
    def name(self) -> str:
        """Its name."""
        return "cross_encoder"

    @property
    def holds(self) -> tuple[str, ...]:
        """A text."""
        return ("text",)

    @property
    def finds(self) -> str:
        """Texts."""
        return "text"

    @property
    def reads(self) -> tuple[Space, ...]:
        """Texts as numbers."""
        return (self.space,)

    @property
    def recalls(self) -> Mapping[str, tuple[Space, ...]]:
        """None: it can only rerank."""
        return {}

    @property
    def device(self) -> str:
        """Its device."""
        return str(self.network.device)

    @property
    def exact(self) -> bool:
        """False: no recall method replaces its score."""
        return False

    def hold(self, asked: Sequence[ScorerInput]) -> Held:
        """Keep the text of each query, (q, L); several texts of one are joined.

        Raises:
            BadMedia: a text cannot be read.
            BadSpec: a query has none.
        """
        read = TextReader()
        texts = []
        for each in asked:
            held = [read(text) for text in each.media.get("text", ())] + _texts(each.examples.get(self.space, ()))
            if not held:
                raise BadSpec("cross_encoder needs words: give text")
            texts.append(" ".join(held))
        return {"text": _numbers(texts, max(map(len, texts), default=1))}

    def probes(self, held: Held, recall: str, moments: Mapping[Space, Floats]) -> tuple[Probe, ...]:
        """Refuse.

        Raises:
            BadSpec: always; something else has to recall candidates.
        """
        raise BadSpec(f"cross_encoder only reranks candidates; it has no recall method {recall!r}")

    def score(self, held: Held, columns: Mapping[Space, Floats]) -> Floats:
        """Return the model's logit of every pair, before any sigmoid: (q, n) float32."""
        import torch

        asking, texts = _texts(held["text"]), _texts(columns[self.space])
        pairs = [(one, other) for one in asking for other in texts]
        if not pairs:
            return np.empty((len(asking), len(texts)), np.float32)
        found = self.network.predict(
            pairs, batch_size=AT_ONCE, show_progress_bar=False, activation_fn=torch.nn.Identity()
        )
        return np.asarray(found, np.float32).reshape(len(asking), len(texts))

    def terms(self, held: Held, columns: Mapping[Space, Floats]) -> Mapping[str, Floats]:
        """Return the one thing that scores are made of: ``match``."""
        return {"match": self.score(held, columns)}


def _numbers(texts: Sequence[str], width: int) -> Floats:
    """Write characters as numbers, which float32 holds exactly: (n, width)."""
    rows = np.zeros((len(texts), width), np.float32)
    for row, text in zip(rows, texts, strict=True):
        kept = text[:width]
        row[: len(kept)] = [ord(character) for character in kept]
    return rows


def _texts(rows: Sequence[Any] | Floats) -> list[str]:
    return ["".join(chr(int(number)) for number in row if number) for row in rows]
