"""Wrong names and empty values of arguments are one line that names what was probably meant."""

import inspect

import numpy as np
import pytest
from typer.testing import CliRunner

import quiver
from quiver.arguments import HINTS
from quiver.cli import app
from quiver.errors import BadSpec, QuiverError
from quiver.types import Query


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    shop = quiver.open(tmp_path_factory.mktemp("named") / "c", catch_up=False)
    shop.add_vectors(np.eye(4), ids=list("abcd"), space="s", progress=False)
    return shop


def public():
    for name, method in inspect.getmembers(quiver.Collection, inspect.isfunction):
        if not name.startswith("_"):
            yield name, list(inspect.signature(method).parameters.values())[1:]


@pytest.mark.parametrize("name", [name for name, _ in public()])
def test_an_unknown_keyword_of_any_public_method_is_a_quiver_error_that_lists_the_known_ones(shop, name):
    with pytest.raises(QuiverError, match=rf"^{name} has no option 'zzz': it has [^\n]*$"):
        getattr(shop, name)(zzz=1)


@pytest.mark.parametrize("name", [name for name, known in public() if any(len(each.name) > 4 for each in known)])
def test_a_misspelt_keyword_names_the_nearest(shop, name):
    parameters = next(known for each, known in public() if each == name)
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    for each in parameters:
        if each.kind in kinds and len(each.name) > 4 and each.name not in HINTS:
            with pytest.raises(BadSpec, match=rf"has no option '{each.name}_': did you mean {each.name}\?"):
                getattr(shop, name)(**{f"{each.name}_": 1})


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda shop: shop.search(id="a"), "like"),
        (lambda shop: shop.search(filter="x", text="a"), "where"),
        (lambda shop: shop.search(vectr=np.ones(4)), "vector"),
        (lambda shop: shop.add("x", encodr="classic"), "encoder"),
        (lambda shop: shop.add("x", max_memroy="1GB"), "max_memory"),
        (lambda shop: shop.add_vectors(np.eye(4), space="s", id=list("abcd")), "ids"),
        (lambda shop: quiver.open("x", catchup=False), "catch_up"),
        (lambda shop: Query(id="a"), "like"),
        (lambda shop: Query(text="a"), "media"),
    ],
)
def test_the_name_that_is_meant_is_told(shop, call, meant):
    with pytest.raises(BadSpec, match=rf"did you mean {meant}\?") as refused:
        call(shop)
    assert isinstance(refused.value, TypeError), "code that expects Python's own error goes on working"


def test_signatures_stay_as_they_are_written():
    assert {"vector", "text", "k", "where"} <= inspect.signature(quiver.Collection.search).parameters.keys()
    assert list(inspect.signature(quiver.open).parameters) == ["uri", "catch_up", "trust"]
    assert quiver.Collection.search.__doc__.startswith("Search with a Query")


@pytest.mark.parametrize("uri", ["", " ", "\t\n", "\u200b", 5, None, b"shop", ["shop"], "a\0b"])
def test_what_is_no_path_is_no_collection(uri):
    with pytest.raises(BadSpec, match=r"^(a collection is a folder or a URI|a path has no NUL)[^\n]*$"):
        quiver.open(uri)


BLANK = ["", " ", "\n\t ", "\u200b", "\u3000\xa0", b"", b"  ", "\x00", ["red", ""], [" "], ("",)]


@pytest.mark.parametrize("text", BLANK)
def test_a_text_without_a_visible_letter_is_no_query(shop, text):
    for call in (lambda: shop.search(text=text), lambda: Query({"text": text}), lambda: shop.explain(text=text)):
        with pytest.raises(BadSpec, match=r"^text is empty: give words to search for$"):
            call()


@pytest.mark.parametrize("text", ["a", "é", "红", "🙂", " a ", "a\nb", b"red", "-"])
def test_a_text_with_a_visible_letter_is_one(text):
    assert Query({"text": text}).media["text"] in (text, "red")


@pytest.mark.parametrize("medium", ["image", "audio", "video"])
def test_an_empty_path_is_no_query(shop, medium):
    with pytest.raises(BadSpec, match=rf"^{medium} is empty: give a file$"):
        shop.search(**{medium: " "})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text", " "], "--text is empty: give words to search for"),
        (["--text", "a", "-k", "0"], "-k must be at least 1, not 0"),
        (["--text", "a", "--target", "smell"], "--target must be one of text, image, audio, video, pair, not 'smell'"),
        (
            ["--unlike", "a", "--text", "b"],
            "--unlike (negative examples) cannot be used: this search ranks by words only, and has no vector to move",
        ),
        (["--id", "a", "--group-size", "2"], "--group-size needs --group-by: the metadata column to group by"),
        (["--id", "a", "--hybrid"], "--hybrid needs --text to search for"),
        (["--id", "a", "--budget-ms", "-1"], "--budget-ms must be a positive number of milliseconds, not -1.0"),
        (["--before", "pyproject.toml"], "a pair needs both --before and --after"),
        (["--vector", "1,x"], "--vector 1,x: give an .npy file, or numbers such as 0.1,0.2"),
        ([], "the query is empty: give one of --text, --image, --audio, --video, --before, --after, --id, --vector"),
    ],
)
def test_the_command_line_names_options_as_they_are_typed(shop, options, message):
    done = CliRunner().invoke(app, ["search", shop.uri, *options])
    assert str(done.exception) == message


def test_after_a_command_messages_are_worded_for_python_again(shop):
    CliRunner().invoke(app, ["search", shop.uri])
    with pytest.raises(BadSpec, match=r"^k must be at least 1"):
        shop.search(like="a", k=0)


def test_a_vector_is_a_file_or_numbers(shop, tmp_path):
    np.save(tmp_path / "v.npy", np.eye(4)[2])
    for vector in ("0,0,1,0", str(tmp_path / "v.npy")):
        done = CliRunner().invoke(app, ["search", shop.uri, "--vector", vector, "-k", "1"])
        assert done.stdout.split("\t")[:3] == ["1", "1.0000", "c"], done.output


WRONG = {
    "export": lambda shop: shop.export(5),
    "export nothing": lambda shop: shop.export(None),
    "export space": lambda shop: shop.export("a.npy", space=5),
    "export factory": lambda shop: shop.export("a.faiss", factory=5),
    "threshold": lambda shop: shop.threshold(5, 6),
    "threshold answers": lambda shop: shop.threshold([Query(vector=np.ones(4))] * 20, 6),
    "threshold texts": lambda shop: shop.threshold(["a"] * 20, [["a"]] * 20),
    "relocate": lambda shop: shop.relocate(5, None),
    "relocate to nothing": lambda shop: shop.relocate("a", None, check=False),
    "measure": lambda shop: shop.measure(5),
    "measure texts": lambda shop: shop.measure(["a"]),
    "fit": lambda shop: shop.fit(5, 6),
    "fit texts": lambda shop: shop.fit(["a"], ["b"]),
    "checkout": lambda shop: shop.checkout("x"),
    "checkout nothing": lambda shop: shop.checkout(None),
    "wait": lambda shop: shop.wait("x"),
    "index": lambda shop: shop.index(5),
    "index recall": lambda shop: shop.index(recall="x"),
    "index k": lambda shop: shop.index(k="x"),
    "index memory": lambda shop: shop.index(memory=[1]),
    "index updates": lambda shop: shop.index(updates=5),
    "index queries": lambda shop: shop.index(queries=5),
    "differences": lambda shop: shop.differences(5),
    "hidden": lambda shop: shop.hidden(5),
    "delete expect": lambda shop: shop.delete("a", expect="x"),
    "add media": lambda shop: shop.add([{"id": "a", "text": "x"}], media=5),
    "add text": lambda shop: shop.add([{"id": "a", "text": "x"}], text=5),
    "add ids": lambda shop: shop.add(vectors=np.eye(4), space="s", ids=5),
    "add prune": lambda shop: shop.add("folder", sync=True, prune="no"),
    "search hybrid": lambda shop: shop.search(text="a", hybrid="no"),
    "drop dry_run": lambda shop: shop.drop("s", dry_run="false"),
    "open": lambda shop: quiver.open(shop.uri, trust="no"),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_a_value_of_a_wrong_type_is_one_line_that_shows_it(shop, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    version = shop.info()["version"]
    with pytest.raises(BadSpec, match=r"^[^\n]*(not |no )[^\n]*$") as refused:
        call(shop)
    assert len(str(refused.value)) < 300
    assert shop.info()["version"] == version and not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [True, np.True_, 1, np.int64(0), None])
def test_what_python_takes_for_true_and_false_stays_a_choice(shop, value):
    assert quiver.open(shop.uri, catch_up=value).count() == 4


COMPLEX = {
    "vector": lambda shop, v: shop.search(vector=v[0]),
    "list": lambda shop, v: shop.search(vector=v[0].tolist()),
    "query": lambda shop, v: shop.search(Query(vectors={"s": v[0]})),
    "batch": lambda shop, v: shop.search_batch(vectors={"s": v}, k=2),
    "queries": lambda shop, v: shop.search_batch([Query(vector=each) for each in v]),
    "pages": lambda shop, v: next(iter(shop.pages(vector=v[0]))),
    "add": lambda shop, v: shop.add(vectors=v, ids=list("abcd"), space="s"),
    "rows": lambda shop, v: shop.add([{"id": "z", "vector": v[0]}], space="s"),
    "index": lambda shop, v: shop.index("faiss factory=Flat", recall=0.9, queries=v),
}


@pytest.mark.parametrize("call", COMPLEX.values(), ids=COMPLEX)
def test_complex_numbers_are_refused_and_lose_no_part_in_silence(shop, call):
    with pytest.raises(QuiverError, match=r"^[^\n]*complex[^\n]*$"):
        call(shop, np.eye(4) * (1 + 2j))
    assert shop.get("a") and shop.search(vector=[1, 0, 0, 0], k=1).ids == ("a",)


def test_faiss_complains_without_its_source_code(shop, tmp_path):
    for call in (
        lambda: shop.export(tmp_path / "a.faiss", factory="Nonsense7"),
        lambda: shop.export(tmp_path / "a.faiss", factory="IVF4096,Flat"),
        lambda: shop.index("faiss factory=Nonsense7"),
    ):
        with pytest.raises(BadSpec, match=r"^[^\n]*$") as refused:
            call()
        assert ".cpp" not in str(refused.value) and "std::" not in str(refused.value)
