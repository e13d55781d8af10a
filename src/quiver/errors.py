"""Error types of Quiver: each message names the cause and says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

#: Optional packages by import name: name of the distribution, and the extra that installs it.
EXTRAS = {
    "accelerate": ("accelerate", "train"),
    "av": ("av", "video"),
    "chromadb": ("chromadb", "peers"),
    "datasets": ("datasets", "mteb"),
    "fastapi": ("fastapi", "serve"),
    "h5py": ("h5py", "bench"),
    "hnswlib": ("hnswlib", "peers"),
    "huggingface_hub": ("huggingface_hub", "torch"),
    "ir_measures": ("ir-measures", "bench"),
    "lancedb": ("lancedb", "bench"),
    "matplotlib": ("matplotlib", "bench"),
    "mcp": ("mcp", "mcp"),
    "multipart": ("python-multipart", "serve"),
    "mteb": ("mteb", "mteb"),
    "onnx": ("onnx", "onnx"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "open_clip": ("open_clip_torch", "open_clip"),
    "pillow_heif": ("pillow-heif", "heic"),
    "prometheus_client": ("prometheus-client", "serve"),
    "pycocoevalcap": ("pycocoevalcap", "captions"),
    "qdrant_client": ("qdrant-client", "peers"),
    "scipy": ("scipy", "train"),
    "sentence_transformers": ("sentence-transformers", "transformers"),
    "sklearn": ("scikit-learn", "peers"),
    "soundfile": ("soundfile", "audio"),
    "soxr": ("soxr", "audio"),
    "timm": ("timm", "timm"),
    "tokenizers": ("tokenizers", "torch"),
    "torch": ("torch", "torch"),
    "torchvision": ("torchvision", "timm"),
    "transformers": ("transformers", "transformers"),
    "starlette": ("fastapi", "serve"),
    "usearch": ("usearch", "peers"),
    "uvicorn": ("uvicorn", "serve"),
}


class QuiverError(Exception):
    """An error that a user can fix; the command line prints it as one line, without a traceback."""


class BadSpec(QuiverError):
    """A model, index, query or option is invalid or unknown."""


class Untrusted(BadSpec):
    """A stored collection or model names code or files that this user has not named on this machine."""


class Unexpected(BadSpec):
    """Another number of items matches than the caller expects; nothing is changed."""


class BadMedia(QuiverError):
    """A file or bytes cannot be decoded; the message can be shown next to the file's name."""


class BadData(QuiverError):
    """A manifest, table or array has the wrong form."""


class NothingThere(BadData):
    """A source has nothing to add: an empty folder, a table without rows, or nothing at its path."""


class CannotWrite(QuiverError):
    """A file or folder cannot be written: the disk is full, or the location is read-only, missing or not permitted."""


class MissingExtra(QuiverError):
    """A package that this operation needs is not installed.

    Args:
        module: its import name.
        extra: the extra to install; by default the extra of that package.
    """

    def __init__(self, module: str, *, extra: str | None = None) -> None:
        package, own = EXTRAS.get(module, (module, ""))
        extra = extra or own
        target = f"'quiver-search[{extra}]'" if extra else package
        super().__init__(f"{package} is not installed: pip install {target}")


class MissingWeights(QuiverError):
    """A model's weights are not on disk and cannot be downloaded."""


class EncoderFailed(QuiverError):
    """An encoder or scorer raised an error of its own during a search."""


@contextmanager
def failing(name: str, what: str) -> Iterator[None]:
    """Name the encoder or scorer whose error ends a search.

    Args:
        name: the encoder or scorer.
        what: its task, as in ``embed this image``.

    Raises:
        EncoderFailed: it raised an error that Quiver does not know.
    """
    try:
        yield
    except (QuiverError, MemoryError):
        raise
    except Exception as error:
        told = " ".join(str(error).split())[:300]
        raise EncoderFailed(f"{name} cannot {what}: {type(error).__name__}{f': {told}' if told else ''}") from error


class MissingEncoder(QuiverError):
    """An encoder was given to a collection as an object, and this process has not got it."""


class NoRoute(QuiverError):
    """No path in the graph of spaces leads from the query inputs to the target.

    Attributes:
        origin: the input from which an arrow is missing; None where several are.
        target: the key it should lead to; None for any.
    """

    def __init__(self, message: str, *, origin: str | None = None, target: str | None = None) -> None:
        super().__init__(message)
        self.origin, self.target = origin, target


class SpaceMismatch(QuiverError):
    """Vectors of two different spaces cannot be compared."""


class BadCollection(QuiverError):
    """A collection is missing, damaged, newer than this Quiver, or not a collection."""


class NoCollection(BadCollection):
    """No collection exists at this location."""


@contextmanager
def optional() -> Iterator[None]:
    """Import optional packages in this block.

    Raises:
        MissingExtra: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        told = explained(error)
        if told is error:
            raise
        raise told from error


def require(*modules: str, extra: str) -> None:
    """Check that packages are installed, without importing them.

    Raises:
        MissingExtra: a package is missing; the message names the extra that installs all of them.
    """
    for module in modules:
        if find_spec(module) is None:
            raise MissingExtra(module, extra=extra)


def is_panic(error: BaseException) -> bool:
    """Whether an error is a panic of a Rust library, which is not an ``Exception``."""
    return type(error).__name__ == "PanicException"


def explained(error: BaseException) -> BaseException:
    """Convert a panic in Rust or a missing optional package to a QuiverError; return other errors unchanged."""
    if isinstance(error, ModuleNotFoundError) and (module := (error.name or "").partition(".")[0]) in EXTRAS:
        missing = MissingExtra(module)
        missing.__cause__ = error
        return missing
    if not is_panic(error):
        return error
    said = str(error).strip().split("\n", 1)[0]
    fresh = QuiverError(
        f"the storage library failed with an internal error: {said or 'no details'}; check the condition and the"
        " collection's files, and report a bug if both are right"
    )
    fresh.__cause__ = error
    return fresh
