"""Opening pictures: from bytes to an upright, opaque Pillow image, or a reason why not."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from quiver.errors import BadMedia
from quiver.media.fetch import content, fetch

if TYPE_CHECKING:
    from PIL.Image import Image

#: A picture of more pixels is refused before it is decoded; here Pillow begins to warn.
PIXELS = 89_478_485
#: What Pillow decodes by itself; EPS and WMF are missing because it hands them to other programs.
FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "DIB", "TGA", "ICO", "ICNS", "PCX", "SGI"),
    *("QOI", "DDS", "PSD", "AVIF"),
)
_EXIF = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")

Box = tuple[float, float, float, float]


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back Pillow's warnings: what matters is checked here, and the rest is about metadata."""
    with warnings.catch_warnings():
        # Only Pillow's, so that two threads that leave in the wrong order silence nothing else.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def open_picture(source: Any) -> "Image":
    """Open a picture by its content, whatever it is called; files are decoded later.

    Args:
        source: path, ``file://`` URI, span, bytes, PIL image, or uint8 array (H, W), (H, W, 3) or (H, W, 4).

    Raises:
        BadMedia: it is no picture, or one of more than PIXELS pixels.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(source, np.ndarray):
        return Image.fromarray(_checked(source))
    if isinstance(source, Image.Image):
        source.load()  # from here on nothing can change the caller's image
        return source
    opened = content(source)
    data = fetch(opened) if isinstance(opened, str) else opened
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except (UnidentifiedImageError, KeyError) as error:  # KeyError: a Pillow built without one of the formats
        raise BadMedia("is not a picture of a known format") from error
    except Image.DecompressionBombError as error:
        raise BadMedia(f"has more than {PIXELS:,} pixels") from error
    if picture.width * picture.height > PIXELS:
        raise BadMedia(f"has {picture.width}x{picture.height} pixels, more than {PIXELS:,}")
    return picture


def orientation(picture: "Image") -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    if not any(name in picture.info for name in _EXIF):
        return 1
    try:
        turn = picture.getexif().get(0x0112, 1)
    except Exception:  # damaged metadata turn nothing: every viewer shows such a picture as it lies
        return 1
    return turn if turn in range(1, 9) else 1


def upright(picture: "Image", turn: int) -> "Image":
    """Undo an EXIF orientation."""
    from PIL.Image import Transpose

    methods = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return picture.transpose(methods[turn]) if turn > 1 else picture


def draft(picture: "Image", target: tuple[int, int], turn: int) -> Box | None:
    """Ask the JPEG decoder for a smaller picture, at least twice as large as the upright ``target``.

    Returns:
        The box that holds the picture once it is upright (the decoder rounds its size up), or None where it
        stays as it is.
    """
    if picture.format not in ("JPEG", "MPO"):
        return None
    before = picture.size
    width, height = target[::-1] if turn > 4 else target
    drafted = picture.draft(None, (2 * width, 2 * height))
    if drafted is None or picture.size == before:
        return None
    right, bottom = drafted[1][2:]
    spare_x = picture.width - right if turn in (2, 3) else picture.height - bottom if turn in (6, 7) else 0.0
    spare_y = picture.height - bottom if turn in (3, 4) else picture.width - right if turn in (7, 8) else 0.0
    across, down = (bottom, right) if turn > 4 else (right, bottom)
    return spare_x, spare_y, spare_x + across, spare_y + down


def opaque(picture: "Image", fill: int) -> "Image":
    """Convert to RGB, with grey ``fill`` (0 to 255) behind what is transparent.

    Raises:
        BadMedia: 32-bit values, whose white is not defined.
    """
    from PIL import Image

    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode[0] in "IF":
        picture = _eight_bits(picture)
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    canvas = Image.new("RGBA", picture.size, (fill, fill, fill, 255))
    return Image.alpha_composite(canvas, picture.convert("RGBA")).convert("RGB")


def _eight_bits(picture: "Image") -> "Image":
    """Scale 16-bit grey to 8: 65535 is white. Pillow's own conversion cuts off at 255."""
    from PIL import Image

    values = np.asarray(picture)
    if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise BadMedia("holds 32-bit values without a defined white: save it with 8 or 16 bits")
    grey = Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    clear = picture.info.get("transparency")
    if clear is None:
        return grey
    alpha = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))
    return Image.merge("LA", (grey, alpha))


def _checked(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    grey, colour = array.ndim == 2, array.ndim == 3 and array.shape[2] in (3, 4)
    if array.dtype != np.uint8 or not (grey or colour) or not array.size:
        raise BadMedia(f"a picture array is uint8 (H, W), (H, W, 3) or (H, W, 4), not {array.dtype} {array.shape}")
    return array
