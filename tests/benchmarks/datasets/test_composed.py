"""FashionIQ, Shoes and CIRR: official files where they are, made files of the same form, and golden protocols."""

import json
from pathlib import Path

import pytest

from quiver.benchmarks.datasets import _place, cirr, fashion_iq, shoes
from quiver.errors import BadData, BadSpec
from quiver.registry import load
from quiver.task import check

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "cir_protocols.json").read_text(encoding="utf-8"))


def put(folder, name, value):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def ranked(question, scores):
    """Rank what competes for a question, the best first."""
    competing = set(question.candidates or scores) - set(question.exclude)
    return sorted(competing, key=lambda name: -scores[name])


def hits(questions, scores, k):
    """Per question: does a relevant item stand among the first k?"""
    return [any(name in q.relevant for name in ranked(q, scores[q.id])[:k]) for q in questions]


@pytest.fixture
def iq(tmp_path):
    """Three categories of eight names; n6 and n7 are in the split and in no question."""
    for c in fashion_iq.CATEGORIES:
        for split in ("train", "val", "test"):
            put(tmp_path, f"image_splits/split.{c}.{split}.json", [f"{c[0]}{n}" for n in range(8)])
            rows = [
                {"target": f"{c[0]}1", "candidate": f"{c[0]}0", "captions": [" is red (2)", "has no sleeves."]},
                {"target": f"{c[0]}2", "candidate": f"{c[0]}1", "captions": ["longer", " "]},
                {"target": f"{c[0]}5", "candidate": f"{c[0]}4", "captions": ["", "."]},
            ]
            if split == "test":
                rows = [{key: row[key] for key in ("candidate", "captions")} for row in rows]
            put(tmp_path, f"captions/cap.{c}.{split}.json", rows)
    return tmp_path


def test_both_orders_of_the_captions_are_asked(iq):
    task = check(fashion_iq.load(folder=iq, category="dress", partial=True))
    texts = [question.query.media.get("text") for question in task.questions]
    assert texts == [
        "is red (2) and has no sleeves",
        "has no sleeves and is red (2)",
        "longer",
        "longer",
        None,
        None,
    ]
    assert task.questions[1].query.media["image"] == str(iq / "images" / "d0.jpg")
    assert task.questions[1].relevant == {"d1": 1}
    assert task.questions[1].exclude == ("d0",)
    assert [question.source for question in task.questions[:2]] == ["d0", "d0"]
    assert "3 captions of dress are empty: left out of their question's text" in task.notes


def test_captions_may_be_asked_in_one_order_or_one_by_one(iq):
    one = fashion_iq.load(folder=iq, category="dress", captions="one", reference="kept", partial=True)
    assert (len(one.questions), one.questions[0].exclude) == (3, ())
    each = fashion_iq.load(folder=iq, category="dress", captions="each", partial=True)
    texts = [question.query.media.get("text") for question in each.questions]
    assert texts == ["is red (2)", "has no sleeves", "longer", None]


def test_the_val_gallery_is_what_stands_in_a_question(iq):
    original = fashion_iq.load(folder=iq, category="dress", partial=True)
    val = fashion_iq.load(folder=iq, category="dress", protocol="val", partial=True)
    assert [item.id for item in original.items] == [f"d{n}" for n in range(8)]
    assert [item.id for item in val.items] == ["d0", "d1", "d2", "d4", "d5"]
    assert original.revision != val.revision


def test_garments_compete_within_their_category(iq):
    put(iq, "image_splits/split.shirt.val.json", ["d0", *(f"s{n}" for n in range(8))])
    task = check(fashion_iq.load(folder=iq, partial=True))
    assert len(task.items) == 24
    shirts = [question for question in task.questions if question.group == "shirt"]
    assert shirts[0].candidates[:2] == ("d0", "s0")
    assert {question.group for question in task.questions} == set(fashion_iq.CATEGORIES)


def test_names_outside_the_split_and_official_counts_are_refused(iq):
    with pytest.raises(BadData, match=r"cap\.dress\.val\.json: 3 questions, expected 2,017"):
        fashion_iq.load(folder=iq)
    put(iq, "image_splits/split.dress.val.json", ["d0", "d1"])
    with pytest.raises(BadData, match=r"record 1 names 'd2', which .* does not list"):
        fashion_iq.load(folder=iq, partial=True)
    put(iq, "image_splits/split.dress.val.json", ["d0", "d0"])
    with pytest.raises(BadData, match="name 'd0' occurs twice"):
        fashion_iq.load(folder=iq, partial=True)


def test_the_test_split_can_be_ranked_and_not_scored(iq):
    task = fashion_iq.load(folder=iq, split="test", category="dress", partial=True)
    assert any("not published" in note for note in task.notes)
    with pytest.raises(BadData, match="has no relevant item"):
        check(task)
    with pytest.raises(BadSpec, match="protocol=val needs the targets"):
        fashion_iq.load(folder=iq, split="test", protocol="val", partial=True)


def test_photos_that_are_gone_shrink_the_task_aloud(iq):
    (iq / "images").mkdir()
    for n in (0, 1, 2):
        (iq / "images" / f"d{n}.jpg").touch()
    task = _place.present(fashion_iq.load(folder=iq, category="dress", partial=True))
    assert [item.id for item in task.items] == ["d0", "d1", "d2"]
    assert len(task.questions) == 4
    assert "5 of 8 items; 2 of 6 questions" in task.notes[-1]


def test_fashion_iq_protocols_give_the_golden_recalls(tmp_path):
    golden = GOLDEN["fashioniq"]
    scores = {}
    for name, part in golden["categories"].items():
        put(tmp_path, f"cap.{name}.val.json", part["annotations"])
        put(tmp_path, f"split.{name}.val.json", part["gallery_split"])
        for number, row in enumerate(part["scores"]):
            scores[f"{name}-{number}-0"] = dict(zip(part["gallery_split"], row, strict=True))
    for reference in ("kept", "removed"):
        task = fashion_iq.load(folder=tmp_path, captions="one", reference=reference, partial=True)
        for k in (10, 50):
            means = []
            for name in fashion_iq.CATEGORIES:
                found = hits([q for q in task.questions if q.group == name], scores, k)
                means.append(sum(found) / len(found))
            assert sum(means) / 3 == pytest.approx(golden[f"macro_average_reference_{reference}"][f"R@{k}"], abs=1e-12)
    for name, part in golden["categories"].items():
        val = fashion_iq.load(
            folder=tmp_path, category=name, protocol="val", captions="one", reference="kept", partial=True
        )
        assert {item.id for item in val.items} == set(part["VAL_protocol_gallery"])
        inside = {item.id for item in val.items}
        ranks = [
            1 + [id for id in ranked(q, scores[q.id]) if id in inside].index(next(iter(q.relevant)))
            for q in val.questions
        ]
        assert ranks == part["VAL_protocol_rank"]


@pytest.mark.data
@pytest.mark.parametrize(
    ("category", "questions", "gallery", "union", "first"),
    [
        ("dress", 5985, 11452, 7757, ("B003FGW7MK", "B008BHCT58", "is solid black with no sleeves")),
        ("shirt", 5988, 19036, 8988, ("B008E5CF6U", "B00CBNH8JK", "is short sleeved and has a collar")),
        ("toptee", 6027, 16121, 8695, ("B000FLD4AC", "B005LUQ0FI", "has no sleeves and is light pink")),
    ],
)
def test_fashion_iq_train_is_read_whole(packs, monkeypatch, category, questions, gallery, union, first):
    monkeypatch.setenv("QUIVER_DATA", str(packs))
    task = load("benchmarks.datasets", f"fashion_iq split=train category={category}")
    assert (len(task.questions), len(task.items)) == (2 * questions, gallery)
    asked = task.questions[0]
    assert (asked.exclude, next(iter(asked.relevant)), asked.query.media["text"][: len(first[2])]) == (
        (first[0],),
        *first[1:],
    )
    assert len(fashion_iq.load(split="train", category=category, protocol="val").items) == union
    test = fashion_iq.load(split="test", category=category)
    assert (len(test.questions) // 2, len(test.items)) == fashion_iq.COUNTS["test", category][:2]


@pytest.fixture
def shoe(tmp_path):
    names = [f"img_womens_boots_{n}.jpg" for n in range(6)]
    put(tmp_path, "train_im_names.txt", "\n".join(names[:3]) + "\n")
    put(tmp_path, "eval_im_names.txt", "\n".join(names[3:]) + "\n")
    pairs = [(1, 0, "taller"), (4, 3, "is red "), (5, 5, "is identical"), (3, 0, "crosses")]
    rows = [
        {"ImageName": names[target], "ReferenceImageName": names[held], "RelativeCaption": text}
        for target, held, text in pairs
    ]
    put(tmp_path, "relative_captions_shoes.json", rows)
    put(tmp_path, f"womens/womens_boots/0/{names[4]}", "")
    return tmp_path


def test_shoes_drops_what_cannot_be_asked_and_counts_it(shoe):
    task = check(shoes.load(folder=shoe, partial=True))
    (question,) = task.questions
    assert question.query.media == {"image": str(shoe / "womens" / "img_womens_boots_3.jpg"), "text": "is red"}
    assert question.relevant == {"img_womens_boots_4.jpg": 1}
    assert question.source == "img_womens_boots_3.jpg"
    assert "1 questions hold their own answer, which the protocol removes: left out" in task.notes
    assert "1 captions name a photo outside this split's list: left out" in task.notes
    kept = check(shoes.load(folder=shoe, reference="kept", partial=True))
    assert len(kept.questions) == 2


def test_shoes_finds_photos_by_name_in_nested_folders(shoe):
    task = shoes.load(folder=shoe, partial=True)
    nested = str(shoe / "womens" / "womens_boots" / "0" / "img_womens_boots_4.jpg")
    assert task.items[1].media["image"] == nested
    assert nested not in _place.missing(task)
    put(shoe, "womens/womens_boots/1/img_womens_boots_4.jpg", "")
    with pytest.raises(BadData, match=r"two photos are called img_womens_boots_4\.jpg"):
        shoes.load(folder=shoe, partial=True)


def test_shoes_counts_are_checked(shoe):
    with pytest.raises(BadData, match=r"eval_im_names\.txt: 3 photos, expected 4,658 or 4,621"):
        shoes.load(folder=shoe)


@pytest.mark.data
def test_shoes_is_read_whole(packs, monkeypatch):
    monkeypatch.setenv("QUIVER_DATA", str(packs))
    task = check(load("benchmarks.datasets", "shoes"))
    assert (len(task.items), len(task.questions)) == (4658, 1760)
    assert task.items[0].id == "img_womens_athletic_shoes_987.jpg"
    assert task.questions[0].query.media["text"] == "has a strap on the side"
    assert task.questions[0].relevant == {"img_womens_boots_480.jpg": 1}
    assert task.questions[-1].query.media["text"] == "purple ballet flats with a buckle"
    assert len({id for question in task.questions for id in question.relevant}) == 1333
    assert len(shoes.load(reference="kept").questions) == 1761
    train = shoes.load(split="train", reference="kept")
    assert (len(train.items), len(train.questions)) == (10000, 8990)
    assert len(shoes.load(split="train").questions) == 8990 - 26


def cirr_files(folder, rows, gallery, split="val"):
    put(folder, f"captions/cap.rc2.{split}.json", rows)
    put(folder, f"image_splits/split.rc2.{split}.json", {name: f"./dev/{name}.png" for name in gallery})


@pytest.fixture
def small(tmp_path):
    """Two sets of six; what the soft labels of the four questions say is in the names of the tests."""
    sets = [[f"dev-{s}-0-img{n}" for n in range(6)] for s in range(2)]

    def row(id, members, soft, hard):
        return {
            "pairid": id,
            "reference": members[0],
            "target_hard": members[hard],
            "target_soft": soft,
            "caption": f"change {id} ",
            "img_set": {"id": 0, "members": members},
        }

    rows = [
        row(1, sets[0], {sets[0][1]: 1.0}, 1),
        row(2, sets[0], {sets[0][2]: 1.0, sets[0][3]: 0.5, sets[0][4]: -1.0}, 2),
        row(3, sets[1], {sets[1][0]: 1.0, sets[0][1]: 0.2}, 1),
        row(4, sets[1], {sets[1][2]: -1.0}, 2),
    ]
    cirr_files(tmp_path, rows, [*sets[0], *sets[1]])
    return tmp_path


def test_cirr_asks_without_the_reference_and_in_the_subset_among_the_other_five(small):
    task = check(cirr.load(folder=small, partial=True))
    first = task.questions[0]
    assert (first.id, first.exclude, first.relevant, first.candidates) == (
        "1",
        ("dev-0-0-img0",),
        {"dev-0-0-img1": 1},
        None,
    )
    assert first.query.media == {"image": str(small / "dev" / "dev-0-0-img0.png"), "text": "change 1"}
    assert first.source == "dev-0-0-img0"
    subset = check(cirr.load(folder=small, track="subset", partial=True))
    assert subset.questions[0].candidates == tuple(f"dev-0-0-img{n}" for n in range(1, 6))


def test_cirr_soft_labels_are_tenths_and_questions_without_any_are_counted(small):
    task = check(cirr.load(folder=small, targets="soft", partial=True))
    grades = {question.id: question.relevant for question in task.questions}
    assert grades["2"] == {"dev-0-0-img2": 10, "dev-0-0-img3": 5}
    assert grades["3"] == {"dev-1-0-img0": 10, "dev-0-0-img1": 2}
    assert "4" not in grades
    assert task.measures == ("Soft@5", "Soft@1", "Soft@10", "Soft@50")
    assert any(note.startswith("1 of 4 questions have no answer among those that compete") for note in task.notes)
    subset = check(cirr.load(folder=small, targets="soft", track="subset", partial=True))
    assert [question.id for question in subset.questions] == ["1", "2"]


def test_cirr_names_outside_the_split_are_refused(small):
    rows = json.loads((small / "captions" / "cap.rc2.val.json").read_text())
    with pytest.raises(BadData, match="4 questions, expected 4,181"):
        cirr.load(folder=small)
    cirr_files(small, rows, ["dev-0-0-img0"])
    with pytest.raises(BadData, match="pairid 1 names 'dev-0-0-img1', which the split does not list"):
        cirr.load(folder=small, partial=True)


def test_cirr_protocols_give_the_golden_recalls_and_server_files(tmp_path):
    golden = GOLDEN["cirr"]
    cirr_files(tmp_path, golden["annotations"], golden["gallery"])
    rows = [dict(zip(golden["gallery"], row, strict=True)) for row in golden["scores"]]
    scores = {str(each["pairid"]): row for each, row in zip(golden["annotations"], rows, strict=True)}
    for track, prefix, metric in (("recall", "recall", "recall"), ("subset", "recall_subset", "recall_subset")):
        hard = check(cirr.load(folder=tmp_path, track=track, partial=True))
        for k in (1, 2, 3, 5, 10, 50):
            if f"{prefix}@{k}" in golden["expected_hard"]:
                found = hits(hard.questions, scores, k)
                assert sum(found) / len(found) == pytest.approx(golden["expected_hard"][f"{prefix}@{k}"], abs=1e-12)
        soft = check(cirr.load(folder=tmp_path, targets="soft", track=track, partial=True))
        for k in (1, 2, 3, 5, 10, 50):
            if f"{prefix}@{k}" in golden["expected_soft_CIRPLANT"]:
                best = [max(q.relevant.get(id, 0) for id in ranked(q, scores[q.id])[:k]) / 10 for q in soft.questions]
                wanted = golden["expected_soft_CIRPLANT"][f"{prefix}@{k}"]
                assert sum(best) / len(golden["annotations"]) == pytest.approx(wanted, abs=1e-12)
        made = cirr.submission(hard, {q.id: ranked(q, scores[q.id]) for q in hard.questions})
        assert made == golden[f"server_json_{metric}"]


def test_a_submission_is_refused_when_a_ranking_is_not_whole(small, tmp_path):
    task = cirr.load(folder=small, track="subset", partial=True)
    good = {question.id: list(question.candidates) for question in task.questions}
    assert cirr.submission(task, good)["1"] == ["dev-0-0-img1", "dev-0-0-img2", "dev-0-0-img3"]
    cirr.save(tmp_path / "out.json", task, good)
    assert json.loads((tmp_path / "out.json").read_text()) == cirr.submission(task, good)
    for ranking, message in (
        (["dev-0-0-img1"], "has 1 names, 3 are needed"),
        (["dev-0-0-img1"] * 3, "'dev-0-0-img1' occurs twice"),
        (["dev-0-0-img0", "dev-0-0-img1", "dev-0-0-img2"], "'dev-0-0-img0', which does not compete"),
        ([], "has 0 names"),
    ):
        with pytest.raises(BadData, match=message):
            cirr.submission(task, {**good, "1": ranking})
    with pytest.raises(BadData, match="no question '99'"):
        cirr.submission(task, {**good, "99": []})


@pytest.mark.data
def test_cirr_test1_is_read_whole_and_can_be_submitted(packs, monkeypatch):
    monkeypatch.setenv("QUIVER_DATA", str(packs))
    task = load("benchmarks.datasets", "cirr split=test1 track=subset")
    assert (len(task.questions), len(task.items)) == (4148, 2315)
    assert (task.questions[0].id, task.questions[-1].id) == ("12063", "39059")
    assert task.questions[1].query.media["text"] == "mirror the image"
    assert task.items[-1].media["image"].endswith("test1/test1-255-0-img1.png")
    made = cirr.submission(task, {question.id: question.candidates for question in task.questions})
    assert (made["version"], made["metric"], len(made)) == ("rc2", "recall_subset", 4150)
    with pytest.raises(BadData, match=r"cirr is not on disk: no captions/cap\.rc2\.train\.json"):
        cirr.load(split="train")
