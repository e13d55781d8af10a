"""Any Sentence Transformers model: ``sentence_transformers model=all-MiniLM-L6-v2`` or ``model=FOLDER``.

Library: github.com/huggingface/sentence-transformers, Apache-2.0. Its models embed text, and some of them images and
audio, into one space. A model that takes videos, as Qwen3-VL-Embedding does, gets their frames; of another one that
takes images, a video is the mean of its frames' unit vectors. Code that comes with a model runs only with
``custom_code=true``, pinned by ``revision=COMMIT``. Texts longer than the model's context (256 tokens for MiniLM) are
cut.

Many models embed a question unlike the texts that answer it: E5, BGE, Qwen3-Embedding and EmbeddingGemma put an
instruction before it, a ``Router`` has a network of its own for it. Stored texts are embedded as the library's
``encode_document`` does, and the text of a query as its ``encode_query`` does; both are in one space. Some families
(E5, BGE) do not keep their prompts in the checkpoint: a warning names them.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quiver.encoders import _device, _fingerprint, _hub, _sentence
from quiver.encoders._custom_code import Code
from quiver.encoders._precision import Precision
from quiver.encoders._prompts import missing
from quiver.encoders._tower import Features, Tower, Towers, averaged, check_dim, check_sizes, shape_parts
from quiver.errors import BadSpec, optional
from quiver.media import AudioReader, ImageReader, TextReader, VideoReader
from quiver.types import Floats, Space

#: Items that go through a model together; texts are sorted by length first, so that little is padding.
AT_ONCE = 64
#: Names of prompts for stored texts, in the order in which the library looks for them.
_DOCUMENT = ("document", "passage", "corpus")
_LOG = logging.getLogger("quiver")


def load(  # noqa: PLR0913 - options of a spec, each of them named where it is given
    *,
    model: str,
    prompt: str | None = None,
    query: str | None = None,
    frames: int = 8,
    device: str = "auto",
    dim: int | None = None,
    precision: Precision = "fp32",
    at_once: int | None = None,
    custom_code: bool = False,
    revision: str | None = None,
) -> Towers:
    """Load a model.

    Args:
        model: a folder, a repository of the Hugging Face Hub, or a short name of ``sentence-transformers/``.
        prompt: name of one of the model's prompts, or text to put before every stored text; None for the model's own
            prompt for documents, if it has one.
        query: the same for the text of queries; None for the model's own prompt for queries, else for ``prompt``.
        frames: taken from a video, evenly spread.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        dim: leading numbers of a vector to keep, of a model that was trained for it (Matryoshka); None for all.
        precision: of weights and sums; ``auto`` is that of the checkpoint.
        at_once: inputs that go through the model together; None for 64.
        custom_code: run the Python code that comes with the model; only together with ``revision``.
        revision: commit of the repository, 40 hexadecimal digits; with ``custom_code`` and a folder, the hash of its
            Python files, which the error without it tells.

    Raises:
        BadSpec: no such model, it has no single space of vectors, it takes no text and a prompt is given, or it needs
            code that may not run.
        MissingWeights: the files are not on disk and cannot be downloaded, or are not complete.
    """
    with optional():
        import sentence_transformers  # noqa: F401
    place = _device.pick(device)
    check_sizes(dim, at_once)
    here = Path(model).expanduser().is_dir()
    code = Code.of(model if here or "/" in model else f"sentence-transformers/{model}", custom_code, revision)

    def build(folder: Path) -> tuple[Any, str]:
        opened = _sentence.opened("SentenceTransformer", folder, place, precision=precision, custom_code=custom_code)
        return opened, _sentence.shapes(folder)

    with _hub.quiet():
        network, shapes = _hub.load(code.model, build, code=code)
    width = network.get_embedding_dimension()
    check_dim(dim, width)
    network.truncate_dim = dim
    before = _sentence.prompt(network, prompt, _DOCUMENT)
    asked = _sentence.prompt(network, query, ("query",)) or before
    if not (before or asked) and (said := missing(model)):
        _LOG.warning("%s", said)
    towers = _towers(network, _Prompts(before, asked), frames, at_once or AT_ONCE)
    if "text" not in towers and (prompt or query):
        raise BadSpec("this model takes no text: leave out the prompt")
    pinned = (f"code {revision}",) if custom_code else ()
    own_video = ("video",) if "video" in network.modalities else ()
    revised = _fingerprint.of_state(
        network.state_dict(),
        "sentence_transformers 1",
        shapes,
        _sentence.settings(network),
        f"{before!r} {frames} frames",
        *shape_parts(dim),
        *pinned,
        *own_video,
    )
    short = Path(model).expanduser().resolve().name if here else model
    return Towers(Space(f"sentence_transformers/{short}", dim or width, "cosine", revised), towers, at_once=at_once)


@dataclass(frozen=True, slots=True)
class _Prompts:
    """Texts that stand before other texts; None for none.

    Attributes:
        document: before stored texts.
        query: before the text of a query.
    """

    document: str | None
    query: str | None


def _towers(network: Any, prompts: _Prompts, frames: int, at_once: int) -> dict[str, Tower]:
    takes = set(network.modalities)
    towers: dict[str, Tower] = {}
    if "text" in takes:
        # Beside other media a bare string may be taken for the name of a file or an address to fetch.
        wrap = (lambda text: text) if takes <= {"text", "message"} else (lambda text: {"text": text})
        document = _features(network.encode_document, wrap, prompt=prompts.document, at_once=at_once)
        routed = any(type(part).__name__ == "Router" for part in network)
        unlike = routed or prompts.query != prompts.document
        query = _features(network.encode_query, wrap, prompt=prompts.query, at_once=at_once) if unlike else None
        towers["text"] = Tower(TextReader(), document, query)
    if "image" in takes:
        image = _features(network.encode_document, _picture, at_once=at_once)
        towers["image"] = Tower(ImageReader(), image)
        towers["video"] = Tower(VideoReader(frames=frames, image=ImageReader()), averaged(image, at_once=at_once))
    if "video" in takes:  # the model's own way takes the place of the mean
        film = _features(network.encode_document, _film, at_once=1)
        towers["video"] = Tower(VideoReader(frames=frames, image=ImageReader()), film)
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


def _film(frames: Any) -> Any:
    """Give frames that were chosen already to a model that takes videos; it is told that they are all there are."""
    count = len(frames)
    about = {"fps": 1.0, "total_num_frames": count, "duration": float(count), "frames_indices": list(range(count))}
    return {"array": np.ascontiguousarray(np.moveaxis(np.asarray(frames), -1, 1)), "video_metadata": about}


def _rate(network: Any) -> int:
    """Return the samples per second (Hz) that a model was trained on."""
    processor = network.processor
    return int(getattr(processor, "feature_extractor", processor).sampling_rate)
