"""Pictures, pairs and clips of the packs: what answers what, and splits that keep near-duplicates together."""

import csv
import hashlib

import pytest

from quiver.benchmarks.datasets import asl_video, clothing, exercise_pairs, fashion_products, stamps
from quiver.errors import BadData, BadSpec
from quiver.registry import load

PARTS = ("train", "validation", "test")


def write(folder, rows):
    """Write a pack: its table, and a file for every path in it, whose content is the path unless the row says else."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "meta.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name != "content"])
        writer.writeheader()
        writer.writerows({name: value for name, value in row.items() if name != "content"} for row in rows)
    for row in rows:
        for name in ("file", "still", "sound"):
            if row.get(name):
                path = folder / row[name]
                path.parent.mkdir(exist_ok=True)
                path.write_text(row.get("content", row[name]))
    return folder


def answers(task):
    """Which items answer each question, those excluded left out."""
    return {each.id: set(each.relevant) - set(each.exclude) for each in task.questions}


def split_apart(module, folder, *columns):
    """Return the counts of the three splits, having seen that they share no value of a column and miss no item."""
    tasks = [module.load(folder=folder, split=split) for split in PARTS]
    for column in columns:
        values = [{item.meta[column] for item in task.items} for task in tasks]
        assert len(set.union(*values)) == sum(map(len, values))
    whole = module.load(folder=folder, split="all")
    assert sorted(item.id for task in tasks for item in task.items) == sorted(item.id for item in whole.items)
    return [len(task.items) for task in tasks]


def product(id, gender, kind, colour, name, group):
    fixed = dict.fromkeys(("master_category", "sub_category", "season", "year", "usage"), "x")
    head = {"file": f"images/{id}.jpg", "id": id, "gender": gender, "article_type": kind, "base_colour": colour}
    return head | fixed | {"name": name, "group": group}


@pytest.fixture
def shop(tmp_path):
    rows = [
        product("1", "Men", "Tshirts", "Red", "Acme Red Tee", "a"),
        product("2", "Men", "Tshirts", "Navy Blue", "Acme Tee", "b"),
        product("3", "Men", "Tshirts", "Navy Blue", "Acme  tee", "b"),
        product("4", "Women", "Tshirts", "Red", "Her Tee", "c"),
        product("5", "Women", "Dresses", "Red", "Her Dress", "d"),
        product("6", "Men", "Tshirts", "NA", "Odd Tee", "e"),
    ]
    return write(tmp_path / "fashion_products", rows)


def test_a_name_asks_for_all_products_of_that_name(shop):
    task = fashion_products.load(folder=shop, split="all", partial=True)
    assert [set(each.relevant) for each in task.questions] == [{"1"}, {"2", "3"}, {"2", "3"}, {"4"}, {"5"}, {"6"}]
    assert [each.source for each in task.questions] == ["1", "2", "2", "4", "5", "6"]  # equal names are one source
    back = fashion_products.load(folder=shop, track="name", split="all", partial=True)
    assert answers(back)["2"] == {"2#0", "3#0"}
    assert (back.target, back.items[4].media) == ("text", {"text": "Her Dress"})


def test_a_photograph_asks_for_its_type_beyond_its_group(shop):
    task = fashion_products.load(folder=shop, track="image", split="all", partial=True)
    assert answers(task)["2"] == {"1", "4", "6"}
    assert "5" not in answers(task)
    assert "1 photographs not asked: no other group of their type is in the split" in task.notes


def test_composed_queries_change_one_attribute_and_keep_the_others(shop):
    task = fashion_products.load(folder=shop, track="composed", change="any", split="all", queries=50, partial=True)
    asked = {
        (each.query.media["image"][-5], each.query.media["text"]): (set(each.relevant), each.exclude, each.group)
        for each in task.questions
    }
    assert asked == {
        ("1", "the same in navy blue"): ({"2", "3"}, ("1",), "colour"),
        ("2", "the same in red"): ({"1"}, ("2",), "colour"),
        ("3", "the same in red"): ({"1"}, ("3",), "colour"),
        ("1", "the same for women"): ({"4"}, ("1",), "gender"),
        ("4", "the same for men"): ({"1"}, ("4",), "gender"),
        ("4", "the same as a dress"): ({"5"}, ("4",), "type"),
        ("5", "the same as a t-shirt"): ({"4"}, ("5",), "type"),
    }
    assert "texts of composed queries are templated" in task.notes
    assert [(each.source,) for each in task.questions] == [each.exclude for each in task.questions]
    assert "43 composed queries fewer than asked for: there are no more" in task.notes


@pytest.mark.parametrize(
    ("attribute", "value", "text"),
    [
        ("type", "Jeans", "the same as jeans"),
        ("type", "Watches", "the same as a watch"),
        ("type", "Accessory Gift Set", "the same as an accessory gift set"),
        ("gender", "Unisex", "the same for anyone"),
        ("colour", "Multi", "the same in several colours"),
    ],
)
def test_wishes_are_said_in_english(attribute, value, text):
    assert fashion_products.wish(attribute, value) == text


def test_wrong_counts_and_tracks_are_told(shop):
    with pytest.raises(BadData, match="6 products, expected 7,668"):
        fashion_products.load(folder=shop)
    with pytest.raises(BadSpec, match="protocol=sampled is for the tracks text and name"):
        fashion_products.load(folder=shop, track="image", protocol="sampled", partial=True)
    with pytest.raises(BadData, match="occurs twice"):
        rows = [product("1", "Men", "Tshirts", "Red", "a", "a")] * 2
        fashion_products.load(folder=write(shop, rows), partial=True)


def test_a_garment_asks_for_its_class_beyond_its_near_duplicates(tmp_path):
    kinds = [("T-Shirt", "0"), ("T-Shirt", "0"), ("T-Shirt", "1"), ("Hat", "2"), ("Hat", "2")]
    rows = [
        {"file": f"images/p{n}.jpg", "label": label, "group": group}
        | dict.fromkeys(("kids", "sender_id", "width", "height"), "1")
        for n, (label, group) in enumerate(kinds)
    ]
    task = clothing.load(folder=write(tmp_path / "clothing", rows), split="all", partial=True)
    assert answers(task) == {"p0": {"p2"}, "p1": {"p2"}, "p2": {"p0", "p1"}}


def exercise(name, frame, instructions, content):
    empty = dict.fromkeys(("category", "force", "equipment", "level", "mechanic", "muscles"), "x")
    file = f"images/{name}_{frame}.jpg"
    head = {"file": file, "exercise": name, "frame": str(frame), "name": name.lower()}
    return head | empty | {"instructions": instructions, "content": content}


@pytest.fixture
def gym(tmp_path):
    rows = [
        exercise(f"E{n}", frame, ("push", "push", "", "pull")[n], f"{n}{frame}" if (n, frame) != (3, 0) else "20")
        for n in range(4)
        for frame in (0, 1)
    ]
    return write(tmp_path / "exercise_pairs", rows)


def test_a_pair_is_found_by_its_text_and_back(gym):
    task = exercise_pairs.load(folder=gym, split="all", partial=True)
    assert task.questions[1].query.media == {"text": "e1"}
    assert task.items[1].media == {"before": str(gym / "images/E1_0.jpg"), "after": str(gym / "images/E1_1.jpg")}
    told = exercise_pairs.load(folder=gym, text="instructions", split="all", partial=True)
    assert [set(each.relevant) for each in told.questions] == [{"E0", "E1"}, {"E0", "E1"}, {"E3"}]
    assert "1 exercises without instructions are not asked for" in told.notes
    back = exercise_pairs.load(folder=gym, track="pair", text="instructions", split="all", partial=True)
    assert answers(back)["E1"] == {"E0#0", "E1#0"}
    assert set(back.questions[0].query.media) == {"before", "after"}
    frame = exercise_pairs.load(folder=gym, track="frame", split="all", partial=True)
    assert frame.questions[2].query.media == {"image": str(gym / "images/E2_0.jpg")}
    assert (frame.items[2].media, answers(frame)["E2"]) == ({"image": str(gym / "images/E2_1.jpg")}, {"E2"})


def test_exercises_that_share_a_photograph_or_instructions_stay_together(tmp_path):
    rows = [
        exercise(f"E{n}", frame, f"do {n // 2 if n < 40 else n}", f"{n // 2 if n >= 40 and frame else n}-{frame}")
        for n in range(80)
        for frame in (0, 1)
    ]
    folder = write(tmp_path / "exercise_pairs", rows)
    sides = [{item.id for item in exercise_pairs.load(folder=folder, split=s, partial=True).items} for s in PARTS]
    assert len(set.union(*sides)) == sum(map(len, sides)) == 80
    assert all(any({f"E{n}", f"E{n + 1}"} <= side for side in sides) for n in range(0, 80, 2))


def test_an_exercise_without_its_end_is_refused(gym):
    rows = [exercise("E0", 0, "push", "a"), exercise("E0", 2, "push", "b")]
    with pytest.raises(BadData, match="'E0' needs the frames 0 and 1"):
        exercise_pairs.load(folder=write(gym, rows), partial=True)


@pytest.fixture
def signs(tmp_path):
    """Two letters by two people, ten clips of one recording each, in a shuffled order."""
    rows = [
        {
            "file": f"clips/{letter}_{who}_{n:02d}.mp4",
            "letter": letter,
            "person": who,
            "first_frame": 100 * n,
            "still": f"stills/{letter}_{who}_{n:02d}.jpg",
            "still_frame": 100 * n + 70,
        }
        for letter in "AB"
        for who in ("jack", "tom")
        for n in (3, 1, 0, 2, 9, 8, 7, 4, 5, 6)
    ]
    return write(tmp_path / "asl_video", rows)


def test_a_still_asks_for_its_letter_but_not_for_the_clips_around_it(signs):
    task = asl_video.load(folder=signs, split="all", partial=True)
    question = next(each for each in task.questions if each.id == "still_A_tom_04")
    assert question.exclude == ("A_tom_04", "A_tom_05")
    assert len(question.relevant) == 18
    assert all(id.startswith("A_") for id in question.relevant)
    other = asl_video.load(folder=signs, other_person=True, split="all", partial=True)
    question = next(each for each in other.questions if each.id == "still_A_tom_04")
    assert set(question.relevant) == {f"A_jack_{n:02d}" for n in range(10)}
    assert set(question.candidates) == {f"{letter}_jack_{n:02d}" for letter in "AB" for n in range(10)}


def test_clips_are_split_by_time(signs):
    ids = [{item.id for item in asl_video.load(folder=signs, split=split, partial=True).items} for split in PARTS]
    assert [len(each) for each in ids] == [24, 8, 8]
    assert {id for id in ids[2] if id.startswith("B_jack")} == {"B_jack_08", "B_jack_09"}
    assert {id for id in ids[1] if id.startswith("A_tom")} == {"A_tom_06", "A_tom_07"}


@pytest.fixture
def pictures(tmp_path):
    captions = [("A duck.", "Un canard."), ("A mallard.", "Un canard."), ("A hat.", "Un chapeau."), ("A hat.", "")]
    rows = [
        {
            "file": f"images/{n}.jpg",
            "category": "animals",
            "cartoon": "0",
            "caption": english,
            "caption_fr": french,
            **{f"caption_{language}": f"{language}{n}" for language in ("es", "de", "it", "ru", "ja")},
            "group": str(n),
            "sound": f"sounds/{n}.ogg" if n in (1, 3) else "",
        }
        for n, (english, french) in enumerate(captions)
    ]
    return write(tmp_path / "stamps", rows)


def test_captions_answer_in_the_language_asked_in(pictures):
    english = stamps.load(folder=pictures, split="all", partial=True)
    assert [set(each.relevant) for each in english.questions] == [{"0"}, {"1"}, {"2", "3"}, {"2", "3"}]
    french = stamps.load(folder=pictures, language="fr", split="all", partial=True)
    assert [set(each.relevant) for each in french.questions] == [{"0", "1"}, {"0", "1"}, {"2"}]
    assert "1 pictures have no caption in fr and only compete" in french.notes
    assert len(french.items) == 4
    back = stamps.load(folder=pictures, track="image", split="all", partial=True)
    assert answers(back)["2"] == {"2#0", "3#0"}


def test_a_sound_asks_for_the_pictures_of_its_caption(pictures):
    task = stamps.load(folder=pictures, track="audio", split="all", partial=True)
    assert answers(task) == {"sound_1": {"1"}, "sound_3": {"2", "3"}}
    assert task.questions[0].query.media == {"audio": str(pictures / "sounds/1.ogg")}


def test_pictures_that_share_a_caption_in_any_language_stay_together(packs_of_stamps):
    sides = [{item.id for item in stamps.load(folder=packs_of_stamps, split=s, partial=True).items} for s in PARTS]
    assert len(set.union(*sides)) == sum(map(len, sides)) == 80
    for n in range(0, 80, 2):
        assert any({f"{n}", f"{n + 1}"} <= side for side in sides)


@pytest.fixture
def packs_of_stamps(tmp_path):
    """Eighty pictures, two by two with the same German caption."""
    rows = [
        {
            "file": f"images/{n}.jpg",
            "category": "plants",
            "cartoon": "0",
            "caption": f"plant {n}",
            **{f"caption_{language}": f"{language}{n}" for language in ("fr", "es", "it", "ru", "ja")},
            "caption_de": f"Pflanze {n // 2}",
            "group": str(n),
            "sound": "",
        }
        for n in range(80)
    ]
    return write(tmp_path / "many", rows)


@pytest.mark.data
def test_fashion_products_has_its_counts_and_its_splits(packs):
    folder = packs / "fashion_products"
    assert split_apart(fashion_products, folder, "group", "name") == [5430, 769, 1469]
    task = fashion_products.load(folder=folder, split="all")
    assert (task.items[0].id, task.items[-1].id, len(task.questions)) == ("10000", "21538", 7668)
    assert task.questions[0].query.media == {"text": "Palm Tree Girls Sp Jace Sko White Skirts"}
    assert (folder / "images/10000.jpg").samefile(task.items[0].media["image"])


@pytest.mark.data
def test_fashion_products_composed_targets_are_what_was_asked(packs):
    folder = packs / "fashion_products"
    task = load("benchmarks.datasets", f"fashion_products track=composed change=any folder={folder}")
    meta = {item.id: item.meta for item in task.items}
    column = {"colour": "base_colour", "gender": "gender", "type": "article_type"}
    assert len(task.questions) == 2000
    for question in task.questions:
        reference, attribute, value = question.id.split("-", 2)
        wanted = {name: meta[reference][name] for name in column.values()}
        wanted[column[attribute]] = value.replace("_", " ")
        right = {id for id, its in meta.items() if {name: its[name] for name in wanted} == wanted}
        assert set(question.relevant) == right, question.id
        assert question.exclude == (reference,)
    counts = [
        len(fashion_products.load(folder=folder, track="composed", change=change).questions)
        for change in ("colour", "gender", "type")
    ]
    assert counts == [2000, 1080, 2000]


@pytest.mark.data
def test_fashion_products_sampled_rivals_are_of_the_same_kind(packs):
    task = fashion_products.load(folder=packs / "fashion_products", track="name", protocol="sampled")
    names = {item.id: item.meta["name"] for item in task.items}
    assert len(task.questions) == 5000
    for question in task.questions[:50]:
        (answer,) = question.relevant
        assert len(question.candidates) == 101
        assert sum(names[id] == names[answer] for id in question.candidates) == 1


@pytest.mark.data
def test_clothing_has_its_counts_and_its_splits(packs):
    assert split_apart(clothing, packs / "clothing", "group") == [2957, 369, 750]
    task = clothing.load(folder=packs / "clothing", split="all")
    assert (len(task.items), len(task.questions)) == (4076, 4076)
    assert task.items[0].id == "ea7b6656-3f84-4eb3-9099-23e623fc1018"
    label = {item.id: item.meta["label"] for item in task.items}
    assert {label[id] for id in task.questions[2].relevant} == {"Shoes"}


@pytest.mark.data
def test_exercise_pairs_have_their_counts_and_share_no_photograph(packs):
    folder = packs / "exercise_pairs"
    assert split_apart(exercise_pairs, folder, "name") == [503, 52, 145]
    tasks = [exercise_pairs.load(folder=folder, split=split) for split in PARTS]
    photographs = [
        {hashlib.sha256((folder / ref).read_bytes()).digest() for item in task.items for ref in item.media.values()}
        for task in tasks
    ]
    assert len(set.union(*photographs)) == sum(map(len, photographs)) == 1382
    told = exercise_pairs.load(folder=folder, text="instructions", split="all")
    assert (len(told.items), len(told.questions)) == (700, 696)
    assert told.items[0].id == "90_90_Hamstring"


@pytest.mark.data
def test_asl_video_has_its_counts_and_its_splits(packs):
    folder = packs / "asl_video"
    tasks = [asl_video.load(folder=folder, split=split) for split in (*PARTS, "all")]
    assert [len(task.items) for task in tasks] == [226, 76, 77, 379]
    assert [len(task.questions) for task in tasks] == [226, 75, 77, 379]
    assert len({item.id for task in tasks[:3] for item in task.items}) == 379
    assert (tasks[3].items[0].id, tasks[3].items[-1].id) == ("A_jack_00", "Y_tom_04")
    other = asl_video.load(folder=folder, other_person=True)
    assert all({id.split("_")[1] for id in each.relevant}.isdisjoint(each.id.split("_")) for each in other.questions)
    assert {each.id.split("_")[1] for each in other.questions} == set("ABCDEFGHIKLMNOPQRSTUVWXY")


@pytest.mark.data
def test_stamps_have_their_counts_and_their_splits(packs):
    folder = packs / "stamps"
    assert split_apart(stamps, folder, "caption") == [299, 49, 81]
    whole = {name: stamps.load(folder=folder, language=name, split="all") for name in stamps.CAPTION}
    asked = {name: len(task.questions) for name, task in whole.items()}
    assert asked == {"en": 429, "fr": 429, "es": 429, "de": 429, "it": 427, "ru": 429, "ja": 429}
    assert len(stamps.load(folder=folder, track="audio", split="all").questions) == 82
    first = whole["de"].questions[0]
    assert first.query.media["text"] == "Ein Adelaidesittich."
    assert set(first.relevant) == {"animals__birds__adelaide-rosella"}
