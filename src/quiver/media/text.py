"""Text: one Unicode string, composed (NFC), never empty."""

import unicodedata
from dataclasses import dataclass
from typing import Any

from quiver.errors import BadMedia


@dataclass(frozen=True, slots=True)
class TextReader:
    """Reads text; a string is the text itself, never the name of a file."""

    def __call__(self, source: Any) -> str:
        """Return the text in NFC.

        Args:
            source: str, or bytes in UTF-8 (a leading byte-order mark is dropped).

        Raises:
            BadMedia: the bytes are not UTF-8, or there is nothing but white space.
        """
        text = _decode(source)
        if not text or text.isspace():
            raise BadMedia("the text is empty")
        if not text.isascii():
            text = unicodedata.normalize("NFC", text)
        return text


def _decode(source: Any) -> str:
    if isinstance(source, bytes | bytearray | memoryview):
        try:
            return bytes(source).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadMedia(f"the text is not UTF-8: {error.reason} at byte {error.start}") from error
    if not isinstance(source, str):
        raise BadMedia(f"text must be a string or UTF-8 bytes, not {type(source).__name__}")
    try:
        source.encode()
    except UnicodeEncodeError as error:
        raise BadMedia(f"the text has half a surrogate pair at character {error.start}") from error
    return source
