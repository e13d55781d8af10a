"""What can go wrong, as types: each message names the thing and says what to do."""


class QuiverError(Exception):
    """Anything a user can put right; the command line prints it as one line, without a traceback."""


class BadSpec(QuiverError):
    """A model, index or query was named in a way that cannot be read."""


class BadMedia(QuiverError):
    """A file or bytes cannot be decoded; the reason is fit to be shown beside the file's name."""


class BadData(QuiverError):
    """A manifest, a table or an array does not have the form it must have."""


class CannotWrite(QuiverError):
    """A file or folder cannot be written: the disk is full, or the place is read-only, missing or not permitted."""


class MissingExtra(QuiverError):
    """A library that this job needs is not installed."""

    def __init__(self, library: str, *, extra: str | None = None) -> None:
        package = f"'quiver-search[{extra}]'" if extra else library
        super().__init__(f"{library} is not installed: pip install {package}")


class MissingWeights(QuiverError):
    """A model's weights are neither on disk nor to be downloaded from here."""


class NoRoute(QuiverError):
    """No path in the graph of spaces leads from what the user holds to what the user wants."""


class SpaceMismatch(QuiverError):
    """Vectors of two different spaces were about to be compared."""


class BadCollection(QuiverError):
    """A collection is missing, newer than this Quiver, or not a collection."""


def is_panic(error: BaseException) -> bool:
    """Tell whether an error is a panic of a Rust library, which is no ``Exception``."""
    return type(error).__name__ == "PanicException"


def explained(error: BaseException) -> BaseException:
    """Return a QuiverError in place of a panic in Rust; any other error as it is."""
    if not is_panic(error):
        return error
    said = str(error).strip().split("\n", 1)[0]
    fresh = QuiverError(
        f"the storage library failed with an internal error: {said or 'it says no more'}; check the condition and the"
        " collection's files, and report this if both are right"
    )
    fresh.__cause__ = error
    return fresh
