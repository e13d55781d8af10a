"""What can go wrong, as types: each message names the thing and says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

#: Optional packages by the name they are imported by: the name they are installed by, and the extra that installs them.
EXTRAS = {
    "accelerate": ("accelerate", "train"),
    "av": ("av", "video"),
    "chromadb": ("chromadb", "peers"),
    "h5py": ("h5py", "bench"),
    "hnswlib": ("hnswlib", "peers"),
    "huggingface_hub": ("huggingface_hub", "torch"),
    "ir_measures": ("ir-measures", "bench"),
    "lancedb": ("lancedb", "bench"),
    "matplotlib": ("matplotlib", "bench"),
    "onnx": ("onnx", "onnx"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "open_clip": ("open_clip_torch", "open_clip"),
    "pillow_heif": ("pillow-heif", "heic"),
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
    "usearch": ("usearch", "peers"),
}


class QuiverError(Exception):
    """Anything a user can put right; the command line prints it as one line, without a traceback."""


class BadSpec(QuiverError):
    """A model, index or query was named in a way that cannot be read."""


class Untrusted(BadSpec):
    """A stored collection or model names code or files that this user has not named on this machine."""


class BadMedia(QuiverError):
    """A file or bytes cannot be decoded; the reason is fit to be shown beside the file's name."""


class BadData(QuiverError):
    """A manifest, a table or an array does not have the form it must have."""


class CannotWrite(QuiverError):
    """A file or folder cannot be written: the disk is full, or the place is read-only, missing or not permitted."""


class MissingExtra(QuiverError):
    """A package that this job needs is not installed.

    Args:
        module: the name it is imported by.
        extra: what to install; by default the extra of that package.
    """

    def __init__(self, module: str, *, extra: str | None = None) -> None:
        package, own = EXTRAS.get(module, (module, ""))
        extra = extra or own
        target = f"'quiver-search[{extra}]'" if extra else package
        super().__init__(f"{package} is not installed: pip install {target}")


class MissingWeights(QuiverError):
    """A model's weights are neither on disk nor to be downloaded from here."""


class NoRoute(QuiverError):
    """No path in the graph of spaces leads from what the user holds to what the user wants."""


class SpaceMismatch(QuiverError):
    """Vectors of two different spaces were about to be compared."""


class BadCollection(QuiverError):
    """A collection is missing, damaged, newer than this Quiver, or not a collection."""


class NoCollection(BadCollection):
    """There is no collection here."""


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
    """See that packages are installed, importing none of them.

    Raises:
        MissingExtra: one is not; the message names the extra that installs all of them.
    """
    for module in modules:
        if find_spec(module) is None:
            raise MissingExtra(module, extra=extra)


def is_panic(error: BaseException) -> bool:
    """Tell whether an error is a panic of a Rust library, which is no ``Exception``."""
    return type(error).__name__ == "PanicException"


def explained(error: BaseException) -> BaseException:
    """Return a QuiverError in place of a panic in Rust or of a missing optional package; any other error as it is."""
    if isinstance(error, ModuleNotFoundError) and (module := (error.name or "").partition(".")[0]) in EXTRAS:
        missing = MissingExtra(module)
        missing.__cause__ = error
        return missing
    if not is_panic(error):
        return error
    said = str(error).strip().split("\n", 1)[0]
    fresh = QuiverError(
        f"the storage library failed with an internal error: {said or 'it says no more'}; check the condition and the"
        " collection's files, and report this if both are right"
    )
    fresh.__cause__ = error
    return fresh
