import csv

import pytest

from quiver.attribute_edits import edited, phrase
from quiver.engine.tasks.training_data import full_name, lessons
from quiver.errors import BadData, BadSpec
from quiver.task import Task, check
from quiver.types import Item

ROWS = [  # id, colour, gender, brand
    ("1", "Red", "Men", "x"),
    ("2", "Blue", "Men", "y"),
    ("3", "Blue", "Men", "x"),
    ("4", "Red", "Women", "x"),
    ("5", "NA", "Men", "x"),
    ("6", None, "Men", "x"),
]


def shelf() -> Task:
    items = [
        Item(id, {"image": f"{id}.jpg"}, {"colour": colour, "gender": gender, "brand": brand})
        for id, colour, gender, brand in ROWS[:5]
    ]
    items.append(Item("6", {"image": "6.jpg"}, {"gender": "Men", "brand": "x"}))
    items.append(Item("7", {"text": "no picture"}, {"colour": "Red", "gender": "Men"}))
    return Task("shelf", "0", items, [], ("Success@1",), "text", "all", "made")


def test_answers_have_the_asked_value_and_else_the_same_named_ones():
    task = check(edited(shelf(), ("colour", "gender")))
    asked = {each.id: (each.query.media["text"], sorted(each.relevant), each.exclude) for each in task.questions}
    assert asked == {
        "1 colour=Blue": ("the same in blue", ["2", "3"], ("1",)),  # of any brand
        "2 colour=Red": ("the same in red", ["1"], ("2",)),
        "3 colour=Red": ("the same in red", ["1"], ("3",)),
        "1 gender=Women": ("the same for women", ["4"], ("1",)),
        "4 gender=Men": ("the same for men", ["1"], ("4",)),
    }
    assert {(each.group, each.source) for each in task.questions if each.id.startswith("1 ")} == {
        ("colour", "1"),
        ("gender", "1"),
    }
    assert all(each.query.media["image"] == f"{each.source}.jpg" for each in task.questions)


def test_it_says_that_texts_are_templated_and_what_is_left_out():
    task = edited(shelf(), ("colour", "gender"))
    assert "TEMPLATED" in task.protocol
    assert "5 questions with TEMPLATED texts, generated from the columns colour, gender" in task.notes
    assert "2 pictures lack one of these values; they are neither references nor answers" in task.notes
    assert task.target == "image" and task.revision != edited(shelf(), ("colour",)).revision


def test_as_many_are_drawn_as_asked_for_and_the_attributes_take_turns():
    task = edited(shelf(), ("colour", "gender"), queries=2)
    assert [each.group for each in task.questions] == ["colour", "gender"]


def test_a_column_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(BadSpec, match=r"value of 'color': did you mean colour\? Its columns are brand, colour, gender"):
        edited(shelf(), ("color",))


@pytest.mark.parametrize(
    ("attribute", "value", "says"),
    [
        ("base_colour", "Navy Blue", "the same in navy blue"),
        ("gender", "Women", "the same for women"),
        ("article_type", "Skirts", "the same as skirts"),
        ("sleeve-length", "Long", "the same with sleeve length long"),
    ],
)
def test_a_wish_is_worded_by_the_name_of_its_column(attribute, value, says):
    assert phrase(attribute, value) == says


@pytest.fixture
def products(photos):
    """A manifest of 24 pictures in two splits, with colours and sizes."""
    path = photos / "products.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "colour", "size", "split"])
        for number, photo in enumerate(sorted(photos.glob("*.*"))):
            if photo != path:
                writer.writerow(
                    [photo.name, ("red", "blue")[number % 2], number % 3, ("train", "val")[number % 8 == 7]]
                )
    return path


def test_a_manifest_with_attributes_gives_triplets_to_learn_from_and_to_validate_on(products):
    learn, validation = lessons([f"{products} edits=colour,size"])
    assert {question.group for question in learn.questions} == {"colour", "size"}
    assert {question.query.media["text"] for question in learn.questions} == {
        *(f"the same in {value}" for value in ("red", "blue", "0", "1", "2")),
    }
    assert validation is None or validation.questions
    assert len(lessons([f"{products} edits=colour,size queries=5"])[0].questions) == 5
    assert full_name(f"{products} edits=colour").endswith("edits=colour")


def test_a_validation_part_without_changes_is_left_out_and_said(products):
    lines = products.read_text().splitlines()
    products.write_text("\n".join([*(line.replace(",val", ",train") for line in lines[:-1]), lines[-1][:-5] + "val"]))
    learn, validation = lessons([f"{products} edits=colour"])
    assert validation is None
    assert "no two validation pictures differ" in learn.notes[-1]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ("edits=price", BadSpec, "no picture has a value of 'price'"),
        ("edits=colour queries=few", BadSpec, "queries must be a number"),
        ("queries=5", BadSpec, "give edits="),
        ("edits=image", BadSpec, "no picture"),
    ],
)
def test_edits_that_cannot_be_made_are_refused(products, options, error, says):
    with pytest.raises(error, match=says):
        lessons([f"{products} {options}"])


def test_pictures_that_are_all_alike_teach_nothing(products):
    lines = products.read_text().replace(",blue,", ",red,")
    products.write_text(lines)
    with pytest.raises(BadData, match="no two training pictures differ in exactly one of colour"):
        lessons([f"{products} edits=colour"])
