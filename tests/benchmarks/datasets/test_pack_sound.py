"""Sounds of the packs: official folds, recordings that never straddle, and what a question is answered by."""

import csv

import pytest

from quiver.benchmarks.datasets import esc, fsdd
from quiver.errors import BadData
from quiver.registry import load

COLUMNS = ("file", "fold", "label", "source_id", "seconds", "title", "author", "licence", "url")


def write(folder, rows):
    folder.mkdir(parents=True)
    with (folder / "meta.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        path = folder / row["file"]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"sound")


def clip(name, fold, label, source, title=""):
    values = (f"audio/{name}.ogg", fold, label, source, "5.0", title, "someone", "CC0", "url")
    return dict(zip(COLUMNS, values, strict=True))


@pytest.fixture
def small(tmp_path):
    """Two packs: esc10 with two classes in four folds, esc40 with a class of five recordings and one of one."""
    kinds = [(fold, kind, take) for fold in "1234" for kind in ("rain", "dog_bark") for take in "AB"]
    ten = [clip(f"{fold}-{kind}-{take}", fold, kind, f"{kind}{fold}", f"{kind} {fold}") for fold, kind, take in kinds]
    forty = [clip(f"4-cow{n}-A", "4", "cow", f"c{n}", "moo") for n in range(5)]
    forty += [clip(f"4-sip-{t}", "4", "drinking_sipping", "s", "") for t in "AB"]
    write(tmp_path / "esc10", ten)
    write(tmp_path / "esc40", forty)
    (tmp_path / "weights").mkdir()
    said = [f'{number},"{name}",what a {name.split(",")[0]} is' for number, name in enumerate(esc.AUDIOSET.values())]
    lines = ["output_index,name,description", *said]
    (tmp_path / "weights" / "audioset_classes.csv").write_text("\n".join(lines))
    return tmp_path


def test_class_words_ask_for_the_clips_of_the_class(small):
    task = esc.load(folder=small, split="all", partial=True)
    asked = {each.query.media["text"]: set(each.relevant) for each in task.questions}
    assert {text: len(ids) for text, ids in asked.items()} == {
        "cow": 5,
        "dog bark": 8,
        "drinking sipping": 2,
        "rain": 8,
    }
    assert asked["drinking sipping"] == {"esc40/4-sip-A", "esc40/4-sip-B"}
    assert task.items[0].media == {"audio": str(small / "esc10/audio/1-rain-A.ogg")}
    assert any("PARTIAL: 16 clips of 320" in note for note in task.notes)


def test_descriptions_ask_where_audioset_has_the_class(small):
    task = esc.load(folder=small, text="description", split="all", partial=True)
    assert [each.query.media["text"] for each in task.questions] == [
        "what a Moo is",
        "what a Bark is",
        "what a Rain is",
    ]
    assert "1 classes not asked: AudioSet has none like them" in task.notes


def test_titles_ask_for_their_own_clips_first_and_for_the_class_second(small):
    task = esc.load(folder=small, text="title", pack="esc10", split="all", partial=True)
    question = next(each for each in task.questions if each.query.media["text"] == "rain 3")
    assert sorted(question.relevant.items())[4:6] == [("esc10/3-rain-A", 2), ("esc10/3-rain-B", 2)]
    assert sorted(question.relevant.values()) == [1] * 6 + [2] * 2
    assert len(task.questions) == 8


def test_a_clip_asks_for_other_recordings_of_its_class(small):
    task = esc.load(folder=small, track="audio", split="all", partial=True)
    first = task.questions[0]
    assert first.exclude == ("esc10/1-rain-A", "esc10/1-rain-B")
    assert len(first.relevant) == 6
    assert "2 clips not asked: no other recording of their class is in the split" in task.notes


def test_splits_share_no_recording_and_leave_none_out(small):
    tasks = [esc.load(folder=small, split=split, partial=True) for split in ("train", "validation", "test")]
    recordings = [{item.meta["source_id"] for item in task.items} for task in tasks]
    assert [len(each) for each in recordings] == [4 + 2 + 1, 2 + 1, 2 + 2]
    assert len(set.union(*recordings)) == sum(map(len, recordings))
    assert {item.meta["fold"] for item in tasks[2].items if item.meta["pack"] == "esc10"} == {"4"}


def test_counts_media_and_absence_are_told(small, tmp_path):
    with pytest.raises(BadData, match="16 clips, expected 320"):
        esc.load(folder=small)
    (small / "esc10/audio/1-rain-A.ogg").unlink()
    task = esc.load(folder=small, pack="esc10", split="train", partial=True)
    assert len(task.items) == 7
    assert any(note.startswith("1 media files are missing") for note in task.notes)
    with pytest.raises(BadData, match=r"esc is not on disk: no esc10/meta\.csv .*github\.com/karolpiczak/ESC-10"):
        esc.load(folder=tmp_path / "nowhere")


def test_missing_clips_of_a_whole_pack_are_an_error(small, monkeypatch):
    monkeypatch.setitem(esc.COUNTS, "esc10", 16)
    monkeypatch.setitem(esc.CLASSES, "esc10", 2)
    (small / "esc10/audio/2-rain-A.ogg").unlink()
    with pytest.raises(BadData, match=r"1 of 16 media files are missing, such as .*2-rain-A\.ogg"):
        esc.load(folder=small, pack="esc10")


@pytest.fixture
def digits(tmp_path):
    people = ("george", "jackson", "lucas", "nicolas", "yweweler")
    rows = [
        {"file": f"audio/{d}_{who}_{n}.flac", "digit": d, "text": text, "speaker": who, "take": n, "seconds": 0.5}
        for d, text in enumerate(("zero", "one"))
        for who in people
        for n in range(2)
    ]
    write(tmp_path / "fsdd", rows)
    return tmp_path / "fsdd"


def test_a_digit_is_asked_for_by_name_or_by_another_voice(digits):
    task = fsdd.load(folder=digits, partial=True)
    assert [(each.query.media["text"], len(each.relevant)) for each in task.questions] == [("zero", 4), ("one", 4)]
    spoken = fsdd.load(folder=digits, track="audio", partial=True)
    first = spoken.questions[0]
    assert first.id == "0_nicolas_0"
    assert set(first.relevant) == {"0_yweweler_0", "0_yweweler_1"}
    assert set(first.exclude) == {f"{digit}_nicolas_{take}" for digit in (0, 1) for take in (0, 1)}
    with pytest.raises(BadData, match=r"no question is left; .*no other speaker"):
        fsdd.load(folder=digits, track="audio", split="validation", partial=True)


@pytest.mark.data
def test_esc_has_its_counts_and_its_splits(packs):
    parts = {
        split: load("benchmarks.datasets", f"esc split={split} folder={packs}")
        for split in ("train", "validation", "test")
    }
    assert {split: len(task.items) for split, task in parts.items()} == {"train": 282, "validation": 119, "test": 159}
    assert {split: len(task.questions) for split, task in parts.items()} == {"train": 50, "validation": 41, "test": 49}
    recordings = [{item.meta["source_id"] for item in task.items} for task in parts.values()]
    assert len(set.union(*recordings)) == sum(map(len, recordings)) == 410
    whole = esc.load(folder=packs, split="all")
    assert (len(whole.items), whole.items[0].id, whole.items[-1].id) == (560, "esc10/1-100032-A", "esc40/4-163609-B")
    assert whole.items[0].meta["title"] == "rose_bark.wav"
    rain = next(question for question in whole.questions if question.id == "rain")
    assert len(rain.relevant) == 32
    assert {item.meta["label"] for item in whole.items if item.id in rain.relevant} == {"rain"}


@pytest.mark.data
def test_esc_descriptions_titles_and_sounds(packs):
    described = esc.load(folder=packs, text="description", split="all")
    texts = {question.id: question.query.media["text"] for question in described.questions}
    assert len(texts) == 47
    assert texts["hand_saw"].startswith("Sounds of a tool consisting of a tough blade")
    titles = esc.load(folder=packs, text="title", split="all")
    assert len(titles.questions) == 397
    assert max(sum(grade == 2 for grade in question.relevant.values()) for question in titles.questions) == 8
    heard = esc.load(folder=packs, track="audio", split="all")
    assert len(heard.questions) == 552
    assert len(esc.load(folder=packs, track="audio").questions) == 113


@pytest.mark.data
def test_fsdd_has_its_counts_and_unseen_speakers(packs):
    counts, speakers = [], []
    for split in ("train", "validation", "test", "all"):
        task = fsdd.load(folder=packs / "fsdd", split=split)
        counts.append((len(task.items), {len(question.relevant) for question in task.questions}))
        speakers.append({item.meta["speaker"] for item in task.items})
    assert counts == [(900, {90}), (450, {45}), (900, {90}), (2250, {225})]
    assert speakers[:3] == [{"george", "jackson"}, {"lucas"}, {"nicolas", "yweweler"}]
    assert (task.items[0].id, task.items[-1].id) == ("0_george_10", "9_yweweler_9")
