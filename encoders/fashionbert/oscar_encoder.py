"""Oscar as an encoder: what its matcher reads of pictures and texts, stored with items.

Neither column is to be searched. A picture's holds its regions as they enter BERT, which is all of them that does not
depend on a text, then how many they are, then the pieces of its tags; a text's holds its pieces.
Shapes: n items, R regions, F features of a region with its box terms, H width of a token, L pieces of the longest text.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from quiver.encoders import _fingerprint
from quiver.encoders._pieces import Pieces
from quiver.encoders._reranking import PairMatcher, StoredInputs
from quiver.encoders._tower import chunks
from quiver.encoders.fashionbert import bert
from quiver.encoders.fashionbert.encoder import Precision, fast_bf16
from quiver.encoders.fashionbert.oscar import Config, Oscar
from quiver.encoders.fashionbert.region import Found, RegionReader
from quiver.errors import BadSpec, MissingWeights
from quiver.protocols import Reader, Scorer
from quiver.types import Floats, Space

#: Pairs that are read together.
AT_ONCE = 16


@dataclass(frozen=True, slots=True, eq=False)
class Regions(StoredInputs):
    """An encoder of pictures and texts into the columns that Oscar reads.

    Attributes:
        model: in eval mode.
        read: finds the regions of a picture.
        pieces: cuts texts and tags.
        columns: the space of each key.
        scorers: one for each direction.
    """

    called: ClassVar[str] = "oscar"

    model: Oscar
    read: RegionReader
    pieces: Pieces
    columns: Mapping[str, Space]
    scorers: tuple[Scorer, ...] = field(default=())

    def _pictures(self) -> Reader:
        return self.read

    def _rows(self, key: str, batch: Sequence[Any], dim: int) -> Floats:
        """Return (n, R H + 1 + L) of pictures, or (n, L) of texts: ids, the rest padding."""
        if not len(batch):
            return np.empty((0, dim), np.float32)
        longest = self.model.config.max_text
        if key == "text":
            return self._ids(self.pieces.split(batch), longest)
        regions = np.concatenate([self._embedded(part) for part in chunks(batch, AT_ONCE)])
        counts = np.array([[len(found)] for found, _ in batch], np.float32)
        return np.concatenate([regions, counts, self._ids(self.pieces.split([tags for _, tags in batch]), longest)], 1)

    def _ids(self, rows: Sequence[Sequence[int]], longest: int) -> Floats:
        out = np.full((len(rows), longest), self.model.config.pad, np.float32)
        for row, ids in zip(out, rows, strict=True):
            row[: min(len(ids), longest)] = ids[:longest]
        return out

    def _embedded(self, batch: Sequence[Found]) -> Floats:
        """Return (n, R H) of regions, zeros where a picture has fewer."""
        out = np.zeros((len(batch), self.read.most, self.model.config.hidden), np.float32)
        place = self.model.pooler.weight.device
        with torch.inference_mode():
            for row, (regions, _) in zip(out, batch, strict=True):
                # In fp32 whatever the precision of scoring, so that columns do not depend on it.
                given = torch.from_numpy(regions)[None].to(place)
                row[: len(regions)] = self.model.embed_regions(given)[0].float().cpu().numpy()
        return out.reshape(len(batch), -1)


@dataclass(frozen=True, slots=True, eq=False)
class OscarMatcher(PairMatcher):
    """The scorer of one direction.

    Attributes:
        model: in eval mode, in any precision.
        stock: the encoder of what is read.
        finds: ``image`` or ``text``.
    """

    called: ClassVar[str] = "oscar"

    model: Oscar
    stock: Regions
    finds: str

    @property
    def device(self) -> str:
        """Its device."""
        return str(self.model.pooler.weight.device)

    def _margins(self, texts: Floats, pictures: Floats, pairs_P2: NDArray[np.int64]) -> Floats:
        out = np.empty(len(pairs_P2), np.float32)
        with torch.inference_mode():
            for start in range(0, len(out), AT_ONCE):
                rows = pairs_P2[start : start + AT_ONCE]
                out[start : start + len(rows)] = self._compared(texts[rows[:, 0]], pictures[rows[:, 1]])
        return out

    def _compared(self, texts: Floats, pictures: Floats) -> Floats:
        config, most = self.model.config, self.stock.read.most
        width = most * config.hidden
        joined = [self._joined(text, picture[width + 1 :]) for text, picture in zip(texts, pictures, strict=True)]
        longest = max(len(ids) for ids, _ in joined)
        ids = np.full((len(joined), longest), config.pad, np.int64)
        types = np.zeros((len(joined), longest), np.int64)
        for row, (own, kinds) in enumerate(joined):
            ids[row, : len(own)], types[row, : len(own)] = own, kinds
        regions = np.ascontiguousarray(pictures[:, :width]).reshape(-1, most, config.hidden)
        keep = np.arange(most) < pictures[:, width, None]
        given = (torch.from_numpy(each).to(self.model.pooler.weight.device) for each in (ids, types, regions, keep))
        return cast(Floats, self.model.score(*given).cpu().numpy())

    def _joined(self, text: Floats, tags: Floats) -> tuple[list[int], list[int]]:
        """Return ids and segments of ``[CLS] text [SEP] tags [SEP]``; tags get what a text leaves of the limit."""
        config, pieces = self.model.config, self.stock.pieces
        own, told = (row[row != config.pad].astype(np.int64).tolist() for row in (text, tags))
        end = pieces.id("[SEP]")
        head = [pieces.id("[CLS]"), *own[: config.max_text - 3], end]
        tail = [*told[: config.max_text - len(head) - 1], end]
        return head + tail, [0] * len(head) + [1] * len(tail)


def build(checkpoint: Path, regions: Path, *, most: int, device: torch.device, precision: Precision) -> Regions:
    """Read a model; see ``quiver.encoders.oscar.load``."""
    if most < 1:
        raise BadSpec(f"oscar most must be at least 1, not {most}")
    if not regions.is_dir():
        raise BadSpec(f"oscar regions={regions}: there is no such folder")
    model = open(checkpoint).to(device).eval().requires_grad_(False)
    config, pieces = model.config, cast(Pieces, model.pieces)
    if config.classes != 2:
        raise BadSpec(f"{checkpoint} has {config.classes} classes; a matcher tells two apart")
    seen = _fingerprint.of_state(
        model.regions.state_dict(), "oscar regions 1", pieces.tokenizer.to_str(), f"{most} {config.max_text}"
    )
    cut = _fingerprint.of_parts("oscar pieces 1", pieces.tokenizer.to_str(), str(config.max_text))
    columns = {
        "text": Space("oscar/pieces", config.max_text, "dot", cut),
        "image": Space("oscar/regions", most * config.hidden + 1 + config.max_text, "dot", seen),
    }
    stock = Regions(model, RegionReader(regions, most, config.feature), pieces, columns)
    scoring = model
    if precision == "bf16" or (precision == "auto" and fast_bf16(device)):
        scoring = open(checkpoint).to(device).eval().requires_grad_(False)
        for part in (scoring.words, scoring.encoder):
            part.to(torch.bfloat16)
    return replace(stock, scorers=tuple(OscarMatcher(scoring, stock, finds) for finds in ("image", "text")))


def open(folder: Path) -> Oscar:
    """Read a model of ours, or a checkpoint as Oscar publishes it.

    Raises:
        MissingWeights: there is none, or it was not fine-tuned for matching.
    """
    if (folder / "model.safetensors").is_file() and not (folder / "vocab.txt").is_file():
        model = Oscar.open(folder)
        if model.pieces is None:
            raise MissingWeights(f"oscar checkpoint={folder}: tokenizer.json is missing, which holds its word pieces")
        return model
    model = Oscar(_published(folder))
    absent = bert.start(model, folder)
    if lacking := [name for name in absent if not name.startswith("guess_word")]:
        raise MissingWeights(
            f"{folder} lacks {lacking[0]}: it was not fine-tuned to tell matching pairs, as Oscar's checkpoints of "
            "image-text retrieval are"
        )
    model.pieces = Pieces.open(folder)
    return model


def _published(folder: Path) -> Config:
    """Return the config of a checkpoint as Oscar publishes it."""
    known = bert.settings(folder)
    theirs = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return Config(
        **known,
        max_text=min(Config().max_text, known.get("positions", Config().positions)),
        feature=theirs.get("img_feature_dim", 2054),
        norm=bool(theirs.get("use_img_layernorm", 0)),
        classes=theirs.get("num_labels", 2),
        classifier=theirs.get("classifier", "linear"),
        wide=theirs.get("cls_hidden_scale", 3),
    )
