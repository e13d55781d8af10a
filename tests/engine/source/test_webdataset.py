import io
import json
import tarfile

import pytest

from quiver.engine import source
from quiver.errors import BadData
from quiver.media import locate


def shard(path, **members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


def rows(stream):
    return [row for batch in stream.batches(2) for row in batch.to_pylist()]


def content(reference):
    path, offset, size = locate(reference)
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)


SAMPLES = {
    "000.jpg": b"first image",
    "000.txt": b"a hat\n",
    "000.json": {"width": 3, "at": {"x": 1.5}, "id": "h"},
    "001.png": b"second image",
    "001.json": {"width": 4, "caption": "a shoe"},
    "001.cls": b"7",
    "in/000.ogg": b"a sound",
}


def test_references_are_the_bytes_of_the_members(tmp_path):
    first, second, third = rows(source.open([shard(tmp_path / "s.tar", **SAMPLES)]))
    assert [content(row[key]) for row, key in ((first, "image"), (second, "image"), (third, "audio"))] == [
        b"first image",
        b"second image",
        b"a sound",
    ]
    assert [row["id"] for row in (first, second, third)] == ["s.tar/000", "s.tar/001", "s.tar/in/000"]


def test_sidecars_become_text_and_typed_metadata(tmp_path):
    stream = source.open([shard(tmp_path / "s.tar", **SAMPLES)])
    assert {field.name: str(field.type) for field in stream.schema} == {
        "width": "int64",
        "meta_id": "string",
        "at_x": "double",
        "caption": "string",
        "cls": "int64",
    }
    assert stream.total == 3
    found = [(row["text"], row["width"], row["at_x"], row["cls"]) for row in rows(stream)]
    assert found == [("a hat", 3, 1.5, None), ("a shoe", 4, None, 7), (None, None, None, None)]


def test_types_hold_over_all_shards(tmp_path):
    one = shard(tmp_path / "d/0.tar", **{"a.jpg": b"x", "a.json": {"n": 1}})
    two = shard(tmp_path / "d/1.tar", **{"a.jpg": b"x", "a.json": {"n": "many"}})
    stream = source.open([one, two])
    assert [(row["id"], row["n"]) for row in rows(stream)] == [("0.tar/a", "1"), ("1.tar/a", "many")]


def test_a_folder_of_tars_and_a_glob_are_shards(tmp_path):
    for number in (0, 1):
        shard(tmp_path / f"d/in/{number}.tar", **{"a.jpg": b"x"})
    assert [row["id"] for row in rows(source.open([str(tmp_path / "d")]))] == ["d/in/0.tar/a", "d/in/1.tar/a"]
    assert [row["id"] for row in rows(source.open([str(tmp_path / "d/in/*.tar")]))] == ["0.tar/a", "1.tar/a"]


def test_members_named_before_and_after_are_a_pair_and_others_are_counted(tmp_path):
    path = shard(
        tmp_path / "s.tar", **{"a.before.jpg": b"1", "a.after.jpg": b"2", "a.npy": b"3", "a.jpg": b"4", "a.png": b"5"}
    )
    stream = source.open([path])
    second, found = rows(stream)
    assert [content(found[key]) for key in ("before", "after", "image")] == [b"1", b"2", b"4"]
    assert (second["id"], content(second["image"])) == ("s.tar/a.png", b"5")
    assert [str(each) for each in stream.left_out] == ["1 members of tars that are no media (a.npy)"]


def ids(stream):
    return [row["id"].partition("/")[2] for row in rows(stream)]


def test_members_with_dots_in_their_names_are_items_of_their_own(tmp_path):
    assert ids(source.open([shard(tmp_path / "s.tar", **{f"img.{n}.png": b"x" for n in (1, 2, 3)})])) == [
        "img.1",
        "img.2",
        "img.3",
    ]


def test_members_with_dots_far_from_each_other_are_items_of_their_own(tmp_path):
    names = ["img.1.png", "x.png", "img.2.png", "y.jpg", "img.jpg"]
    assert ids(source.open([shard(tmp_path / "s.tar", **dict.fromkeys(names, b"x"))])) == [
        "img.1",
        "x",
        "img.2",
        "y",
        "img",
    ]


def test_a_name_with_one_medium_keeps_to_the_convention(tmp_path):
    path = shard(tmp_path / "s.tar", **{"7.large.jpg": b"x", "7.txt": b"hat", "8.large.jpg": b"y", "8.txt": b"shoe"})
    found = rows(source.open([path]))
    assert [(row["id"], row["text"]) for row in found] == [("s.tar/7", "hat"), ("s.tar/8", "shoe")]


def test_sidecars_of_the_shorter_name_are_shared(tmp_path):
    path = shard(
        tmp_path / "s.tar",
        **{"7.left.jpg": b"l", "7.right.jpg": b"r", "7.right.txt": b"right", "7.txt": b"both", "7.json": {"n": 1}},
    )
    found = rows(source.open([path]))
    assert [(row["id"], row["text"], row["n"]) for row in found] == [
        ("s.tar/7.left", "both", 1),
        ("s.tar/7.right", "right", 1),
    ]


def test_links_and_hidden_members_are_counted(tmp_path):
    path = shard(tmp_path / "s.tar", **{"a.jpg": b"x", ".b.jpg": b"x"})
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("c.jpg")
        info.type, info.linkname = tarfile.LNKTYPE, "a.jpg"
        tar.addfile(info)
    assert sorted(map(str, source.open([path]).left_out)) == [
        "1 hidden members of tars (.b.jpg)",
        "1 members of tars that are links, sparse or no files (c.jpg)",
    ]


def test_a_field_may_be_the_id_or_the_text_and_kinds_be_chosen(tmp_path):
    path = shard(tmp_path / "s.tar", **{"a.jpg": b"x", "a.json": {"key": 5, "title": "hat"}, "b.mp4": b"x"})
    stream = source.open([path], id_column="key", media="image,text=title")
    assert [(row["id"], row["text"]) for row in rows(stream)] == [("5", "hat")]
    assert [found.reason for found in stream.problems()] == ["the sample has no media"]
    with pytest.raises(BadData, match="has no column 'nope'; its columns are key, title"):
        source.open([path], id_column="nope")


def test_a_repeated_key_is_a_problem(tmp_path):
    path = shard(tmp_path / "s.tar", **{"a.jpg": b"1", "b.jpg": b"2", "a.png": b"3"})
    stream = source.open([path])
    assert [content(row["image"]) for row in rows(stream)] == [b"1", b"2"]
    assert [found.id for found in stream.problems()] == ["s.tar/a"]


def test_a_bad_sidecar_takes_its_sample_out(tmp_path):
    path = shard(
        tmp_path / "s.tar", **{"a.jpg": b"1", "a.json": b"{oops", "b.jpg": b"2", "b.txt": b"caf\xe9", "c.jpg": b"3"}
    )
    stream = source.open([path])
    assert [row["id"] for row in rows(stream)] == ["s.tar/c"]
    assert stream.total == 1
    reasons = [found.reason for found in stream.problems()]
    assert "byte 1024: a.json is not JSON" in reasons[0]
    assert "b.txt is not UTF-8 at its byte 3" in reasons[1]


def cut(path, size):
    with open(path, "r+b") as file:
        file.truncate(size)


# Members of up to 512 bytes take 1024 each: header, then content.
@pytest.mark.parametrize(
    ("size", "kept", "reason"),
    [
        (1024 + 512 + 3, ["s.tar/a"], "byte 1024: the shard ends inside b.jpg; it has 1539 bytes"),
        (2048, ["s.tar/a", "s.tar/b"], "byte 2048: the shard has no end mark"),
        (2048 + 100, ["s.tar/a", "s.tar/b"], "byte 2048: the header of the next member is damaged"),
    ],
)
def test_what_stands_before_a_cut_is_kept(tmp_path, size, kept, reason):
    path = shard(tmp_path / "s.tar", **{f"{name}.jpg": b"contents" for name in "abc"})
    cut(path, size)
    stream = source.open([path])
    assert [row["id"] for row in rows(stream)] == kept
    (found,) = stream.problems()
    assert found.uri == path
    assert f"{path}, {reason}" in found.reason


def test_a_damaged_header_is_reported_and_other_shards_are_read(tmp_path):
    one = shard(tmp_path / "s.tar", **{f"{name}.jpg": b"contents" for name in "abc"})
    two = shard(tmp_path / "t.tar", **{"a.jpg": b"x"})
    with open(one, "r+b") as file:
        file.seek(1024 + 20)
        file.write(b"\xff" * 300)
    stream = source.open([one, two])
    assert [row["id"] for row in rows(stream)] == ["s.tar/a", "t.tar/a"]
    assert "byte 1024: the header of the next member is damaged" in stream.problems()[0].reason


def test_what_is_no_tar_is_refused(tmp_path):
    (tmp_path / "s.tar").write_bytes(b"\x1f\x8b" + b"x" * 2000)
    with pytest.raises(BadData, match="not a complete uncompressed tar"):
        source.open([str(tmp_path / "s.tar")])
    with pytest.raises(BadData, match="contains no samples"):
        source.open([shard(tmp_path / "t.tar")])


@pytest.mark.parametrize(
    "text",
    ['{"c": "cut \\ud83d"}', '{"c": ' + "[" * 90_000 + "]" * 90_000 + "}", '{"c": ' + "9" * 5000 + "}", "{oops", "[1]"],
)
def test_one_bad_json_member_leaves_out_its_sample_alone(tmp_path, text):
    members = {"a.jpg": b"x", "a.json": text.encode(), "b.jpg": b"x", "b.json": b'{"c": 1}'}
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    stream = source.open([str(tmp_path / "t.tar")])
    assert [row["c"] for batch in stream.batches(9) for row in batch.to_pylist()] == [1]
    (problem,) = stream.problems()
    assert "a.json" in problem.reason and "its sample is left out" in problem.reason
