"""Columns of own tables are named in one way: by add, train, bench and fit."""

import inspect

import pytest
from typer.testing import CliRunner

from quiver.benchmarks.recall import own_questions
from quiver.cli import app
from quiver.engine.tasks import labelled_queries
from quiver.errors import BadData, BadSpec


@pytest.fixture
def tables(tmp_path, photos):
    (tmp_path / "shop.csv").write_text(
        "sku,photo,name\n" + "".join(f"s{n},photos/red{n}.png,red thing {n}\n" for n in range(4))
    )
    (tmp_path / "asked.csv").write_text("name,answer\nfirst red thing,s0\nsecond red thing,s1\n")
    return tmp_path


@pytest.mark.parametrize("command", ["add", "train", "bench recall", "fit", "threshold", "index"])
def test_the_same_options_name_the_columns_of_all_commands(command):
    text = CliRunner().invoke(app, [*command.split(), "--help"]).stdout
    wanted = {"--meta", "--key", "--media", "--text", "--image", "--id-column", "--path-column"}
    assert not [option for option in wanted if f"{option} " not in text]


def test_questions_name_their_columns_as_items_do(tables):
    asked = labelled_queries.read(tables / "asked.csv", options={"media": "text=name"})
    queries = [{"text": "first red thing"}, {"text": "second red thing"}]
    assert [each.media for each in asked.queries()] == queries and asked.answers == [["s0"], ["s1"]]
    again = labelled_queries.read(tables / "asked.csv", columns={"text": "name", "image": "photo"})
    assert [each.media for each in again.queries()] == queries
    with pytest.raises(BadData, match=r"no column of media: name it, as in image='COLUMN' or text='COLUMN'"):
        labelled_queries.read(tables / "asked.csv")
    with pytest.raises(BadData, match=r"has no column 'nam': did you mean 'name'\? Its columns are name, answer"):
        labelled_queries.read(tables / "asked.csv", options={"text": "nam"})


def test_ids_and_paths_of_questions_are_named_as_those_of_items(tables):
    (tables / "shown.csv").write_text("number,picture,answer\n7,photos/red0.png,s0\n8,photos/red1.png,s1\n")
    (tables / "qrels.txt").write_text("7 0 s3 1\n8 0 s2 1\n")
    options = {"path_column": "picture", "id_column": "number"}
    asked = labelled_queries.read(tables / "shown.csv", options=options)
    assert [each.id for each in asked.asked] == ["7", "8"] and asked.answers == [["s0"], ["s1"]]
    assert [each.media for each in asked.queries()] == [{"image": str(tables / f"photos/red{n}.png")} for n in (0, 1)]
    judged = labelled_queries.read(tables / "shown.csv", relevant=[tables / "qrels.txt"], options=options)
    assert judged.answers == [["s3"], ["s2"]]
    with pytest.raises(BadData, match=r"has no column 'numbr': did you mean 'number'"):
        labelled_queries.read(tables / "shown.csv", options={**options, "id_column": "numbr"})


def test_media_files_are_questions_whose_answers_stand_in_a_table(tables):
    (tables / "right.csv").write_text(
        "picture,answer,grade,where,note\nred0.png,007,2,price < 5,a\nred0.png,8,1,price < 5,\nred2.png,s2,1,,b\n"
    )
    asked = labelled_queries.read(tables / "photos", options={"meta": str(tables / "right.csv"), "key": "picture"})
    assert [each.id for each in asked.asked] == ["photos/red0.png", "photos/red2.png"]
    assert asked.answers == [["007"], ["s2"]] and [each.where for each in asked.queries()] == ["price < 5", None]
    assert [each.media["image"] for each in asked.queries()] == [str(tables / f"photos/red{n}.png") for n in (0, 2)]
    told = "\n".join(asked.notes)
    assert "photos: no use for column note" in told
    assert "rows of right.csv without a file, or of a file named before: 1" in told
    (one,) = labelled_queries.read(
        tables / "photos/red2.png", options={"meta": str(tables / "right.csv"), "key": "picture"}
    ).asked
    assert one.answers == {"s2": 1}
    with pytest.raises(BadSpec, match=r"meta joins a table to media files, and .*shop.csv is a table itself"):
        labelled_queries.read(tables / "shop.csv", options={"meta": str(tables / "right.csv")})


def test_commands_take_the_columns_of_their_questions(tables, tmp_path):
    def run(*words):
        return CliRunner().invoke(app, [str(word) for word in words])

    shop = tmp_path / "collection"
    columns = ["--id-column", "sku", "--image", "photo"]
    assert run("add", shop, tables / "shop.csv", *columns, "--encoder", "classic").exit_code == 0
    (tables / "shown.csv").write_text("picture,right\n" + "".join(f"photos/red{n}.png,s{n}\n" for n in range(4)))
    asked = [tables / "shown.csv", "--answer", "right", "--path-column", "picture"]
    done = run("threshold", shop, *asked, "--target", "image", "--rate", 0.9, "--confidence", 0.5)
    assert done.exit_code == 0, done.exception
    built = ["index", shop, "faiss factory=Flat", "--recall", 0.9, "--queries", tables / "shown.csv"]
    done = run(*built, "--image", "picture", "--json")
    assert done.exit_code == 0 and "4 queries (given)" in done.stdout, (done.exception, done.stdout)
    (tables / "named.csv").write_text("picture,number,right\nphotos/red0.png,7,s0\n")
    own = own_questions.Own(
        collection=str(shop), answer="right", columns={"path_column": "picture", "id_column": "number"}
    )
    (question,) = own_questions.load(str(tables / "named.csv"), own).questions
    assert question.id == "7" and question.query.media["image"].endswith("red0.png")
    for words, said in (
        (["threshold", shop, "--text", "name"], "--text is for a table of questions"),
        (["index", shop, "--path-column", "x"], "--path-column is for the table of --queries"),
        (["fit", shop, tables / "shown.csv", "--image", "pictur"], "has no column 'pictur': did you mean 'picture'"),
        (
            ["bench", "recall", tables / "shown.csv", "--id-column", "x", "--encoder", "classic"],
            "--id-column describes",
        ),
    ):
        assert said in str(run(*words).exception)


def test_own_questions_and_their_items_take_the_options_of_add(tables):
    columns = {"text": "name", "image": "photo", "meta": None, "key": None, "media": None}
    spec = f"{tables / 'shop.csv'} id_column=sku"
    task = own_questions.load(str(tables / "asked.csv"), own_questions.Own(items=(spec,), columns=columns))
    assert task.target == "image" and [item.id for item in task.items] == ["s0", "s1", "s2", "s3"]
    assert [(q.query.media["text"], list(q.relevant)) for q in task.questions] == [
        ("first red thing", ["s0"]),
        ("second red thing", ["s1"]),
    ]
    (tables / "photos.csv").write_text("file,label\nred0.png,zero\nred1.png,one\n")
    described = {"meta": str(tables / "photos.csv"), "key": "file"}
    (tables / "asked.csv").write_text("text,answer\nzero,red0.png\n")
    own = own_questions.Own(items=(str(tables / "photos"),), columns=described)
    task = own_questions.load(str(tables / "asked.csv"), own)
    assert {item.id: dict(item.meta) for item in task.items}["photos/red1.png"] == {"label": "one"}


def test_options_of_items_without_items_are_refused(tables):
    done = CliRunner().invoke(app, ["bench", "recall", str(tables / "asked.csv"), "--text", "name", "--encoder", "x"])
    assert isinstance(done.exception, BadSpec) and "--text describes the files of --items" in str(done.exception)


def test_a_misnamed_column_names_the_nearest_and_the_option_that_works(tables):
    def refusal(*options):
        return str(CliRunner().invoke(app, ["add", str(tables / "c"), *map(str, options)]).exception)

    assert "has no column 'phot': did you mean 'photo'?" in refusal(tables / "shop.csv", "--image", "phot")
    assert "name it, as in --image COLUMN or --text COLUMN, or the column of paths by --path-column COLUMN" in refusal(
        tables / "asked.csv"
    )
    said = refusal(tables / "photos", "--meta", tables / "asked.csv")
    assert "name the column that does, as in --key COLUMN; there are name, answer" in said
    assert "--key names a column, but there is no table" in refusal(tables / "photos", "--key", "name")


def test_the_python_side_takes_the_same_names():
    import quiver

    assert {"meta", "key", "media", "text", "image"} <= inspect.signature(quiver.Collection.add).parameters.keys()
