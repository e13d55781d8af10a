import json
import os

import pytest

from quiver.engine import source
from quiver.errors import BadData, BadSpec


def write(root, **files):
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def rows(stream, size=3):
    return [row for batch in stream.batches(size) for row in batch.to_pylist()]


def ids(stream):
    return [row["id"] for row in rows(stream)]


def test_ids_are_folder_name_and_path_below_it(tmp_path):
    root = touch(tmp_path / "pets", "b/dog.ogg", "cat.jpg", "b/a/cow.mp4")
    stream = source.open([str(root)])
    assert ids(stream) == ["pets/cat.jpg", "pets/b/dog.ogg", "pets/b/a/cow.mp4"]
    assert stream.total == 3
    assert [row["audio"] for row in rows(stream)] == [None, str(root / "b/dog.ogg"), None]


def test_a_trailing_slash_and_a_relative_path_change_no_id(tmp_path, monkeypatch):
    touch(tmp_path / "pets", "cat.jpg")
    monkeypatch.chdir(tmp_path)
    assert ids(source.open(["pets/"])) == ids(source.open([str(tmp_path / "pets")])) == ["pets/cat.jpg"]
    assert rows(source.open(["pets"]))[0]["image"] == str(tmp_path / "pets/cat.jpg")


def test_records_have_id_six_media_and_no_more(tmp_path):
    batch = next(source.open([str(touch(tmp_path / "p", "a.jpg"))]).batches(9))
    assert batch.schema.names == ["id", "text", "image", "audio", "video", "before", "after"]
    assert not batch.schema.field("id").nullable


def test_batches_are_of_the_size_asked_for_whatever_the_folders(tmp_path):
    touch(tmp_path / "p", *(f"{place % 3}/{place}.jpg" for place in range(10)))
    stream = source.open([str(tmp_path / "p")])
    assert [len(batch) for batch in stream.batches(4)] == [4, 4, 2]
    assert [len(batch) for batch in stream.batches(4)] == [4, 4, 2]  # it starts anew


def test_hidden_files_and_folders_are_skipped(tmp_path):
    assert ids(source.open([str(touch(tmp_path / "p", ".git/a.jpg", "._b.jpg", "c.jpg"))])) == ["p/c.jpg"]


def test_a_link_to_a_folder_above_ends_there(tmp_path):
    root = touch(tmp_path / "p", "a/x.jpg")
    os.symlink(root, root / "a/loop")
    assert ids(source.open([str(root)])) == ["p/a/x.jpg"]


def test_a_link_to_a_folder_elsewhere_is_followed_and_one_to_nothing_is_reported(tmp_path):
    root = touch(tmp_path / "p", "x.jpg")
    os.symlink(touch(tmp_path / "q", "y.jpg"), root / "linked")
    os.symlink(tmp_path / "gone.jpg", root / "gone.jpg")
    stream = source.open([str(root)])
    assert ids(stream) == ["p/x.jpg", "p/linked/y.jpg"]
    assert [(found.id, found.reason) for found in stream.problems()] == [("p/gone.jpg", "a link to nothing")]


def test_a_name_that_is_not_utf8_is_reported(tmp_path):
    root = touch(tmp_path / "p", "x.jpg")
    (root / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    stream = source.open([str(root)])
    assert ids(stream) == ["p/x.jpg"]
    assert "not UTF-8" in stream.problems()[0].reason


def test_a_caption_beside_an_image_is_its_text(tmp_path):
    root = write(tmp_path / "p", a_DOT_jpg=b"x", a_DOT_txt="\ufeffa red hat\n", b_DOT_png=b"x", b_DOT_caption="blue")
    found = rows(source.open([str(root)]))
    assert [(row["id"], row["text"]) for row in found] == [("p/a.jpg", "a red hat"), ("p/b.png", "blue")]


def test_json_beside_an_image_gives_its_caption_or_nothing(tmp_path):
    root = touch(tmp_path / "p", "a.jpg", "b.jpg")
    (root / "a.json").write_text(json.dumps({"caption": "a hat", "width": 3}))
    (root / "b.json").write_text(json.dumps({"polygons": []}))
    stream = source.open([str(root)])
    assert [(row["id"], row["text"]) for row in rows(stream)] == [("p/a.jpg", "a hat"), ("p/b.jpg", None)]
    assert stream.problems() == []


def test_a_txt_alone_is_a_text_item_and_an_empty_one_a_problem(tmp_path):
    stream = source.open([str(write(tmp_path / "p", a_DOT_txt="hello", b_DOT_txt=" \n"))])
    assert [(row["id"], row["text"], row["image"]) for row in rows(stream)] == [("p/a.txt", "hello", None)]
    assert [found.id for found in stream.problems()] == ["p/b.txt"]


def test_a_bad_caption_is_a_problem_and_its_image_stays(tmp_path):
    root = write(tmp_path / "p", a_DOT_jpg=b"x", a_DOT_txt=b"caf\xe9")
    stream = source.open([str(root)])
    assert [(row["id"], row["text"]) for row in rows(stream)] == [("p/a.jpg", None)]
    assert stream.problems()[0].id == "p/a.txt"
    assert "byte 3 is not UTF-8" in stream.problems()[0].reason


def test_a_picture_a_sound_and_a_caption_of_one_stem_are_one_item(tmp_path):
    root = write(tmp_path / "p", a_DOT_ogg=b"x", a_DOT_jpg=b"x", a_DOT_txt="miaow")
    (found,) = rows(source.open([str(root)]))
    assert (found["id"], found["text"]) == ("p/a.jpg", "miaow")
    assert (found["image"], found["audio"]) == (str(root / "a.jpg"), str(root / "a.ogg"))


def test_without_a_caption_files_of_one_stem_stay_apart(tmp_path):
    assert ids(source.open([str(touch(tmp_path / "p", "a.jpg", "a.ogg"))])) == ["p/a.jpg", "p/a.ogg"]


def test_two_images_of_one_stem_share_the_caption(tmp_path):
    root = write(tmp_path / "p", a_DOT_jpg=b"x", a_DOT_png=b"x", a_DOT_txt="hat")
    stream = source.open([str(root)])
    assert [(row["id"], row["text"]) for row in rows(stream)] == [("p/a.jpg", "hat"), ("p/a.png", "hat")]
    assert stream.total == 2


def test_files_that_are_no_media_are_counted(tmp_path):
    stream = source.open([str(touch(tmp_path / "p", "a.jpg", "README.md", "x.bin", "y.bin", "LICENSE"))])
    (found,) = stream.left_out
    assert str(found) == "4 files that are no media: 2 .bin, 1 without extension, 1 .md (x.bin, y.bin, LICENSE, ...)"


def test_whatever_is_passed_by_is_counted_with_its_reason(tmp_path):
    names = ["a.jpg", ".git/b.jpg", ".c.jpg", "._a.jpg", "Thumbs.db", ".DS_Store", "in/desktop.ini", "d.NEF", "e.zip"]
    root = touch(tmp_path / "p", *names)
    os.mkfifo(root / "pipe.png")
    os.symlink(root / "in", root / "again")
    stream = source.open([str(root)])
    assert ids(stream) == ["p/a.jpg"]
    assert {each.reason: (each.count, each.examples[0]) for each in stream.left_out} == {
        "archives: unpack them, then add the folder": (1, "e.zip"),
        "camera raw files: convert them to JPEG or TIFF, then add those": (1, "d.NEF"),
        "files that an operating system left": (4, "p/.DS_Store"),
        "hidden files and folders": (2, "p/.c.jpg"),
        "pipes, sockets and devices": (1, "p/pipe.png"),
        "links to folders that are added anyway": (1, "p/again"),
    }


def test_one_entry_that_cannot_be_looked_at_hides_no_other(tmp_path):
    root = touch(tmp_path / "p", "a.jpg", "in/b.jpg", "in/er/c.jpg")
    for folder in (root, root / "in"):
        os.symlink("loop.png", folder / "loop.png")
        os.symlink("there", folder / "here")
        os.symlink("here", folder / "there")
    stream = source.open([str(root)])
    assert ids(stream) == ["p/a.jpg", "p/in/b.jpg", "p/in/er/c.jpg"]
    reasons = {found.id: found.reason for found in stream.problems()}
    assert len(reasons) == 6
    assert reasons["p/in/loop.png"] == "it cannot be examined: a link that leads back to itself"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_may_not_be_read_is_a_problem_and_the_rest_goes_on(tmp_path):
    root = touch(tmp_path / "p", "a.jpg", "secret/b.jpg")
    (root / "secret").chmod(0)
    stream = source.open([str(root)])
    assert ids(stream) == ["p/a.jpg"]
    assert [(found.id, found.reason) for found in stream.problems()] == [
        ("p/secret", "the folder cannot be read: Permission denied")
    ]
    (root / "secret").chmod(0o700)


def test_circles_of_links_between_folders_end(tmp_path):
    touch(tmp_path, "p/a.jpg", "q/b.jpg")
    os.symlink(tmp_path / "q", tmp_path / "p/q")
    os.symlink(tmp_path / "p", tmp_path / "q/p")
    assert ids(source.open([str(tmp_path / "p")])) == ["p/a.jpg", "p/q/b.jpg"]


def test_media_keeps_the_kinds_asked_for(tmp_path):
    root = write(tmp_path / "p", a_DOT_jpg=b"x", a_DOT_txt="hat", b_DOT_mp4=b"x", notes_DOT_md="notes")
    assert ids(source.open([str(root)], media="video")) == ["p/b.mp4"]
    assert [row["text"] for row in rows(source.open([str(root)], media="image"))] == [None]
    assert ids(source.open([str(root)], media="text")) == ["p/a.txt", "p/notes.md"]
    with pytest.raises(BadSpec, match="'picture'"):
        source.open([str(root)], media="picture")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.jpg", ["p/a.jpg"]),
        ("**/*.jpg", ["p/a.jpg", "p/in/b.jpg", "p/in/er/c.jpg"]),
        ("in/**", ["in/b.jpg", "in/er/c.jpg"]),
        ("i?/*.jpg", ["p/in/b.jpg"]),
        ("[ab]*", ["p/a.jpg"]),
        ("*/er", ["p/in/er/c.jpg"]),
        ("**/er/**/c.*", ["p/in/er/c.jpg"]),
    ],
)
def test_globs_match_like_a_shell(tmp_path, pattern, found):
    touch(tmp_path / "p", "a.jpg", "in/b.jpg", "in/er/c.jpg", ".hidden/d.jpg")
    assert ids(source.open([str(tmp_path / "p" / pattern)])) == found


def test_a_file_by_itself_is_called_by_its_name_and_one_of_another_folder_by_its_folder_too(tmp_path):
    touch(tmp_path, "q/a.jpg", "p/b.jpg")
    assert ids(source.open([str(tmp_path / "q/a.jpg"), str(tmp_path / "p/b.jpg")])) == ["b.jpg", "q/a.jpg"]
    assert ids(source.open([str(tmp_path / "q")])) == ["q/a.jpg"]


def test_a_file_with_brackets_in_its_name_is_no_glob(tmp_path):
    touch(tmp_path, "a[1].jpg")
    assert ids(source.open([str(tmp_path / "a[1].jpg")])) == ["a[1].jpg"]


def test_two_folders_of_one_name_are_told_apart_by_their_parents(tmp_path):
    touch(tmp_path, "x/p/a.jpg", "y/p/a.jpg", "y/p/b.jpg")
    stream = source.open([str(tmp_path / "x/p"), str(tmp_path / "y/p")])
    assert ids(stream) == ["p/a.jpg", "y/p/a.jpg", "y/p/b.jpg"]
    assert stream.problems() == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "there is no file or folder"),
        ("nowhere/*.jpg", "there is no folder"),
        ("p/*.png", "looked for images, sounds, videos and .txt files, found nothing"),
        ("p", "add arrays as vectors"),
        ("p/a.npy", "is an array"),
        ("odd.bin", "is not a media file, a table"),
        ("s3://bucket/folder", "list the URIs in a manifest"),
        ("pipe.png", "pipe.png is a pipe, a socket or a device: give a file or a folder"),
        ("loop.png", "loop.png is a broken link, or a link to itself"),
        ("photos.zip", "unpack archives first"),
        ("IMG_1.CR2", "convert camera raw files to JPEG or TIFF first"),
    ],
)
def test_what_cannot_be_added_is_refused_with_the_reason(tmp_path, name, message):
    touch(tmp_path, "p/a.npy", "odd.bin", "photos.zip", "IMG_1.CR2")
    os.mkfifo(tmp_path / "pipe.png")
    os.symlink("loop.png", tmp_path / "loop.png")
    with pytest.raises(BadData, match=message):
        source.open([name if "://" in name else str(tmp_path / name)])


@pytest.mark.parametrize("option", [{"key": "n"}, {"path_column": "n"}, {"id_column": "n"}, {"media": "text=n"}])
def test_an_option_that_names_a_column_needs_a_table(tmp_path, option):
    with pytest.raises(BadSpec, match=f"{next(iter(option))} names a column, but there is no table"):
        source.open([str(touch(tmp_path / "p", "a.jpg"))], **option)


def test_nothing_to_add_names_what_was_looked_for(tmp_path):
    (tmp_path / "p").mkdir()
    with pytest.raises(BadData, match=r"looked for images, sounds, videos and [.]txt files, found nothing"):
        source.open([str(tmp_path / "p")])
    with pytest.raises(BadData, match="at least one path"):
        source.open([])
