"""Other people's models: a folder on disk first, then the Hugging Face Hub, and a clear word when neither has it.

The libraries ask the Hub for one file after the other and retry each for over twenty seconds when there is no
network. Here a model is one folder: it is looked for on disk, the Hub is asked once whether it answers, and
the libraries only ever see the folder.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from quiver.encoders._custom_code import Code
from quiver.errors import BadSpec, MissingWeights

T = TypeVar("T")
#: Seconds within which the Hub must answer.
PATIENCE = 5.0

_SETTINGS = ("*.json", "*.txt", "*.model", "*.jinja")
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth")
_CODE = ("*.py",)
# The same weights again for other runtimes, precisions and programs.
_UNWANTED = ("onnx/*", "openvino/*", "coreml/*", "original/*", "*.fp16.*", "consolidated*", "training_args.bin",
             "optimizer.*", "scheduler.*", "rng_state*")  # fmt: skip
_IDLE = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"}
_LOGGERS = ("transformers", "huggingface_hub", "sentence_transformers", "open_clip", "timm")


def load(
    name: str,
    build: Callable[[Path], T],
    *,
    instead: str = "give model=FOLDER",
    weights: bool = True,
    code: Code | None = None,
) -> T:
    """Build a model from its folder, downloading what is missing.

    Args:
        name: a folder, or a repository of the Hub such as ``google/siglip2-base-patch16-224``. A folder wins.
        build: makes the model of a folder; OSError says that files are missing.
        instead: what the user can do when there is none, for the message.
        weights: download weights too, not only settings and vocabularies.
        code: the commit to load, and whether the model's own Python code may run; it is checked before ``build``.

    Raises:
        MissingWeights: neither on disk nor to be downloaded from here.
        BadSpec: the Hub knows no such repository, or the model needs code that may not run.
    """
    pinned = None if code is None else code.commit
    if code is not None:
        build = _checked(code, build)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _built(build, folder, name)
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise MissingWeights(f"{name}: there is no such folder")
    if cached := _cached(name, pinned):
        try:
            return build(cached)
        except OSError:
            pass  # an earlier download was not finished, or not made by us: fetch the rest
    patterns = _SETTINGS + _WEIGHTS * weights + _CODE * (code is not None and code.allowed)
    return _built(build, _download(name, instead, patterns, pinned), name)


def _checked(code: Code, build: Callable[[Path], T]) -> Callable[[Path], T]:
    def checked(folder: Path) -> T:
        code.check(folder)
        return build(folder)

    return checked


def file(repository: str, names: Iterable[str], *, instead: str) -> Path:
    """Return the first of some files that a repository holds, from disk or from the Hub.

    Args:
        repository: of the Hub.
        names: files to look for, best first.
        instead: what the user can do when there is none, for the message.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    wanted = list(names)
    for name in wanted:
        try:
            return Path(hf_hub_download(repository, name, local_files_only=True))
        except LocalEntryNotFoundError:
            continue
    held = _listing(repository, instead)
    for name in wanted:
        if name in held:
            return Path(hf_hub_download(repository, name))
    raise MissingWeights(f"{repository} has none of {', '.join(wanted)}: {instead}")


def stable(config: Mapping[str, Any]) -> str:
    """Return a model's settings without those that do not affect its vectors.

    >>> stable({"hidden_act": "gelu", "text_config": {"dtype": "float16"}, "transformers_version": "5.0"})
    '{"hidden_act": "gelu", "text_config": {}}'
    """

    def kept(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: kept(inner) for key, inner in value.items() if key not in _IDLE}
        return value

    return json.dumps(kept(config), sort_keys=True, default=str)


def described(folder: Path) -> Mapping[str, Any]:
    """Return the ``config.json`` of a folder; empty if there is none.

    Raises:
        BadSpec: it is not a JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadSpec(f"{path} cannot be read: {brief(error)}") from error
    if not isinstance(found, dict):
        raise BadSpec(f"{path} is no JSON object")
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Keep libraries from printing while they load; progress bars stay on a terminal."""
    try:
        from transformers.utils import logging as bars
    except ModuleNotFoundError:  # then it shows no bars
        bars = None
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    hide = bars is not None and bars.is_progress_bar_enabled() and not sys.stderr.isatty()
    # open_clip logs to the root logger through functions that would set up logging for the whole program.
    silence = logging.NullHandler()
    logging.getLogger().addHandler(silence)
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    if hide:
        bars.disable_progress_bar()
    try:
        yield
    finally:
        logging.getLogger().removeHandler(silence)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if hide:
            bars.enable_progress_bar()


def _built(build: Callable[[Path], T], folder: Path, name: str) -> T:
    try:
        return build(folder)
    except OSError as error:
        raise MissingWeights(f"{name}: {brief(error)}") from error


def _cached(repository: str, commit: str | None) -> Path | None:
    """Return the folder of an earlier download, whole or not; the library's own search wants it whole."""
    from huggingface_hub import constants

    home = Path(constants.HF_HUB_CACHE, f"models--{repository.replace('/', '--')}")
    latest = home / "refs" / "main"
    if commit is None and not latest.is_file():
        return None
    folder = home / "snapshots" / (commit or latest.read_text(encoding="utf-8").strip())
    return folder if folder.is_dir() else None


def _download(repository: str, instead: str, patterns: Iterable[str], commit: str | None) -> Path:
    from huggingface_hub import snapshot_download

    held = _listing(repository, instead, commit)
    return Path(snapshot_download(repository, revision=commit, allow_patterns=_needed(held, patterns)))


def _needed(held: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """Choose files, and of each folder's weights one copy."""
    wanted = [
        name
        for name in held
        if any(fnmatch(name, pattern) for pattern in patterns)
        and not any(fnmatch(name, pattern) for pattern in _UNWANTED)
    ]
    safe = {PurePosixPath(name).parent for name in wanted if name.endswith(".safetensors")}
    pickles = (".bin", ".pt", ".pth")
    return [n for n in wanted if not (n.endswith(pickles) and PurePosixPath(n).parent in safe)]


def _listing(repository: str, instead: str, commit: str | None = None) -> list[str]:
    """List the files of a repository on the Hub; one attempt with a short timeout."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        found = HfApi().model_info(repository, revision=commit, timeout=PATIENCE)
    except HFValidationError as error:
        raise BadSpec(f"{repository!r} is neither a folder nor the name of a model: {brief(error)}") from error
    except GatedRepoError as error:
        raise MissingWeights(
            f"{repository} is gated: accept its licence on the Hub and log in with 'hf auth login'"
        ) from error
    except RevisionNotFoundError as error:
        raise BadSpec(f"{repository} has no commit {commit}") from error
    except RepositoryNotFoundError as error:
        raise BadSpec(f"the Hugging Face Hub has no model {repository!r}, or it is private: {instead}") from error
    except Exception as error:  # whatever a network, a proxy or the client library may raise
        raise MissingWeights(
            f"{repository} is not on disk and cannot be downloaded from here ({brief(error)}): {instead}"
        ) from error
    return [entry.rfilename for entry in found.siblings or []]


def brief(error: BaseException) -> str:
    """Return the first line of an error, without a full stop."""
    lines: list[Any] = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).replace(os.linesep, " ").rstrip(".:")
