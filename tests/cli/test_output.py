"""What the command line prints in a pipe can be read by a program, whatever the metadata hold."""

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

import quiver
from quiver.cli import add, app, show
from quiver.errors import QuiverError

ODD = {"nan": float("nan"), "more": float("inf"), "text": "two\nlines\tand a tab \\ " + "x" * 200, "n": 7}


@pytest.fixture
def shop(tmp_path):
    collection = quiver.open(tmp_path / "shop", catch_up=False)
    meta = [{f"_{name}".strip("_") + "_": value for name, value in ODD.items()}, {"n_": 8}]
    collection.add_vectors(np.eye(2), ids=["a", "line\nbreak"], space="mine", meta=meta, progress=False)
    return tmp_path / "shop"


def run(*arguments):
    done = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def refuse(constant):
    raise ValueError(f"{constant} is not JSON")


def test_numbers_that_json_does_not_have_are_null(shop):
    (item,) = json.loads(run("get", shop, "a", "--json"), parse_constant=refuse)
    assert (item["meta"]["nan_"], item["meta"]["more_"], item["meta"]["n_"]) == (None, None, 7)
    answer = json.loads(run("search", shop, "--id", "line\nbreak", "--json"), parse_constant=refuse)
    assert answer["hits"][0]["meta"]["nan_"] is None
    for command in (["info", shop], ["search", shop, "--id", "a", "--explain"], ["versions", shop]):
        json.loads(run(*command, "--json"), parse_constant=refuse)


def test_what_is_printed_as_json_is_json_whatever_it_is(capsys):
    show.write_json({"a": [np.float32("nan"), np.inf, {"b": (-np.inf, 1.5)}], "n": np.int64(3)})
    assert json.loads(capsys.readouterr().out, parse_constant=refuse) == {"a": [None, None, {"b": [None, 1.5]}], "n": 3}


def test_a_hit_is_one_line_in_a_pipe_and_nothing_is_cut(shop):
    (first,) = run("search", shop, "--id", "line\nbreak").splitlines()
    number, _, id, meta = first.split("\t")
    assert (number, id) == ("1", "a") and "x" * 200 in meta and r"two\nlines\tand a tab \\ x" in meta
    (second,) = run("search", shop, "--id", "a").splitlines()
    assert second.split("\t")[2] == r"line\nbreak"
    assert len(run("get", shop, "a").splitlines()) == 1 + len(ODD)


def test_the_text_of_an_item_is_printed_once(tmp_path):
    quiver.open(tmp_path / "texts").add([{"id": "a", "text": "a hat", "n": 1}], encoder="classic", workers=0)
    assert run("get", tmp_path / "texts", "a").splitlines() == ["a", "  text: a hat", "  n: 1"]


@pytest.mark.parametrize("letter", [*"\t\n\r\v\f", "\x85", "\u2028", "\u2029", "\x1c"])
def test_nothing_that_ends_a_line_or_column_is_printed_in_a_pipe(letter):
    assert len(show.escaped(f"a{letter}b").splitlines()) == 1 and letter not in show.escaped(f"a{letter}b")
    assert show.escaped("a\\nb") != show.escaped("a\nb")


def test_every_option_that_a_message_advises_exists(tmp_path, photos):
    data = np.ones((4, 8), np.float16)
    np.savez(tmp_path / "two.npz", a=data, b=data)
    (tmp_path / "m.csv").write_text("name,n\nx,1\n")
    (tmp_path / "ids.csv").write_text(f"file,sku\n{photos}/red0.png,\n")
    text = CliRunner().invoke(app, ["add", "--help"]).stdout
    for arguments in (
        ["two.npz", "--space", "clip"],
        ["m.csv"],
        ["ids.csv", "--id-column", "nope"],
        ["ids.csv", "--path-column", "nope"],
        ["two.npz", "--space", "clip", "--column", "nope"],
    ):
        with pytest.raises(QuiverError) as refused:
            run("add", tmp_path / "c", tmp_path / arguments[0], *arguments[1:])
        for option in re.findall(r"--[a-z-]+", str(refused.value)):
            assert option in text, refused.value
    assert add.__module__ == "quiver.cli.add"


def test_columns_of_ids_and_paths_can_be_named(tmp_path, photos):
    table = tmp_path / "t.csv"
    table.write_text("".join(f"{row}\n" for row in ["where,sku", f"{photos}/red0.png,r", f"{photos}/blue0.png,b"]))
    run("add", tmp_path / "c", table, "--path-column", "where", "--id-column", "sku", "--workers", "0")
    assert {item.id for item in quiver.open(tmp_path / "c").get(["r", "b"])} == {"r", "b"}


def test_the_array_of_an_npz_can_be_named(tmp_path):
    np.savez(tmp_path / "two.npz", a=np.eye(3), b=np.eye(4))
    run("add", tmp_path / "c", tmp_path / "two.npz", "--space", "mine", "--column", "b")
    assert len(quiver.open(tmp_path / "c")) == 4


@pytest.mark.parametrize("described", [False, True])
def test_a_folder_of_clip_retrieval_gives_images_and_texts_of_the_same_items(tmp_path, described):
    rng = np.random.default_rng(0)
    data = {kind: rng.standard_normal((6, 8)).astype(np.float16) for kind in ("img_emb", "text_emb")}
    for kind, vectors in data.items():
        (tmp_path / "emb" / kind).mkdir(parents=True)
        for part in range(2):
            np.save(tmp_path / "emb" / kind / f"{kind}_{part}.npy", vectors[3 * part : 3 * part + 3])
    if described:
        (tmp_path / "emb/metadata").mkdir()
        for part in range(2):
            lines = [json.dumps({"key": f"k{n}", "caption": f"c{n}"}) for n in range(3 * part, 3 * part + 3)]
            (tmp_path / f"emb/metadata/metadata_{part}.jsonl").write_text("\n".join(lines))
    run("add", tmp_path / "c", tmp_path / "emb", "--space", "clip")
    collection = quiver.open(tmp_path / "c")
    assert len(collection) == 6
    assert {(each["key"], each["space"]) for each in collection.info()["columns"]} == {
        ("image", "clip"),
        ("text", "clip"),
    }
    fourth = "k4" if described else "img_emb_1#1"
    for kind, key in (("img_emb", "image"), ("text_emb", "text")):
        assert collection.search(vectors={"clip": data[kind][4]}, target=key, k=1).ids == (fourth,)
    run("add", tmp_path / "d", tmp_path / "emb", "--space", "clip", "--of", "text")
    assert [each["key"] for each in quiver.open(tmp_path / "d").info()["columns"]] == ["text"]


def test_a_path_in_place_of_an_encoder_is_one_line(tmp_path, photos):
    for name in ("./model", str(tmp_path), "..", ".model", "a/b"):
        with pytest.raises(QuiverError, match="is a path, but encoders have names") as refused:
            run("add", tmp_path / "c", photos, "--encoder", name)
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "c").exists()


def test_an_add_that_changes_nothing_leaves_indexes_up_to_date(tmp_path):
    collection = quiver.open(tmp_path / "c", catch_up=False)
    data = np.random.default_rng(0).standard_normal((40, 8))
    names = [f"n{n}" for n in range(40)]
    for start in range(0, 40, 10):
        collection.add_vectors(data[start : start + 10], ids=names[start : start + 10], space="mine", progress=False)
    collection.delete(names[:9])
    collection.index("faiss factory=Flat")
    before = collection.info()
    report = collection.add_vectors(data[9:], ids=names[9:], space="mine", progress=False)
    after = collection.info()
    assert (report.unchanged, after["version"]) == (31, before["version"])
    assert after["columns"][0]["behind"]["faiss"] == {"tail": 0, "dead": 0, "share": 0.0}
