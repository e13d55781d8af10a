"""Families of text models that want prompts which their checkpoints do not hold.

Sources: the model cards of intfloat/e5-*, intfloat/multilingual-e5-*, BAAI/bge-*, mixedbread-ai/mxbai-embed-large-v1,
Snowflake/snowflake-arctic-embed-*, nomic-ai/nomic-embed-text-* on the Hugging Face Hub.
"""

import re
from pathlib import PurePath

_BGE = "Represent this sentence for searching relevant passages: "
#: Pattern of a model's name, prompt of stored texts, prompt of queries.
FAMILIES: tuple[tuple[str, str | None, str], ...] = (
    (r"(multilingual-)?e5-(small|base|large)(-v2)?", "passage: ", "query: "),
    (r"bge-(small|base|large)-en(-v1\.5)?", None, _BGE),
    (r"bge-(small|base|large)-zh(-v1\.5)?", None, "为这个句子生成表示以用于检索相关文章："),  # noqa: RUF001 - its colon
    (r"mxbai-embed-large-v1", None, _BGE),
    (r"snowflake-arctic-embed-(xs|s|m|l)(-v1\.5)?", None, _BGE),
    (r"nomic-embed-text-v(1|1\.5|2-moe)", "search_document: ", "search_query: "),
)


def missing(model: str) -> str | None:
    """Return a warning if a model of this name wants prompts and was loaded without any; None if it does not.

    Args:
        model: a folder or a repository; its last part is compared.

    >>> missing("intfloat/e5-base-v2").endswith("prompt='passage: ' query='query: '")
    True
    """
    name = PurePath(model).name.lower()
    for pattern, document, query in FAMILIES:
        if re.fullmatch(pattern, name):
            options = [f"prompt='{document}'"] * (document is not None) + [f"query='{query}'"]
            return f"{name} was trained with prompts that its checkpoint does not hold: add {' '.join(options)}"
    return None
