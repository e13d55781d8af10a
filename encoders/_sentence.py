"""Models of Sentence Transformers, loaded and described: they give one vector, many vectors, or a score of a pair.

Library: github.com/huggingface/sentence-transformers, Apache-2.0.
"""

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from quiver.encoders import _hub, _tokens
from quiver.encoders._precision import Precision, dtype
from quiver.errors import MissingWeights

if TYPE_CHECKING:
    import torch

#: Classes of the library.
Kind = Literal["SentenceTransformer", "MultiVectorEncoder", "CrossEncoder"]


def opened(kind: Kind, folder: Path, place: "torch.device", *, precision: Precision, custom_code: bool) -> Any:
    """Load a folder; a missing file is an OSError, missing weights are refused.

    Args:
        kind: the class of the library.
        folder: with ``modules.json`` or ``config.json``.
        place: the device.
        precision: of weights and sums.
        custom_code: whether Python code of the folder may run; the caller has checked it.

    Raises:
        OSError: a file is missing.
        MissingWeights: the weights cannot be read, do not fit, or are not complete.
    """
    import sentence_transformers

    if not any((folder / name).is_file() for name in ("modules.json", "config.json")):
        raise FileNotFoundError(f"no modules.json or config.json in {folder}")
    report = _Report()
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addHandler(report)
    before = logger.level, logger.propagate
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        network = getattr(sentence_transformers, kind)(
            str(folder),
            device=str(place),
            trust_remote_code=custom_code,
            local_files_only=custom_code,
            model_kwargs={"dtype": dtype(precision)},
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
    return network.eval().requires_grad_(False)


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


def prompt(network: Any, given: str | None, usual: Sequence[str]) -> str | None:
    """Return the prompt that the user gave by name or as a text, else the one that the library would choose."""
    if given:
        return str(network.prompts.get(given, given))
    return next((network.prompts[name] for name in usual if name in network.prompts), None) or None


def shapes(folder: Path) -> str:
    """Write down the settings of a folder's networks."""
    listed = folder / "modules.json"
    parts = [part["path"] for part in json.loads(listed.read_text("utf-8"))] if listed.is_file() else [""]
    files = [folder / part / "config.json" for part in parts]
    return " ".join(_hub.stable(json.loads(file.read_text("utf-8"))) for file in files if file.is_file())


def settings(network: Any) -> str:
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


def read(path: Path) -> dict[str, Any]:
    """Return a JSON object; empty if the file holds something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
