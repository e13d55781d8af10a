"""Any Sentence Transformers model: ``sentence_transformers model=all-MiniLM-L6-v2`` or ``model=FOLDER``.

Library: github.com/huggingface/sentence-transformers, Apache-2.0. Its models embed text, and some of them images and
audio, into one space; where they take images, a video is the mean of its frames' unit vectors. Code that comes
with a model is never run. Texts longer than the model's context (256 tokens for MiniLM) are cut.

Many models embed a question unlike the texts that answer it: E5, BGE, Qwen3-Embedding and EmbeddingGemma put an
instruction before it, a ``Router`` has a network of its own for it. Stored texts are embedded as the library's
``encode_document`` does, and the text of a query as its ``encode_query`` does; both are in one space.
"""

import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quiver.encoders import _device, _fingerprint, _hub, _tokens
from quiver.encoders._tower import Features, Tower, Towers, averaged
from quiver.errors import BadSpec, MissingWeights, optional
from quiver.media import AudioReader, ImageReader, TextReader, VideoReader
from quiver.types import Floats, Space

if TYPE_CHECKING:
    import torch

#: Items that go through a model together; texts are sorted by length first, so that little is padding.
AT_ONCE = 64
#: Names of prompts for stored texts, in the order in which the library looks for them.
_DOCUMENT = ("document", "passage", "corpus")


def load(
    *, model: str, prompt: str | None = None, query: str | None = None, frames: int = 8, device: str = "auto"
) -> Towers:
    """Load a model.

    Args:
        model: a folder, a repository of the Hugging Face Hub, or a short name of ``sentence-transformers/``.
        prompt: name of one of the model's prompts, or text to put before every stored text; None for the model's own
            prompt for documents, if it has one.
        query: the same for the text of queries; None for the model's own prompt for queries, else for ``prompt``.
        frames: taken from a video, evenly spread.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        BadSpec: no such model, it has no single space of vectors, or it takes no text and a prompt is given.
        MissingWeights: the files are not on disk and cannot be downloaded, or are not complete.
    """
    with optional():
        import sentence_transformers  # noqa: F401
    place = _device.pick(device)
    here = Path(model).expanduser().is_dir()
    name = model if here or "/" in model else f"sentence-transformers/{model}"
    with _hub.quiet():
        network, shapes = _hub.load(name, lambda folder: (_open(folder, place), _shapes(folder)))
    network.eval().requires_grad_(False)
    before = _prompt(network, prompt, _DOCUMENT)
    asked = _prompt(network, query, ("query",)) or before
    towers = _towers(network, _Prompts(before, asked), frames)
    if "text" not in towers and (prompt or query):
        raise BadSpec("this model takes no text: leave out the prompt")
    revision = _fingerprint.of_state(
        network.state_dict(), "sentence_transformers 1", shapes, _settings(network), f"{before!r} {frames} frames"
    )
    short = Path(model).expanduser().resolve().name if here else model
    dim = network.get_embedding_dimension()
    return Towers(Space(f"sentence_transformers/{short}", dim, "cosine", revision), towers)


@dataclass(frozen=True, slots=True)
class _Prompts:
    """Texts that stand before other texts; None for none.

    Attributes:
        document: before stored texts.
        query: before the text of a query.
    """

    document: str | None
    query: str | None


def _prompt(network: Any, given: str | None, usual: Sequence[str]) -> str | None:
    """Return the prompt that the user gave by name or as a text, else the one that the library would choose."""
    if given:
        return str(network.prompts.get(given, given))
    return next((network.prompts[name] for name in usual if name in network.prompts), None) or None


def _open(folder: Path, place: "torch.device") -> Any:
    """Load a folder; a missing file is an OSError, missing weights are refused."""
    import torch
    from sentence_transformers import SentenceTransformer

    if not any((folder / name).is_file() for name in ("modules.json", "config.json")):
        raise FileNotFoundError(f"no modules.json or config.json in {folder}")
    report = _Report()
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addHandler(report)
    before = logger.level, logger.propagate
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        network = SentenceTransformer(
            str(folder), device=str(place), trust_remote_code=False, model_kwargs={"dtype": torch.float32}
        )
    except OSError:
        raise
    except Exception as error:  # torch, safetensors and transformers each have errors of their own
        raise MissingWeights(f"{folder} cannot be loaded: {_hub.brief(error)}") from error
    finally:
        logger.removeHandler(report)
        logger.setLevel(before[0])
        logger.propagate = before[1]
    if report.absent:
        raise MissingWeights(f"{folder} lacks weights, such as {report.absent[0]}")
    return network


class _Report(logging.Handler):
    """Hears which weights were not found: the library fills them with random numbers and only logs it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.absent: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", record.getMessage())
        found = re.findall(r"^(\S.*?)\s+\|\s+(?:MISSING|MISMATCH)\b", plain, re.MULTILINE)
        # Sentence Transformers pools tokens by itself, past the pooler.
        self.absent += [name for name in found if not name.startswith("pooler.")]


def _towers(network: Any, prompts: _Prompts, frames: int) -> dict[str, Tower]:
    takes = set(network.modalities)
    towers: dict[str, Tower] = {}
    if "text" in takes:
        # Beside other media a bare string may be taken for the name of a file or an address to fetch.
        wrap = (lambda text: text) if takes <= {"text", "message"} else (lambda text: {"text": text})
        document = _features(network.encode_document, wrap, prompt=prompts.document)
        routed = any(type(part).__name__ == "Router" for part in network)
        unlike = routed or prompts.query != prompts.document
        query = _features(network.encode_query, wrap, prompt=prompts.query) if unlike else None
        towers["text"] = Tower(TextReader(), document, query)
    if "image" in takes:
        image = _features(network.encode_document, _picture)
        video = VideoReader(frames=frames, image=ImageReader())
        towers["image"] = Tower(ImageReader(), image)
        towers["video"] = Tower(video, averaged(image, at_once=AT_ONCE))
    if "audio" in takes:
        rate = _rate(network)
        sound = _features(network.encode_document, lambda wave: {"array": wave, "sampling_rate": rate}, at_once=1)
        towers["audio"] = Tower(AudioReader(rate=rate), sound)
    return towers


def _features(
    encode: Callable[..., Any], wrap: Callable[[Any], Any], *, prompt: str | None = None, at_once: int = AT_ONCE
) -> Features:
    """Return the encoding of one key; sounds go one by one, since not every model masks their padding."""

    def features(batch: Sequence[Any]) -> Floats:
        found = encode(
            [wrap(item) for item in batch],
            prompt=prompt,
            batch_size=at_once,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return np.asarray(found, np.float32)

    return features


def _picture(pixels: Any) -> Any:
    from PIL import Image

    return Image.fromarray(pixels)


def _rate(network: Any) -> int:
    """Return the samples per second (Hz) that a model was trained on."""
    processor = network.processor
    return int(getattr(processor, "feature_extractor", processor).sampling_rate)


def _shapes(folder: Path) -> str:
    """Write down the settings of a folder's networks."""
    listed = folder / "modules.json"
    parts = [part["path"] for part in json.loads(listed.read_text("utf-8"))] if listed.is_file() else [""]
    files = [folder / part / "config.json" for part in parts]
    return " ".join(_hub.stable(json.loads(file.read_text("utf-8"))) for file in files if file.is_file())


def _settings(network: Any) -> str:
    """Write down everything but the weights that makes a vector what it is."""
    modules = [
        (type(part).__name__, part.get_config_dict() if hasattr(part, "get_config_dict") else None) for part in network
    ]
    written = json.dumps([modules, network.max_seq_length, network.default_prompt_name], default=str)
    processor = network.processor
    tokenizer = processor if hasattr(processor, "get_vocab") else getattr(processor, "tokenizer", None)
    words = "" if tokenizer is None else _tokens.fingerprint(tokenizer)
    others = (getattr(processor, name, None) for name in ("image_processor", "feature_extractor"))
    rest = [other.to_json_string() for other in others if other is not None]
    if tokenizer is None and not rest:
        rest = [processor.to_json_string()]
    return " ".join([written, words, *rest])
