"""Reading and counting annotation files, and leaving out what is not on disk."""

import gzip

import numpy as np
import pytest

from quiver.benchmarks.datasets import _caption, _place, _protocol
from quiver.benchmarks.datasets._caption import Entry
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Lazy, Source, spec
from quiver.errors import BadData, BadSpec
from quiver.task import Question, Task, check
from quiver.types import Item, Query

HOME = Home("shop", "https://shop.example/data", "CC0", "list.json in it")


def source(folder, partial=False):
    return Source(HOME, folder, partial=partial)


def shop(count=12, kinds=2, views=2):
    """Products p0..., of alternating kinds, each with so many photos and one question by text."""
    items = [
        Item(f"p{n}v{v}", {"image": f"p{n}v{v}.png"}, {"product": f"p{n}", "kind": f"k{n % kinds}"})
        for n in range(count)
        for v in range(views)
    ]
    questions = [
        Question(f"q{n}", Query(media={"text": f"p{n}"}, target="image"), {f"p{n}v{v}": 1 for v in range(views)})
        for n in range(count)
    ]
    return Task("shop", "00", items, questions, ("Success@1",), "image", "all compete", "made")


def test_gzipped_and_plain_files_are_the_same_data(tmp_path):
    revisions = []
    for name, pack in (("plain", bytes), ("packed", gzip.compress)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / ("list.json" + ".gz" * (name == "packed"))).write_bytes(pack(b'[{"a": 1}]'))
        read = source(folder)
        assert read.records("sub/list.json", "a") == [{"a": 1}]
        revisions.append(read.task("shop", [], [], measures=(), target="text", protocol="p").revision)
    assert revisions[0] == revisions[1]
    (tmp_path / "plain" / "list.json").write_text('[{"a": 2}]')
    read = source(tmp_path / "plain")
    read.records("list.json", "a")
    assert read.task("shop", [], [], measures=(), target="text", protocol="p").revision != revisions[0]


def test_the_protocol_is_part_of_the_revision(tmp_path):
    made = [source(tmp_path).task("shop", [], [], measures=(), target="text", protocol=p).revision for p in "ab"]
    assert made[0] != made[1]


def test_an_absent_data_set_says_where_to_get_it_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("QUIVER_DATA", str(tmp_path))
    with pytest.raises(BadData) as caught:
        Source(HOME, None, partial=False).records("list.json")
    for part in (HOME.url, HOME.licence, HOME.put, "no list.json", str(tmp_path / "annotations" / "shop")):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_data_set_is_found_below_annotations_too(tmp_path, monkeypatch):
    monkeypatch.setenv("QUIVER_DATA", str(tmp_path))
    (tmp_path / "annotations" / "shop").mkdir(parents=True)
    (tmp_path / "annotations" / "shop" / "list.json").write_text('["a"]')
    (tmp_path / "shop" / "images").mkdir(parents=True)
    read = Source(HOME, None, partial=False)
    assert read.strings("list.json") == ["a"]
    assert read.media("photos", "images") == tmp_path / "shop" / "images"


def test_a_wrong_count_names_file_found_and_expected(tmp_path):
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(BadData, match=r"list\.json: 3 photos, expected 1,000 or 2,000.*partial=true"):
        source(tmp_path).count("list.json", "photos", 3, 1000, 2000)
    partial = source(tmp_path, partial=True)
    partial.count("list.json", "photos", 3, 1000)
    assert partial.notes == ["PARTIAL: 3 photos of 1,000: figures are not comparable with the official set"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{}]", "record 0 has no 'a'"),
        ("[3]", "record 0 has no 'a'"),
        ("{}", "a JSON list is needed, not a dict"),
        ("[", "is not JSON"),
    ],
)
def test_json_of_another_form_is_refused(tmp_path, text, message):
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(BadData, match=message):
        source(tmp_path).records("list.json", "a")


def test_damaged_files_are_refused(tmp_path):
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b"[1, 2, 3]" * 99)[:-12])
    (tmp_path / "b.json").write_bytes(b'["\xff"]')
    (tmp_path / "c.json").write_text('["x", "x"]')
    for name, message in (("a", "cannot be read"), ("b", "not UTF-8: .* byte 2"), ("c", "name 'x' occurs twice")):
        with pytest.raises(BadData, match=message):
            source(tmp_path).strings(f"{name}.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [("a,b\n1,2\n", "no column 'c'"), ("a,c\n1\n", "line 2: not as many"), ("a,c\n1,2,3\n", "line 2: not as many")],
)
def test_tables_of_another_form_are_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(BadData, match=message):
        source(tmp_path).rows("t.csv", "c")


def test_a_spec_with_spaces_reads_back():
    assert spec("activity", split="my test") == "activity 'split=my test'"


def test_a_lazy_sequence_counts_from_both_ends():
    squares = Lazy(4, lambda n: n * n)
    assert (list(squares), squares[-1], squares[1:3], len(squares)) == ([0, 1, 4, 9], 9, [1, 4], 4)
    with pytest.raises(IndexError):
        squares[4]


ENTRIES = [
    Entry("x", {"audio": "x.wav"}, ("A dog", "rain"), source="one"),
    Entry("y", {"audio": "y.wav"}, ("a  DOG",), source="one"),
    Entry("z", {"audio": "z.wav"}, ()),
]


def test_a_shared_caption_answers_for_its_own_or_for_all():
    items, own = _caption.ask_text(ENTRIES, target="audio")
    _, shared = _caption.ask_text(ENTRIES, target="audio", duplicates="shared")
    assert [item.id for item in items] == ["x", "y", "z"]
    assert [set(question.relevant) for question in own] == [{"x"}, {"x"}, {"y"}]
    assert [set(question.relevant) for question in shared] == [{"x", "y"}, {"x"}, {"x", "y"}]
    assert _caption.repeated(ENTRIES) == 2


def test_things_of_one_source_do_not_compete():
    _, questions = _caption.ask_text(ENTRIES, target="audio")
    assert [question.exclude for question in questions] == [("y",), ("y",), ("x",)]
    _, questions = _caption.ask_thing(ENTRIES)
    assert [question.exclude for question in questions] == [("y#0",), ("x#0", "x#1")]


def test_a_thing_finds_its_captions():
    items, questions = _caption.ask_thing(ENTRIES)
    assert [(item.id, item.media["text"], item.meta["of"]) for item in items][1] == ("x#1", "rain", "x")
    assert [(question.id, set(question.relevant)) for question in questions] == [("x", {"x#0", "x#1"}), ("y", {"y#0"})]
    _, shared = _caption.ask_thing(ENTRIES, duplicates="shared")
    assert set(shared[1].relevant) == {"x#0", "y#0"}


def test_captions_never_lie_beside_the_thing_that_is_searched():
    items, _ = _caption.ask_text(ENTRIES, target="audio")
    assert all("text" not in item.media for item in items)


def test_missing_media_are_counted_and_leave_the_denominator_stated(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").touch()
    items = [Item(name, {"image": str(tmp_path / f"{name}.png")}) for name in "abcd"]

    def ask(id, relevant, image=None, exclude=()):
        media = {"text": "t"} if image is None else {"image": str(tmp_path / image)}
        return Question(id, Query(media=media, target="image"), dict.fromkeys(relevant, 1), exclude)

    questions = [
        ask("1", "a"),
        ask("2", "bc"),
        ask("3", "c"),
        ask("4", "a", "gone.png"),
        ask("5", "bd", exclude=("b",)),
    ]
    task = Task("shop", "00", items, questions, (), "image", "p", "s", ("before",))
    assert [ref.rpartition("/")[2] for ref in _place.missing(task)] == ["c.png", "d.png", "gone.png"]
    kept = check(_place.present(task))
    assert [item.id for item in kept.items] == ["a", "b"]
    assert {question.id: set(question.relevant) for question in kept.questions} == {"1": {"a"}, "2": {"b"}}
    assert kept.notes[0] == "before"
    assert "3 media files are missing" in kept.notes[1]
    assert "2 of 4 items; 1 of 5 questions, and 2 more whose every answer is missing" in kept.notes[2]


def test_a_task_with_all_its_media_is_returned_as_it_is_and_one_with_none_refused(tmp_path):
    (tmp_path / "a.png").touch()
    query = Query(media={"text": "t"}, target="image")
    task = Task(
        "t", "", [Item("a", {"image": str(tmp_path / "a.png")})], [Question("q", query, {"a": 1})], (), "image", "", ""
    )
    assert _place.present(task) is task
    (tmp_path / "a.png").unlink()
    with pytest.raises(BadData, match=r"1 media files are missing, such as .*a\.png: no question is left"):
        _place.present(task)


def test_a_sampled_question_has_one_answer_among_other_products_of_its_kind():
    task = check(_protocol.sampled(shop(), kind="kind", product="product", queries=5, negatives=4, draws=3))
    assert len(task.questions) == 15
    assert [question.group for question in task.questions] == ["draw0"] * 5 + ["draw1"] * 5 + ["draw2"] * 5
    meta = {item.id: item.meta for item in task.items}
    for question in task.questions:
        (answer,) = question.relevant
        assert len(question.candidates) == len({meta[id]["product"] for id in question.candidates}) == 5
        assert {meta[id]["kind"] for id in question.candidates} == {meta[answer]["kind"]}
        assert meta[answer]["product"] == "p" + question.id.partition("/q")[2]
    assert task.notes == ()


def test_kinds_that_are_too_small_are_filled_up_and_counted():
    task = _protocol.sampled(shop(), kind="kind", product="product", queries=6, negatives=8, draws=2)
    products = {item.id: item.meta["product"] for item in task.items}
    for question in task.questions:
        assert len({products[id] for id in question.candidates}) == 9
    assert task.notes == ("12 draws had too few products of their kind and were filled up from others",)
    with pytest.raises(BadData, match="12 other products are needed, but only 11 exist"):
        _protocol.sampled(shop(), kind="kind", product="product", negatives=12)


def test_draws_follow_the_seed():
    draws = [
        _protocol.sampled(shop(), kind="kind", product="product", queries=6, negatives=3, seed=s) for s in (0, 0, 1)
    ]
    assert draws[0] == draws[1]
    assert draws[0].questions != draws[2].questions
    assert draws[0].revision != draws[2].revision
    assert draws[0].questions[0].candidates != draws[0].questions[6].candidates


def test_random_scores_find_one_in_a_hundred_and_one():
    task = _protocol.sampled(shop(300, kinds=1, views=1), kind="kind", product="product", negatives=100, draws=5)
    rng = np.random.default_rng(0)
    ranks = []
    for question in task.questions:
        scores = dict(zip(question.candidates, rng.random(101), strict=True))
        (answer,) = question.relevant
        ranks.append(1 + sum(score > scores[answer] for score in scores.values()))
    assert np.mean(np.array(ranks) <= 10) == pytest.approx(10 / 101, abs=0.023)  # 3 standard errors of 1,500
    places = np.array([question.candidates.index(next(iter(question.relevant))) for question in task.questions])
    assert places.mean() == pytest.approx(50, abs=2.3)


def test_sampling_needs_the_columns_it_is_told():
    with pytest.raises(BadData, match="item p0v0 has no 'colour' in its meta"):
        _protocol.sampled(shop(), kind="colour", product="product")
    with pytest.raises(BadSpec, match="must be at least 1"):
        _protocol.sampled(shop(), kind="kind", product="product", draws=0)
