"""Pixel values as a model wants them: a mean and a standard deviation per channel, from the words of a spec."""

from quiver.errors import BadSpec


def channels(text: str, option: str) -> tuple[float, float, float]:
    """Read one number for all channels, or three, separated by commas.

    Args:
        text: such as ``0.5`` or ``0.485,0.456,0.406``, for pixel values from 0 to 1.
        option: what to call it in an error.

    >>> channels("0.5", "mean")
    (0.5, 0.5, 0.5)
    """
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError as error:
        raise BadSpec(f"{option} must be one number or three with commas, not {text!r}") from error
    if len(numbers) not in {1, 3}:
        raise BadSpec(f"{option} must be one number or three with commas, not {text!r}")
    red, green, blue = numbers * (3 // len(numbers))
    return red, green, blue


def scale(mean: str, std: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Read mean and std.

    Raises:
        BadSpec: they cannot be read, or a standard deviation is not positive.
    """
    spread = channels(std, "std")
    if not min(spread) > 0:
        raise BadSpec(f"std must be positive, not {std}")
    return channels(mean, "mean"), spread
