"""Any cross-encoder: it reads a query and an item together, and puts the items that a search has found in order.

    texts                ``cross_encoder model=cross-encoder/ms-marco-MiniLM-L6-v2``, Qwen3-Reranker, BGE rerankers
    texts and pictures   ``cross_encoder model=Qwen/Qwen3-VL-Reranker-2B``: either finds either
    a text, pictures     ``cross_encoder model=Salesforce/blip2-itm-vit-g``: BLIP-2 and BLIP that match text to images

Models are those of Sentence Transformers, those of transformers that classify sequences into one class, and those that
match text to images. Libraries: github.com/huggingface/sentence-transformers and .../transformers, Apache-2.0.

It has no recall of its own. It reads an item itself, stored in a column that is not to be searched: a text as the
numbers of its characters, a picture as those of its pixels (200 kB). The model may be changed without adding items
again.
"""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quiver.encoders import _device, _hub, _sentence
from quiver.encoders._custom_code import Code
from quiver.encoders._precision import Precision
from quiver.encoders._tower import check_sizes
from quiver.encoders.cross_encoder import matching
from quiver.encoders.cross_encoder.columns import Readings
from quiver.encoders.cross_encoder.reranker import Pairs, Reranker
from quiver.errors import BadSpec, optional

if TYPE_CHECKING:
    import torch

#: Pairs that go through a model together; the library sorts them by length.
AT_ONCE = 32
#: Characters kept for each token of a model's context, and at most: English has four to five for each.
_PER_TOKEN, _MOST = 6, 4096


def load(  # noqa: PLR0913 - options of a spec, each of them named where it is given
    *,
    model: str,
    characters: int | None = None,
    pixels: int = 224 * 224,
    prompt: str | None = None,
    precision: Precision | None = None,
    at_once: int = AT_ONCE,
    device: str = "auto",
    custom_code: bool = False,
    revision: str | None = None,
) -> Readings:
    """Load a model.

    Args:
        model: a folder, or a repository of the Hugging Face Hub.
        characters: kept of every text; the ends of longer ones are not read, which a warning says. None for six for
            each token that the model reads (3,072 for 512 tokens), at most 4,096.
        pixels: kept of every picture, four bytes each; larger ones are shrunk.
        prompt: name of one of the model's prompts, or an instruction; None for the model's own.
        precision: of weights and sums; None for that of the checkpoint on a GPU, else fp32.
        at_once: pairs that go through the model together.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        custom_code: run the Python code that comes with the model; only together with ``revision``.
        revision: commit of the repository, 40 hexadecimal digits; with ``custom_code`` and a folder, the hash of its
            Python files.

    Raises:
        BadSpec: no such model, it does not give one score, or it needs code that may not run.
        MissingWeights: the files are not on disk and cannot be downloaded, or are not complete.
    """
    with optional():
        import sentence_transformers  # noqa: F401
    if characters is not None and characters < 1:
        raise BadSpec(f"cross_encoder characters must be at least 1, not {characters}")
    if pixels < 1:
        raise BadSpec(f"cross_encoder pixels must be at least 1, not {pixels}")
    check_sizes(None, at_once)
    place = _device.pick(device)
    code = Code.of(model, custom_code, revision)
    kept: Precision = precision or ("auto" if place.type == "cuda" else "fp32")
    with _hub.quiet():
        network = _hub.load(model, partial(_open, place=place, precision=kept, custom_code=custom_code), code=code)
    if isinstance(network, matching.Matcher):
        if prompt is not None:
            raise BadSpec(f"cross_encoder model={model} takes no prompt")
        stored = Readings.of(characters or _PER_TOKEN * network.length, pixels, ("text", "image"))
        return stored.ranked(
            (("text", "image"), ("image", "text")), network.pairs(at_once), str(network.network.device)
        )
    if network.num_labels != 1:
        raise BadSpec(f"cross_encoder model={model} gives {network.num_labels} scores of a pair, and one is needed")
    keys = ("text", "image") if "image" in network.modalities else ("text",)
    if characters is None:
        characters = min(_PER_TOKEN * int(network.max_seq_length or _MOST), _MOST)
    scored = _pairs(network, None if prompt is None else network.prompts.get(prompt, prompt), at_once)
    directions = tuple((held, found) for found in keys for held in keys)
    return Readings.of(characters, pixels, keys).ranked(directions, scored, str(network.device))


def _pairs(network: Any, prompt: str | None, at_once: int) -> Pairs:
    """Return the scoring of pairs by the library: the logit of each, before any sigmoid."""
    import torch

    # Beside pictures a bare string may be taken for the name of a file or an address to fetch.
    mixed = "image" in network.modalities

    def wrapped(given: Any) -> Any:
        return {"text": given} if mixed and isinstance(given, str) else given

    def score(pairs: Any) -> Any:
        return network.predict(
            [(wrapped(one), wrapped(other)) for one, other in pairs],
            prompt=prompt,
            batch_size=at_once,
            show_progress_bar=False,
            activation_fn=torch.nn.Identity(),
        )

    return score


def _open(folder: Path, *, place: "torch.device", precision: Precision, custom_code: bool) -> Any:
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        raise FileNotFoundError(f"no config.json in {folder}")
    if matching.matches(folder):
        return matching.opened(folder, place, precision)
    if not _reads_pairs(folder):
        raise BadSpec(f"{folder} is no cross-encoder: the library would give it a head of random weights")
    return _sentence.opened("CrossEncoder", folder, place, precision=precision, custom_code=custom_code)


def _reads_pairs(folder: Path) -> bool:
    own = folder / "config_sentence_transformers.json"
    if own.is_file() and json.loads(own.read_text(encoding="utf-8")).get("model_type") == "CrossEncoder":
        return True
    return any(name.endswith("ForSequenceClassification") for name in _hub.described(folder).get("architectures") or ())


__all__ = ["AT_ONCE", "Readings", "Reranker", "load"]
