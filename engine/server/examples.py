"""The OpenAPI document: the words of a query with their types and meanings, examples, and the problems."""

import re
from typing import Any

from quiver.engine.server.asked import PARTS
from quiver.engine.server.forms import ARROW, FORM, JSON
from quiver.types import KEYS, Query

_TEXT = {"type": "string"}
_TEXTS = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
_LIST = {"type": "array", "items": _TEXT}
_WHOLE = {"type": "integer", "minimum": 0}
_NUMBER = {"type": "number"}
_FLAG = {"type": "boolean"}
_VECTOR = {"type": "array", "items": _NUMBER}
#: Type of each word of a query.
_TYPES: dict[str, Any] = {
    "text": _TEXTS, "like": _TEXTS, "unlike": _TEXTS, "unlike_text": _TEXTS, "vector": _VECTOR,
    "vectors": {"type": "object", "additionalProperties": _VECTOR},
    "target": {"type": "string", "enum": list(KEYS)},
    "k": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 10},
    "offset": _WHOLE, "min_score": {"anyOf": [_NUMBER, {"enum": ["auto"]}]}, "where": _TEXT, "order_by": _TEXT,
    "deduplicate": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    "diversity": {"type": "number", "minimum": 0, "maximum": 1},
    "params": {"anyOf": [{"type": "object"}, {"type": "array"}]},
    "group_by": _TEXT, "group_size": {"type": "integer", "minimum": 1, "default": 1}, "exclude": _TEXTS,
    "candidates": _TEXTS, "spaces": _LIST, "fuse": _FLAG,
    "weights": {"type": "object", "additionalProperties": _NUMBER},
    "hybrid": _FLAG, "reduce": {"type": "string", "enum": ["mean", "max"]}, "scorer": _TEXT, "budget_ms": _NUMBER,
    "index": _TEXT, "depth": {"type": "integer", "minimum": 1}, "recall": _TEXT,
}  # fmt: skip
_SAID = {
    "text": "Words to search for, or several.",
    "unlike_text": "Negative examples: a text to move away from, or several.",
    "meta": "Whether hits have metadata: true, false, or the columns that they have.",
    "explain": "`plan` returns the plan without searching; `analyze` returns it with rows and milliseconds.",
    "trace": "Whether hits say what each stage gave them.",
    "types": "Whether the answer tells the Arrow types of metadata columns.",
}


def _said() -> dict[str, str]:
    """Return what ``Query`` says of each of its attributes."""
    lines = re.split(r"\n        (?=\w+: )", (Query.__doc__ or "").split("Attributes:")[1].split("Raises:")[0])
    pairs = (line.strip().partition(": ") for line in lines)
    return {name: re.sub(r"\s+", " ", said).replace("``", "`") for name, _, said in pairs}


def query_schema() -> dict[str, Any]:
    """Return the JSON schema of a query."""
    said = {**_said(), **_SAID}
    words = {name: {**kind, "description": said.get(name, "")} for name, kind in _TYPES.items()}
    words["meta"] = {"anyOf": [_FLAG, _LIST], "default": True, "description": said["meta"]}
    words["explain"] = {"enum": [False, "plan", "analyze"], "default": False, "description": said["explain"]}
    words["types"] = {**_FLAG, "default": False, "description": said["types"]}
    words["trace"] = {**_FLAG, "default": False, "description": said["trace"]}
    return {"type": "object", "properties": words, "additionalProperties": False}


EXAMPLES = {
    "words": {"summary": "Words and a condition", "value": {"text": "red dress", "where": "price < 50", "k": 5}},
    "items": {"summary": "More like this, less like that", "value": {"like": ["a.jpg"], "unlike": ["b.jpg"]}},
    "vector": {"summary": "A vector of the only space", "value": {"vector": [0.1, 0.2, 0.3, 0.4], "k": 3}},
}
QUERY = query_schema()
SEARCH_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": QUERY, "examples": EXAMPLES},
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "query": QUERY,
                        **{name: {"type": "string", "format": "binary"} for name in PARTS},
                    },
                }
            },
        },
    }
}
_BATCH = {
    "type": "object",
    "properties": {"queries": {"type": "array", "items": QUERY, "minItems": 1, "maxItems": 256}},
    "required": ["queries"],
    "additionalProperties": False,
}
_TWO = {"queries": [{"text": "red dress"}, {"like": ["a.jpg"], "k": 3}]}
_STREAM = {"schema": {"type": "string", "format": "binary"}}
BATCH = {"requestBody": {"required": True, "content": {JSON: {"schema": _BATCH, "example": _TWO}, ARROW: _STREAM}}}
_HIT = {
    "id": "photos/red0.png",
    "score": 0.9,
    "uri": "/v1/collections/shop/items/photos%2Fred0.png/media/image",
    "meta": {"colour": "red", "price": 16},
    "media": {"image": "/v1/collections/shop/items/photos%2Fred0.png/media/image"},
}
_FOUND = {"hits": [_HIT], "version": 3, "items": 24, "partial": False, "notes": []}
ANSWER = {
    "description": "The answer, best hits first",
    "content": {JSON: {"schema": {"type": "object"}, "example": _FOUND}},
}
BATCH_ANSWER = {
    "description": "The answers, in the order of the queries",
    "content": {
        JSON: {"schema": {"type": "object"}, "example": {"answers": [_FOUND]}},
        ARROW: _STREAM,
    },
}
_PROBLEM = {
    "type": "urn:quiver:unknown-option",
    "title": "The request cannot be carried out",
    "status": 422,
    "detail": "a query has no option 'n_results': did you mean k? It has ...",
    "did_you_mean": "k",
}
_SAYS = {
    400: "The body is no JSON",
    403: "The key may not do that",
    404: "There is no such collection, item or version",
    409: "Another number of items matches than expected",
    410: "That version was pruned",
    413: "The request is too large",
    415: "Another kind of content",
    416: "That range lies outside the file",
    422: "The request says something wrong; the detail says what to do",
    503: "Too many searches wait: try again after Retry-After seconds",
    507: "There is no space left",
    504: "The deadline has passed",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the problems that an operation answers with, for the OpenAPI document; 401, 403 and 421 too."""
    schema = {"type": "object", "required": ["type", "title", "status", "detail"]}
    content = {"application/problem+json": {"schema": schema, "example": _PROBLEM}}
    every = {
        401: "A key is needed",
        403: _SAYS[403],
        421: "Addressed to another host",
        429: "The key's rate is used up",
    }
    said = {**every, **{status: _SAYS[status] for status in statuses}}
    return {status: {"description": text, "content": content} for status, text in sorted(said.items())}


def body(schema: dict[str, Any], example: Any, *, arrow: bool = False) -> dict[str, Any]:
    """Return the description of a JSON body, or of one that may be an Arrow stream too."""
    content = {JSON: {"schema": schema, "example": example}, **({ARROW: _STREAM} if arrow else {})}
    return {"requestBody": {"required": True, "content": content}}
