"""Opening of pictures: bytes to an upright, opaque Pillow image, or an error with the reason."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from quiver.errors import BadMedia, optional
from quiver.media.fetch import Buffer, content, fetch
from quiver.media.signature import found, is_heif

if TYPE_CHECKING:
    from PIL.Image import Image

#: A picture that still has more pixels once its decoder has scaled it down is refused, before it is decoded.
PIXELS = 1 << 28
#: JPEG decoders scale by up to 8 while decoding, but read every pixel: this multiple of the limit is refused.
_READ = 4
#: A larger picture (other than JPEG, which scales while decoding) is averaged down before all other steps.
_LARGE = 89_478_485
#: Pixels per byte of file that zlib can reach with one byte a pixel: a large picture with more is a bomb.
_DENSEST = 1100
#: Modes in which neighbouring pixels can be averaged.
_AVERAGED = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr")
#: What Pillow decodes by itself; EPS and WMF are missing because it hands them to other programs.
FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "DIB", "TGA", "ICO", "ICNS", "PCX", "SGI"),
    *("QOI", "DDS", "PSD", "AVIF"),
)
_EXIF = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")

Box = tuple[float, float, float, float]


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress Pillow's warnings: relevant faults are checked here, and the rest concerns metadata."""
    with warnings.catch_warnings():
        # Only Pillow's, so that two threads that leave in the wrong order silence nothing else.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def open_picture(source: Any) -> "Image":
    """Open a picture by its content, regardless of its name; files are decoded later.

    Args:
        source: path, ``file://`` URI, span, bytes, PIL image, or uint8 array (H, W), (H, W, 3) or (H, W, 4).

    Raises:
        BadMedia: it is not a picture, or it has too many pixels.
        MissingExtra: it is a HEIC picture, and pillow-heif is not installed.
    """
    from PIL import Image

    if isinstance(source, np.ndarray):
        return Image.fromarray(_checked(source))
    if isinstance(source, Image.Image):
        source.load()  # a copy, so that the caller's image stays unchanged
        return source
    opened = content(source)
    data = fetch(opened) if isinstance(opened, str) else opened
    picture = _open(data)
    _check_size(picture, _pixels * _READ if scales(picture) else _pixels)
    if _LARGE < picture.width * picture.height > _DENSEST * len(data):
        raise BadMedia(f"has {picture.width}x{picture.height} pixels in {len(data):,} bytes: it cannot be a photo")
    return picture


def allow(pixels: int) -> None:
    """Set the largest number of pixels of a picture after the decoder's scaling, for this process."""
    global _pixels  # noqa: PLW0603 - a setting of the process, as in Pillow
    _pixels = pixels


_pixels = PIXELS


def scales(picture: "Image") -> bool:
    """Whether the decoder of a picture can scale it down while it decodes."""
    return picture.format in ("JPEG", "MPO")


def check_decoded(picture: "Image") -> None:
    """Refuse a picture that is too large at its decoded size.

    Raises:
        BadMedia: it has more pixels than are allowed.
    """
    _check_size(picture, _pixels)


def _check_size(picture: "Image", most: int) -> None:
    if picture.width * picture.height > most:
        size = f"{picture.width}x{picture.height}"
        raise BadMedia(f"has {size} pixels, more than {most:,}: raise max_pixels to allow it")


def _open(data: Buffer) -> "Image":
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        return _open_large(data)
    except (UnidentifiedImageError, KeyError) as error:  # KeyError: a Pillow built without one of the formats
        if is_heif(bytes(data[:32])):
            return _open_heif(data)
        raise BadMedia(f"is not a picture of a known format{found(bytes(data[:512]))}") from error


def _open_large(data: Buffer) -> "Image":
    """Open a picture that Pillow finds suspiciously large: this module has its own limit."""
    from PIL import Image

    start = bytes(data[:16])
    for name in FORMATS:
        factory, accept = Image.OPEN.get(name, (None, None))
        if factory is not None and (accept is None or accept(start) is True or accept(start) == 1):
            with suppress(SyntaxError, IndexError, TypeError, KeyError, EOFError, ValueError):
                return cast("Image.Image", factory(io.BytesIO(data), ""))
    raise BadMedia("is not a picture of a known format")


def _open_heif(data: Buffer) -> "Image":
    """Open a HEIC or HEIF picture, as phones make them.

    Raises:
        MissingExtra: pillow-heif, which decodes them, is not installed.
    """
    with optional():
        plugin = import_module("pillow_heif.as_plugin")
    return cast("Image", plugin.HeifImageFile(io.BytesIO(data)))


def shrunk(picture: "Image", target: tuple[int, int]) -> "Image":
    """Average a very large picture down to at least twice the ``target`` (width, height)."""
    factor = min(picture.width // (2 * target[0]), picture.height // (2 * target[1]))
    if picture.width * picture.height <= _LARGE or factor < 2 or picture.mode not in _AVERAGED:
        return picture
    return picture.reduce(factor) if "transparency" not in picture.info else picture


def orientation(picture: "Image") -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    if not any(name in picture.info for name in _EXIF):
        return 1
    try:
        turn = picture.getexif().get(0x0112, 1)
    except Exception:  # damaged metadata rotate nothing: viewers show such a picture unrotated
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
    if not scales(picture):
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
    """Convert to RGB, with grey ``fill`` (0 to 255) behind transparent pixels.

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
