"""Text comes out composed, whole and not empty."""

import pytest

from quiver.errors import BadMedia
from quiver.media import TextReader


def test_text_is_composed():
    assert TextReader()("cafe\u0301") == "caf\u00e9"


def test_bytes_are_utf8_and_lose_their_mark():
    assert TextReader()(b"\xef\xbb\xbfgr\xc3\xbcn") == "gr\u00fcn"


def test_path_like_text_stays_text(tmp_path):
    (tmp_path / "a.txt").write_text("inside")
    assert TextReader()(str(tmp_path / "a.txt")) == str(tmp_path / "a.txt")


@pytest.mark.parametrize("text", ["", "  \n\t\u3000", b"", b"\xef\xbb\xbf"])
def test_empty_text_is_refused(text):
    with pytest.raises(BadMedia, match="empty"):
        TextReader()(text)


def test_broken_text_is_refused():
    with pytest.raises(BadMedia, match="not UTF-8: invalid start byte at byte 2"):
        TextReader()(b"ab\xff")
    with pytest.raises(BadMedia, match="surrogate pair at character 1"):
        TextReader()("a\ud800")
    with pytest.raises(BadMedia, match="int"):
        TextReader()(7)
