"""Hits are marked on a static page, and the files that it offers are those that every command reads."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

import quiver
from quiver.cli import app
from quiver.engine.contact_sheet import write
from quiver.engine.execution import label_page
from quiver.engine.source import relevance
from quiver.engine.tasks import labelled_queries
from quiver.errors import BadSpec
from quiver.types import Item, Query

HOSTILE = "a %</section><script>alert(1)</script>\"'"
#: A document of figures, just enough of it for the script of a page; clicks are given as [kind, place of the figure].
NODE = """
const {script, figures, clicks} = JSON.parse(require("fs").readFileSync(0));
const made = figures.map(each => {
  const figure = {dataset: {...each.figure}};
  figure.closest = name => name === "figure" ? figure : {dataset: each.section};
  return figure;
});
const saved = {};
let handler;
global.document = {
  querySelectorAll: name => name.startsWith("figure") ? made : [],
  addEventListener: (name, heard) => { handler = heard; },
  createElement: () => ({click() { saved[this.download] = this.href; }}),
};
global.Blob = function(parts) { this.text = parts.join(""); };
global.URL = {createObjectURL: blob => blob.text};
eval(script);
for (const [kind, place] of clicks) {
  const button = {dataset: kind === "save" ? {file: place} : {mark: kind}, closest: name =>
    name === "button" ? button : made[place]};
  handler({target: button});
}
console.log(JSON.stringify(saved));
"""


class Figures(HTMLParser):
    """The figures with marks of a page, each with the attributes of its section, and its scripts and policy."""

    def __init__(self, text):
        super().__init__()
        self.found, self.scripts, self.policy, self.section, self.inside = [], [], "", {}, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        held = dict(attrs)
        data = {name.removeprefix("data-"): value for name, value in held.items() if name.startswith("data-")}
        if tag == "section":
            self.section = data
        if tag == "figure" and "item" in data:
            self.found.append({"figure": data, "section": self.section})
        if held.get("http-equiv") == "Content-Security-Policy":
            self.policy = held["content"]
        self.inside = tag == "script"

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts.append(data)


@pytest.fixture
def shop(tmp_path):
    shop = quiver.open(tmp_path / "shop", catch_up=False)
    shop.add(*[Item(id, {"text": text}) for id, text in ((HOSTILE, "red shoes"), ("b", "red hats"), ("c", "blue"))])
    return shop


def test_a_page_with_marks_runs_its_own_script_alone(tmp_path, shop):
    query = Query({"text": f"red {HOSTILE}"}, where="id <> 'x'", k=3)
    write(tmp_path / "p.html", [(query, shop.search(query))], collection=shop, label=True)
    page = Figures((tmp_path / "p.html").read_text())
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert page.policy.endswith(f"script-src 'sha256-{digest}'") and "default-src 'none'" in page.policy
    assert {each["figure"]["item"] for each in page.found} == {HOSTILE, "b", "c"}
    asked = json.loads(page.found[0]["section"]["asked"])
    assert asked == {"text": f"red {HOSTILE}", "where": "id <> 'x'"}
    write(tmp_path / "plain.html", [(query, shop.search(query))], collection=shop)
    assert "<script" not in (tmp_path / "plain.html").read_text()


def clicked(page, clicks):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    given = json.dumps({"script": page.scripts[0], "figures": page.found, "clicks": clicks})
    done = subprocess.run(["node", "-e", NODE], input=given, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_what_the_page_offers_is_read_by_every_command(tmp_path, shop):
    query = Query({"text": "red"}, k=3)
    write(tmp_path / "p.html", [(query, shop.search(query))], collection=shop, label=True)
    page = Figures((tmp_path / "p.html").read_text())
    at = {each["figure"]["item"]: n for n, each in enumerate(page.found)}
    clicks = [["1", at[HOSTILE]], ["0", at["b"]], ["1", at["c"]], ["1", at["c"]]]  # the last mark is taken back
    saved = clicked(page, [*clicks, ["save", "labels.jsonl"], ["save", "qrels.txt"]])
    for name, text in saved.items():
        (tmp_path / name).write_text(text)
    found = labelled_queries.read(tmp_path / "labels.jsonl")
    assert found.answers == [[HOSTILE]] and [each.media for each in found.queries()] == [{"text": "red"}]
    (asked,) = found.asked
    assert asked.id == label_page.query_id({"text": "red"}) and asked.answers == {HOSTILE: 1, "b": 0}
    assert relevance.read(tmp_path / "qrels.txt") == {asked.id: {HOSTILE: 1, "b": 0}}
    judged = labelled_queries.read(tmp_path / "labels.jsonl", relevant=[tmp_path / "qrels.txt"])
    assert judged.answers == found.answers
    command = ["bench", "recall", tmp_path / "labels.jsonl", "--collection", shop.uri, "--no-baselines", "--json", "-"]
    done = CliRunner().invoke(app, [*map(str, command), "--work", str(tmp_path / "work")], catch_exceptions=False)
    assert json.loads(done.stdout)["systems"][0]["figures"]["Success@5"]["value"] == 1


def test_a_benchmark_of_own_questions_shows_their_marks(tmp_path, shop):
    (tmp_path / "q.csv").write_text("id,text,answer,grade\nmine,red,b,2\nmine,red,c,0\n")
    command = ["bench", "recall", tmp_path / "q.csv", "--collection", shop.uri, "--no-baselines", "--html"]
    command += [tmp_path / "page.html", "--work", tmp_path / "work"]
    done = CliRunner().invoke(app, [*map(str, command)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    page = Figures((tmp_path / "page.html").read_text())
    assert {each["section"]["query"] for each in page.found} == {"mine"}
    assert {(each["figure"]["item"], each["figure"]["grade"]) for each in page.found} == {
        (HOSTILE, ""), ("b", "2"), ("c", ""),
    }  # fmt: skip


@pytest.mark.parametrize(
    "query",
    [Query({"text": ["red", "blue"]}), Query({"image": b"x"}), Query({"text": "red"}, where="id = ?", params=["b"])],
    ids=["several texts", "bytes", "parameters"],
)
def test_a_query_that_no_table_holds_has_no_marks(query):
    assert label_page.asked(query) is None


def test_marks_need_a_page(shop):
    done = CliRunner().invoke(app, ["search", shop.uri, "--text", "red", "--label"])
    assert isinstance(done.exception, BadSpec) and "name it with --html" in str(done.exception)
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/=]{44}'", label_page.POLICY)
