"""Detection of file types by the first bytes, for files whose names are wrong."""

_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_STARTS = (
    ((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*"), "a picture"),
    ((b"\x1aE\xdf\xa3",), "a Matroska or WebM video"),
    ((b"OggS",), "an Ogg sound or video"),
    ((b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1", b"fLaC", b"FORM"), "a sound"),
    ((b"%PDF",), "a PDF document"),
    ((b"PK\x03\x04",), "a zip archive"),
    ((b"\x1f\x8b", b"BZh", b"7z\xbc\xaf", b"\xfd7zXZ", b"Rar!"), "an archive"),
)
_MARKUP = ((b"<!doctype html", "a web page"), (b"<html", "a web page"), (b"<svg", "an SVG drawing"), (b"<?xml", "XML"))


def is_heif(first: bytes) -> bool:
    """Whether a file with these first 12 or more bytes is a HEIC or HEIF picture."""
    return first[4:8] == b"ftyp" and first[8:12] in _HEIF


def found(first: bytes) -> str:
    """Return the probable type of a file, as the end of a message; empty if unknown.

    >>> found(b"<!DOCTYPE html><title>404</title>")
    ': it seems to be a web page'
    """
    name = _name(first)
    return f": it seems to be {name}" if name else ""


def _name(first: bytes) -> str | None:
    if first and not first.strip(b"\0"):
        return "nothing but zeros, as a copy that failed leaves behind"
    if is_heif(first):
        return "a HEIC picture"
    if first[4:8] == b"ftyp":
        return "an MP4 or QuickTime video or sound"
    if first[:4] == b"RIFF":
        return {b"AVI ": "an AVI video", b"WAVE": "a WAV sound", b"WEBP": "a WebP picture"}.get(first[8:12])
    for starts, name in _STARTS:
        if first.startswith(starts):
            return name
    text = first.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return next((name for start, name in _MARKUP if text.startswith(start)), None)
