"""Right and wrong marks on a page of answers: a small script lets a person mark hits and download the marks.

The page stays one file without a server. The script is the only one that the page's security policy admits, by its
hash; ids and queries are data in attributes, which it never interprets as HTML. It offers two files: ``labels.jsonl``
has a line for each mark with the query, the item's id as ``answer`` and its ``grade``, and ``qrels.txt`` the same
marks in TREC's format. ``quiver fit``, ``threshold``, ``index --queries`` and ``bench recall`` read both.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from html import escape
from typing import Any

from quiver.conditions import NO_PARAMS
from quiver.types import LIKE, THE_SPACE, UNLIKE, Query

SCRIPT = """
"use strict";
const figures = () => [...document.querySelectorAll("figure[data-item]")];
const encoded = id => id.replace(/[\\s\\x85%\\x00-\\x1f\\x7f]/g, encodeURIComponent);
const files = {
  "labels.jsonl": (asked, id, item, grade) =>
    JSON.stringify({id: id, ...JSON.parse(asked), answer: item, grade: grade}) + "\\n",
  "qrels.txt": (asked, id, item, grade) => `${encoded(id)} 0 ${encoded(item)} ${grade}\\n`,
};
function content(name) {
  return figures().filter(each => each.dataset.grade).map(each => {
    const section = each.closest("[data-query]");
    return files[name](section.dataset.asked, section.dataset.query, each.dataset.item, Number(each.dataset.grade));
  }).join("");
}
function count() {
  const marks = figures().filter(each => each.dataset.grade).length;
  document.querySelectorAll("[data-count]").forEach(each => { each.textContent = `${marks} marked`; });
}
document.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (button && button.dataset.mark) {
    const figure = button.closest("figure");
    figure.dataset.grade = figure.dataset.grade === button.dataset.mark ? "" : button.dataset.mark;
    count();
  } else if (button && button.dataset.file) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content(button.dataset.file)], {type: "text/plain"}));
    link.download = button.dataset.file;
    link.click();
  }
});
count();
"""
STYLE = """
figure[data-item][data-grade]:not([data-grade=""]) { border: 2px solid #16a34a }
figure[data-item][data-grade="0"] { border: 2px solid #dc2626 }
figure button { font-size: .75rem; margin: .25rem .25rem 0 0 } .save { position: sticky; top: 0; padding: .5rem 0 }
"""
#: What the security policy admits: this script, and no other.
POLICY = f"script-src 'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
#: The buttons above all answers.
HEAD = (
    "<p class=save><button data-file=labels.jsonl>Download labels</button> <button data-file=qrels.txt>Download"
    " qrels</button> <span data-count></span></p>"
)


def asked(query: Query) -> dict[str, Any] | None:
    """Return a query as the columns of a table of queries; None if such a table cannot hold it."""
    held: dict[str, Any] = dict(query.media)
    if not all(isinstance(value, str) for value in held.values()) or query.params is not NO_PARAMS:
        return None
    if query.vectors:
        if list(query.vectors) != [THE_SPACE]:
            return None
        held["vector"] = [float(number) for number in query.vectors[THE_SPACE].ravel()]
    for name, value in ((LIKE, query.like), (UNLIKE, query.unlike), ("exclude", query.exclude)):
        held |= {name: list(value)} if value else {}
    for name, text in (("where", query.where), ("target", query.target)):
        held |= {name: text} if text is not None else {}
    return held


def query_id(given: Mapping[str, Any]) -> str:
    """Return an id for a query without one: equal queries on several pages have the same."""
    return f"q-{hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:10]}"


def opening(given: Mapping[str, Any], id: str) -> str:
    """Return the tag that opens the answer of a query."""
    return f'<section data-query="{escape(id)}" data-asked="{escape(json.dumps(given))}">'


def attributes(item: str, grade: int | None) -> str:
    """Return the attributes of a card: the item, and its grade if it is known."""
    return f' data-item="{escape(item)}" data-grade="{"" if grade is None else grade}"'


def buttons(grade: int | None) -> str:
    """Return the buttons of a card; a right answer keeps the grade that it has."""
    right = grade if grade else 1
    return f"<div><button data-mark={right}>right</button><button data-mark=0>wrong</button></div>"
