"""Full-text search (BM25) over the text of items: the index and its queries.

Lance's tokenizer ``icu/split`` finds the words of Chinese, Japanese, Thai and other scripts written without spaces, by
the dictionaries of ICU (https://unicode-org.github.io/icu/userguide/boundaryanalysis/), which are built in; elsewhere
it splits at spaces and punctuation. Words are stemmed as English ones, and accents are dropped.
"""

import pyarrow as pa
from lance.query import MatchQuery

from quiver.engine.core.sql import Sql
from quiver.engine.storage.dataset import Table

#: The column of full-text search.
WORDS = "words"
TOKENIZER = "icu/split"
#: Longer query texts are cut: captions are shorter, and search time grows with the number of words.
_LONGEST = 65_536


def index(table: Table) -> bool:
    """Make sure that the full-text index exists and covers every script; return whether an old one was replaced."""
    old = outdated(table)
    if old or not table.has_index(WORDS):
        table.commit(
            lambda dataset: dataset.create_scalar_index(WORDS, "INVERTED", base_tokenizer=TOKENIZER, replace=True)
        )
    return old


def any_words(table: Table) -> bool:
    """Whether any item has a word; reads only up to the first one."""
    return table.any(Sql(f"btrim({WORDS}) <> ''"))


def outdated(table: Table) -> bool:
    """Whether the full-text index is from an earlier Quiver, which split text at spaces only."""
    held = [each for each in table.dataset.describe_indices() if WORDS in each.field_names]
    return any(each.details.get("base_tokenizer") != TOKENIZER for each in held)


def search(table: Table, text: str, k: int, *, where: Sql | None = None) -> pa.Table:
    """Search by words: ``_score`` and ``_rowid`` of the best k, including rows newer than the index.

    Quotes, operators and punctuation in the text have no meaning; a text without a word finds nothing.
    """
    words = text[:_LONGEST].encode(errors="replace").decode()  # half a surrogate pair cannot be searched
    with table.reading(where):
        return table.dataset.scanner(
            columns=["_score"],
            full_text_query=MatchQuery(words, WORDS),  # a plain string in quotes would be taken for a phrase query
            filter=where,
            prefilter=True,
            limit=k,
            with_row_id=True,
        ).to_table()
