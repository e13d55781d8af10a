import gzip
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from quiver.encoders.mmv.word import STOP, Tokeniser, Words, split
from quiver.errors import BadData, BadMedia


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Chop the ONION, then fry it!", ["chop", "onion", "fry"]),
        ("can\u2019t don't", ["cant", "dont"]),
        ("snake_case semi-skimmed 2%", ["snake", "case", "semi", "skimmed", "2"]),
        ("\ufb01ne na\u00efve \u041c\u0438\u0440", ["fine", "na\u00efve", "\u043c\u0438\u0440"]),
        ("\u0939\u093f\u0928\u094d\u0926\u0940 text", ["\u0939\u093f\u0928\u094d\u0926\u0940", "text"]),
        ("of the and", []),
        ("not no", ["not", "no"]),
    ],
)
def test_words_are_lower_case_without_punctuation_and_stop_words(text: str, words: list[str]) -> None:
    assert split(text) == words


def test_stop_words_can_be_met() -> None:
    assert all(split(f"x {word} y") == ["x", "y"] for word in STOP)


def test_words_after_the_last_are_ignored_and_short_texts_are_padded() -> None:
    tokeniser = Tokeniser(("red", "green", "blue"), 2)
    assert tokeniser("the Red, green and blue").tolist() == [1, 2]
    assert tokeniser("BLUE").tolist() == [3, 0]


def test_unknown_word_takes_no_place() -> None:
    tokeniser = Tokeniser(("red", "green"), 2)
    assert tokeniser("mauve red teal green").tolist() == [1, 2]


def test_text_without_a_known_word_is_refused_by_name() -> None:
    tokeniser = Tokeniser(("red",), 3)
    with pytest.raises(BadMedia, match="no word of 'the mauve' is in the vocabulary of 1"):
        tokeniser("the mauve")
    assert tokeniser.ids("the mauve").tolist() == [0, 0, 0]


def test_unknown_words_share_buckets_each_always_the_same() -> None:
    words = Words.gather(["red red green"], width=4, buckets=5)
    assert words.tokens == ("red", "green", "<0>", "<1>", "<2>", "<3>", "<4>")
    tokeniser = Tokeniser(words.tokens, 40)
    strange = [f"strange{number}" for number in range(40)]
    rows = tokeniser(" ".join(strange))
    assert set(rows.tolist()) == {3, 4, 5, 6, 7}
    assert [tokeniser(word)[0] for word in strange] == rows.tolist()
    assert tokeniser("green")[0] == 2


def test_tokeniser_travels_to_workers() -> None:
    tokeniser = Tokeniser(("red", "green", "<0>"), 4)
    assert tokeniser("mauve green").tolist() == [3, 2, 0, 0]
    assert pickle.loads(pickle.dumps(tokeniser))("mauve green").tolist() == [3, 2, 0, 0]


def test_vocabulary_holds_the_most_frequent_words() -> None:
    words = Words.gather(["a cat, a dog", "The dog", "bird cat dog"], width=3, size=2)
    assert words.tokens == ("dog", "cat")
    assert words.table.shape == (3, 3) and not words.table[0].any()
    assert Words.gather(["cat dog dog"], width=3, least=2).tokens == ("dog",)


def test_random_vector_is_a_function_of_the_word_alone() -> None:
    one, other = Words.gather(["cat dog"], width=300), Words.gather(["dog dog bird"], width=300)
    np.testing.assert_array_equal(one.table[1 + one.tokens.index("dog")], other.table[1 + other.tokens.index("dog")])
    assert abs(float(one.table[1] @ one.table[2])) < 60  # 300 independent numbers: standard deviation 17
    assert abs(one.table[1:].std() - 1) < 0.1


def test_corpus_without_words_is_refused() -> None:
    with pytest.raises(BadData, match="no word occurs 2 times"):
        Words.gather(["cat dog"], width=3, least=2)


VECTORS = {"cat": [1.0, 2.0, -3.5], "the": [9.0, 9.0, 9.0], "New_York": [9.0, 9.0, 9.0], "dog": [0.5, 0.25, 4.0]}


def write(path: Path, form: str) -> Path:
    lines = [f"{word} {' '.join(map(str, vector))}" for word, vector in VECTORS.items()]
    data = {
        "glove": "\n".join([*lines, ". . . 1.0 1.0 1.0", ""]).encode(),
        "word2vec": "\n".join(["4 3", *lines]).encode(),
        "binary": b"4 3\n"
        + b"".join(f"{word} ".encode() + np.array(row, "<f4").tobytes() + b"\n" for word, row in VECTORS.items()),
    }
    if form == "npz":
        np.savez(path, tokens=np.array(list(VECTORS)), vectors=np.array(list(VECTORS.values()), np.float64))
    else:
        path.write_bytes(gzip.compress(data[form]) if path.suffix == ".gz" else data[form])
    return path


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("glove.txt", "glove"),
        ("w2v.vec", "word2vec"),
        ("w2v.txt.gz", "word2vec"),
        ("w2v.bin", "binary"),
        ("w2v.bin.gz", "binary"),
        ("words.npz", "npz"),
    ],
)
def test_published_word_vectors_are_read(tmp_path: Path, name: str, form: str) -> None:
    words = Words.read(write(tmp_path / name, form))
    assert words.tokens == ("cat", "dog")
    np.testing.assert_array_equal(words.table, np.array([[0, 0, 0], VECTORS["cat"], VECTORS["dog"]], np.float32))
    assert words.table.dtype == np.float32
    assert Words.read(tmp_path / name, size=1).tokens == ("cat",)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("none.txt", b""),
        ("short.txt", b"cat 1 2 3\ndog 1 2\n"),
        ("word.txt", b"cat 1 2\ndog one two\n"),
        ("cut.bin", b"2 3\ncat " + b"\0" * 12 + b"\ndog \0\0"),
        ("cut2.bin", b"2 3\ncat " + b"\0" * 12 + b"\ndo"),
        ("not.npz", b"nothing"),
        ("not.txt.gz", b"nothing"),
        ("stop.txt", b"the 1 2\n"),
    ],
)
def test_broken_word_vectors_are_refused_with_the_file_s_name(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadData, match=name.replace(".", r"\.")):
        Words.read(tmp_path / name)
    with pytest.raises(BadData, match="no such file"):
        Words.read(tmp_path / "absent.txt")


@pytest.mark.parametrize(
    ("tokens", "table", "fault"),
    [
        (("cat",), np.zeros((3, 2)), "2 rows"),
        (("cat", "cat"), np.zeros((3, 2)), "'cat' occurs twice"),
        (("cat",), np.ones((2, 2)), "row 0"),
        (("cat",), np.array([[0, 0], [np.nan, 0]]), "finite"),
    ],
)
def test_words_and_vectors_must_fit(tokens: tuple[str, ...], table: np.ndarray, fault: str) -> None:
    with pytest.raises(BadData, match=fault):
        Words(tokens, table.astype(np.float32))


def test_workers_need_no_torch() -> None:
    code = "import sys, quiver.encoders.mmv.word; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
