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


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (["add"], {"--meta", "--key", "--media", "--text", "--image"}),
        (["train"], {"--meta", "--key", "--media", "--text", "--image"}),
        (["bench", "recall"], {"--meta", "--key", "--media", "--text", "--image"}),
        (["fit"], {"--media", "--text", "--image"}),
    ],
)
def test_the_same_options_name_the_columns_of_all_commands(command, options):
    text = CliRunner().invoke(app, [*command, "--help"]).stdout
    assert all(f"{option} " in text for option in options)


def test_questions_name_their_columns_as_items_do(tables):
    asked = labelled_queries.read(tables / "asked.csv", media="text=name")
    queries = [{"text": "first red thing"}, {"text": "second red thing"}]
    assert [each.media for each in asked.queries()] == queries and asked.answers == [["s0"], ["s1"]]
    again = labelled_queries.read(tables / "asked.csv", columns={"text": "name", "image": "photo"})
    assert [each.media for each in again.queries()] == queries
    with pytest.raises(BadData, match=r"no column of media: name it, as in image='COLUMN' or text='COLUMN'"):
        labelled_queries.read(tables / "asked.csv")
    with pytest.raises(BadData, match=r"has no column 'nam': did you mean 'name'\? Its columns are name, answer"):
        labelled_queries.read(tables / "asked.csv", media="text=nam")


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
    assert isinstance(done.exception, BadSpec) and "describe the files of --items" in str(done.exception)


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
