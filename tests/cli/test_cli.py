import json
import os
import pty
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import quiver
from quiver.cli import app, main


@pytest.fixture
def shop(tmp_path, photos, prices):
    place = tmp_path / "shop"
    quiver.open(place).add(photos, meta=prices, workers=1)
    return place


def run(*arguments):
    done = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def test_help_answers_at_once_and_imports_nothing_heavy():
    heavy = "torch", "lance", "pyarrow", "PIL", "faiss"
    code = (
        "import sys, time; before = time.process_time(); from quiver.cli import app; "
        f"print(time.process_time() - before, [m for m in {heavy} if m in sys.modules])"
    )
    took = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds, imported = done.stdout.strip().split(" ", 1)
        assert imported == "[]"
        took.append(float(seconds))
    assert min(took) < 1  # of this process alone, whatever else the machine does; 0.2 where it is quiet


def test_add_reports_what_it_did_and_is_quiet_in_a_pipe(tmp_path, photos):
    done = subprocess.run(
        [sys.executable, "-m", "quiver", "add", tmp_path / "c", photos, "--workers", "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("24 added, 0 updated, 0 unchanged, 24 embedded, 0 quarantined in ")
    assert done.stderr == ""


def test_search_as_json_has_the_promised_form(shop, photos):
    answer = json.loads(run("search", shop, "--image", photos / "red0.png", "-k", "2", "--json").stdout)
    assert set(answer) == {"hits", "plan", "partial"} and answer["partial"] is False
    assert set(answer["hits"][0]) == {"id", "score", "uri", "media", "meta", "trace"}
    assert answer["hits"][0]["id"] == "photos/red0.png"
    stages = [stage["stage"] for stage in answer["plan"]["stages"]]
    assert stages == ["encode", "recall", "cut"]
    assert [each["label"] for each in answer["plan"]["actual"]][-1] == "fetch"


def test_the_command_line_and_python_give_the_same_hits(shop, photos):
    answer = json.loads(run("search", shop, "--id", "photos/blue3.png", "--where", "price < 9", "--json").stdout)
    hits = quiver.open(shop).search(like="photos/blue3.png", where="price < 9")
    assert [hit["id"] for hit in answer["hits"]] == [hit.id for hit in hits]


def test_explain_counts_and_analyze_measures(shop):
    plan = run("search", shop, "--id", "photos/red0.png", "--where", "price < 5", "--explain").stdout
    assert "price < 5: 5 of 24 items match (20.8%, counted)" in plan and " ms]" not in plan
    assert " ms]" in run("search", shop, "--id", "photos/red0.png", "--analyze").stdout


def test_the_command_line_pages_groups_and_looks_away_as_python_does(shop):
    def ids(*options):
        found = json.loads(run("search", shop, "--id", "photos/red0.png", "--json", *options).stdout)
        return [hit["id"] for hit in found["hits"]]

    opened = quiver.open(shop)
    every = opened.search(like="photos/red0.png", k=23)
    assert ids("-k", "3", "--offset", "4") == list(every.ids[4:7])
    assert ids("-k", "23", "--min-score", every[9].score - 1e-6) == list(every.ids[:10])
    grouped = opened.search(like="photos/red0.png", k=3, group_by="colour", group_size=2)
    assert ids("--limit", "3", "--group-by", "colour", "--group-size", "2") == list(grouped.ids) and len(grouped) == 6
    assert ids("-k", "3", "--group", "colour", "--per-group", "2") == list(grouped.ids)
    told = run("search", shop, "--id", "photos/red0.png", "--group", "colour").stderr
    assert "--group is now called --group-by" in told
    away = opened.search(like="photos/red0.png", unlike="photos/blue0.png", k=4)
    assert ids("--unlike", "photos/blue0.png", "-k", "4") == list(away.ids)


def test_info_get_versions_and_delete_tell_the_same_story(shop):
    info = json.loads(run("info", shop, "--json").stdout)
    assert info["items"] == 24 and info["media"] == {"image": 24} and info["meta"]["price"] == "int64"
    (item,) = json.loads(run("get", shop, "photos/red0.png", "--json").stdout)
    assert item["meta"]["colour"] == "red"
    assert run("delete", shop, "photos/red0.png").stdout == "1 deleted\n"
    assert json.loads(run("versions", shop, "--json").stdout)[-1]["items"] == 23


def test_delete_by_a_condition_needs_a_yes_or_the_number_where_nobody_can_be_asked(shop):
    def refused(*options):
        done = CliRunner().invoke(app, ["delete", str(shop), "--where", "price < :most", "--param", "most=5", *options])
        return str(done.exception)

    assert refused() == "5 of 24 items match: add --yes to delete them, or --expect 5"
    assert refused("--expect", "4") == "5 items match, and 4 were expected: nothing is deleted"
    assert run("delete", shop, "--where", "price < -1").stdout.startswith("none of 24 items matches")
    assert len(quiver.open(shop)) == 24
    assert run("delete", shop, "--where", "price < 5", "--expect", "5").stdout == "5 deleted\n"
    several = ["--param", "c=blue", "--param", "c=red", "--yes"]
    assert run("delete", shop, "--where", "colour IN :c", *several).stdout == "11 deleted\n"
    assert len(quiver.open(shop)) == 8


@pytest.mark.parametrize(("answer", "left"), [("y", 16), ("n", 24), ("", 24)])
def test_delete_by_a_condition_asks_whoever_sits_at_the_terminal(shop, monkeypatch, answer, left):
    console, typed = pty.openpty()
    os.write(console, f"{answer}\n".encode())
    with os.fdopen(typed) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(sys, "argv", ["quiver", "delete", str(shop), "--where", "colour = 'blue'"])
        with pytest.raises(SystemExit) as stopped:
            main()
    os.close(console)
    assert stopped.value.code == 0 and len(quiver.open(shop)) == left


def test_parameters_of_a_search_are_typed_by_the_columns(shop):
    options = [
        "--where",
        "price < :most AND colour IN :c",
        "--param",
        "most=9.5",
        "--param",
        "c=blue",
        "--param",
        "c=red",
    ]
    found = json.loads(run("search", shop, "--id", "photos/blue3.png", "--json", "-k", "30", *options).stdout)
    ask = {"where": "price < 9.5 AND colour IN ('blue', 'red')", "k": 30}
    assert [hit["id"] for hit in found["hits"]] == list(quiver.open(shop).search(like="photos/blue3.png", **ask).ids)


def test_index_builds_what_a_spec_says(shop):
    (built,) = json.loads(run("index", shop, "faiss factory=HNSW16", "--json").stdout)
    assert built["kind"] == "faiss" and built["vectors"] == 24
    assert "faiss" in json.loads(run("info", shop, "--json").stdout)["columns"][0]["indexes"]


def test_a_page_shows_the_query_the_hits_and_the_plan(shop, photos, tmp_path):
    page = tmp_path / "page.html"
    run("search", shop, "--image", photos / "red0.png", "-k", "3", "--html", page)
    text = page.read_text()
    assert text.count("<img") == 4 and "photos/red0.png" in text and "recall image -&gt; classic/image" in text


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["search", "nowhere", "--text", "a"], "no collection at"),
        (["search", "{shop}"], "the query is empty"),
        (["search", "{shop}", "--image", "none.png"], "--image: there is no file none.png"),
        (["search", "{shop}", "--text", "a", "--where", "cost <"], "cannot filter by 'cost <'"),
        (["search", "{shop}", "--text", "a", "--space", "dino"], "there is no space 'dino'"),
        (["add", "{shop}", "nothing-here"], "nothing-here"),
        (["add", "{shop}", "--encoder", "tim model=x"], "did you mean timm?"),
        (["get", "{shop}", "nobody"], "no item has the id 'nobody'"),
        (["index", "{shop}", "exact"], "needs no index"),
        (["index", "{shop}", "faiss factory=Nonsense"], "Nonsense"),
        (["delete", "{shop}"], "either ids or a condition"),
        (["delete", "{shop}", "--where", "price >= 0 LIMIT 1"], "'LIMIT' is not understood"),
        (["delete", "{shop}", "--where", "1 = 1", "--yes"], "names no column"),
        (["search", "{shop}", "--text", "a", "--where", "price < :x", "--param", "x"], "--param x: give a name"),
        (["search", "{shop}", "--text", "a", "--where", "price < :x", "--param", "x=cheap"], "'cheap' is no number"),
    ],
)
def test_what_a_user_can_put_right_is_one_line_without_a_traceback(shop, arguments, problem, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["quiver", *(each.format(shop=shop) for each in arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("quiver: ") and problem in line


def test_doctor_says_what_loads(tmp_path):
    found = json.loads(run("doctor", "--json").stdout)
    assert found["libraries"]["lance"]["problem"] is None and "classic" in found["encoders"]
    assert set(found["caption_measures"]) == {"METEOR", "SPICE"}
    assert found["java"] is not None or all(found["caption_measures"].values())


def test_relocate_and_export_are_commands(shop, photos, tmp_path):
    moved = tmp_path / "moved"
    photos.rename(moved)
    assert run("relocate", shop, photos, moved).stdout == "24 items moved\n"
    said = run("export", shop, tmp_path / "out.npy", "--where", "price < :most", "--param", "most=5").stdout
    assert said == f"5 items in {tmp_path / 'out.npy'} and {tmp_path / 'out.parquet'}\n"
