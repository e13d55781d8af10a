"""A collection or model from a stranger is data: it imports no module and opens no file that its user did not name."""

import json
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import lance
import numpy as np
import pytest
from PIL import Image

import quiver
from quiver import Item, Query, trust
from quiver.engine.contact_sheet import write
from quiver.errors import Untrusted
from quiver.trust import Reach, check, give, is_plain

EVIL = """
from pathlib import Path
Path(__file__).with_name("RAN").touch()
from quiver.encoders.classic import load
"""


@pytest.fixture(autouse=True)
def stranger(tmp_path, monkeypatch):
    """Another user, who has named nothing yet."""
    monkeypatch.setenv("QUIVER_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(trust, "_remembered", set())


def forget(monkeypatch, tmp_path):
    monkeypatch.setenv("QUIVER_CONFIG", str(tmp_path / "other"))
    monkeypatch.setattr(trust, "_remembered", set())


@pytest.fixture
def evil(lab):
    (lab / "evil.py").write_text(EVIL)
    return lab / "RAN"


def rename(place, spec):
    """Write another encoder into a collection, as its maker could."""
    data = lance.dataset(f"{place}/items.lance")
    header = json.loads(data.schema.metadata[b"quiver"])
    (before,) = header["encoders"]
    header["encoders"][spec] = header["encoders"].pop(before)
    data.update_schema_metadata({"quiver": json.dumps(header)})


def texts(place, count=5):
    shop = quiver.open(place, catch_up=False)
    shop.add(*[Item(str(n), {"text": f"thing {n}"}) for n in range(count)], workers=0)
    return shop


def test_a_module_that_a_collection_names_is_not_imported_until_it_is_trusted(tmp_path, evil):
    texts(tmp_path / "c")
    rename(tmp_path / "c", "lab.evil dim=1024")
    shop = quiver.open(tmp_path / "c", catch_up=False)
    assert shop.info()["items"] == 5 and shop.get(["1"])[0].media == {"text": "thing 1"}
    for attempt in (
        lambda: shop.search(text="thing 3", target="text", spaces=("classic/text",)),
        shop.add,
        lambda: shop.add(Item("6", {"text": "thing 6"})),
    ):
        with pytest.raises(Untrusted, match=r"names the encoder 'lab.evil dim=1024'.*--trust") as told:
            attempt()
        assert "\n" not in str(told.value)
    assert not evil.exists() and "lab.evil" not in sys.modules
    trusting = quiver.open(tmp_path / "c", catch_up=False, trust=True)
    assert trusting.search(text="thing 3", target="text", spaces=("classic/text",), k=1).ids == ("3",)
    assert evil.exists()
    again = quiver.open(tmp_path / "c", catch_up=False)
    assert again.search(text="thing 3", target="text", spaces=("classic/text",), k=1).ids == ("3",)


def test_the_command_line_says_in_one_line_what_to_do_and_remembers(tmp_path, evil):
    texts(tmp_path / "c")
    rename(tmp_path / "c", "lab.evil dim=1024")

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-m", "quiver", "search", str(tmp_path / "c"), "--text", "thing 3", *words],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{evil.parent.parent}:{os.environ.get('PYTHONPATH', '')}"},
        )
        return done.returncode, done.stderr.strip()

    code, said = run("--space", "classic/text")
    assert code == 2 and "lab.evil" in said and "--trust" in said and len(said.splitlines()) == 1
    assert not evil.exists()
    assert run("--space", "classic/text", "--trust")[0] == 0
    assert run("--space", "classic/text")[0] == 0


@pytest.mark.parametrize(
    "spec",
    [
        "lab.evil",
        "os.path x=1",
        "timm model=resnet18 checkpoint=/etc/passwd",
        "timm model=local-dir:/tmp",
        "timm model=hf-hub:someone/model",
        "transformers model=someone/model",
        "transformers model=./here",
        "transformers model=..",
        "sentence_transformers model=~/weights",
        "onnx file=/tmp/a.onnx input=image",
        "open_clip model=ViT-B-32 pretrained=/tmp/weights.pt",
        "mmv checkpoint=/tmp/model",
        "two_tower checkpoint=relative text=lab.evil",
        "_hub name=x",
        "no_such_encoder",
        "sentence_transformers model=all-MiniLM-L6-v2 custom_code=yes",
        "classic no_such_option=1",
    ],
)
def test_only_our_own_encoders_without_files_or_repositories_are_plain(spec):
    assert not is_plain(spec)
    with pytest.raises(Untrusted):
        check(spec, place="somewhere")
    give(spec)
    check(spec, place="somewhere")


@pytest.mark.parametrize(
    "spec",
    [
        f"sentence_transformers model=someone/model custom_code=true revision={'a' * 40}",
        f"sentence_transformers model=all-MiniLM-L6-v2 custom_code=YES revision={'a' * 40}",
        f"cross_encoder model=a custom_code=1 revision={'a' * 40}",
        """two_tower checkpoint=/tmp/m text='sentence_transformers model=a custom_code="tr"ue'""",
    ],
)
def test_no_stored_spec_runs_the_code_of_a_model_even_if_the_collection_is_trusted(spec):
    with trust.accepting(True), pytest.raises(Untrusted, match="--trust does not allow that"):
        check(spec, place="somewhere")
    assert trust.runs_custom_code(spec)
    give(spec)  # named by the user
    check(spec, place="somewhere")


def test_custom_code_that_is_off_runs_nothing():
    assert is_plain("sentence_transformers model=all-MiniLM-L6-v2 custom_code=false")
    assert not trust.runs_custom_code("sentence_transformers model=a/b custom_code=no")


@pytest.mark.parametrize(
    "spec",
    [
        "classic",
        "classic dim=64 frames=2",
        "timm model=mobilenetv2_100",
        "timm model=vit_base_patch16_clip_224.openai pretrained=false device=cuda:1",
        "open_clip model=ViT-B-32 pretrained=laion2b_s34b_b79k precision=fp16",
        "sentence_transformers model=all-MiniLM-L6-v2",
    ],
)
def test_our_own_encoders_with_published_weights_need_no_trust(spec):
    check(spec, place="somewhere")


def test_a_folder_here_is_no_published_model_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_plain("sentence_transformers model=weights")
    (tmp_path / "weights").mkdir()
    assert not is_plain("sentence_transformers model=weights")


def test_a_spec_that_the_user_gave_is_trusted_in_every_collection_and_process(tmp_path, evil):
    shop = quiver.open(tmp_path / "c", catch_up=False)
    shop.add(Item("1", {"text": "thing 1"}), encoder="lab.evil", workers=0)
    trust._remembered.clear()  # as a new process
    assert quiver.open(tmp_path / "c").search(text="thing 1", target="text", spaces=("classic/text",)).ids == ("1",)


def test_files_of_a_model_folder_are_trusted_with_it_and_no_others(tmp_path):
    model, other = tmp_path / "model", tmp_path / "other.pt"
    (model / "files").mkdir(parents=True)
    (model / "files" / "a.pt").touch()
    other.touch()
    (model / "files" / "link.pt").symlink_to(other)
    check("timm model=resnet18 checkpoint=./files/a.pt", place=model, within=model)
    check(f"timm model=resnet18 checkpoint={model}/files/a.pt", place=model, within=model)
    for path in (other, "./files/link.pt", "./files/../../other.pt", "./files/missing.pt"):
        with pytest.raises(Untrusted):
            check(f"timm model=resnet18 checkpoint={path}", place=model, within=model)
    with pytest.raises(Untrusted):
        check("lab.evil file=./files/a.pt", place=model, within=model)


def test_a_folder_in_the_cache_is_no_module_to_import(tmp_path, evil):
    shop = texts(tmp_path / "c")
    (column,) = [name for name in lance.dataset(f"{tmp_path}/c/items.lance").schema.names if name.startswith("vec_")]
    for kind in ("lab.evil", "os.path", "_rows"):
        folder = tmp_path / "c" / "cache" / column / kind
        folder.mkdir(parents=True)
        (folder / "built.json").write_text(json.dumps({"files": {}, "folder": "index", "options": {}, "vectors": 1}))
    assert shop.info()["columns"][0]["indexes"] == ["exact"]
    assert shop.search(text="thing 3", target="text", k=1).ids and shop.catch_up() == []
    assert not evil.exists()


@pytest.mark.parametrize("folder", ["../../../../elsewhere", "/etc", "index-0123456789ab/..", "queries.npy"])
def test_an_index_lies_beside_its_note_and_nowhere_else(tmp_path, folder):
    shop = texts(tmp_path / "c", count=300)
    shop.index("faiss factory=Flat", recall=None)
    (note,) = (tmp_path / "c" / "cache").glob("*/faiss/built.json")
    known = {name: value for name, value in json.loads(note.read_text()).items() if name != "sum"}
    note.write_text(json.dumps({**known, "folder": folder}))
    again = quiver.open(tmp_path / "c", catch_up=False)
    assert again.info()["columns"][0]["indexes"] == ["exact"]
    assert len(again.search(text="thing 3", target="text", k=3)) == 3


@pytest.mark.parametrize("changed", ["note", "header", "column"])
def test_an_index_whose_note_header_or_column_was_changed_is_not_used(tmp_path, changed):
    shop = quiver.open(tmp_path / "c", catch_up=False)
    for key in ("image", "text"):
        shop.add_vectors(np.eye(64), ids=[str(n) for n in range(64)], space="made", key=key)
    shop.index("faiss factory=HNSW8", recall=None)
    note, other = sorted((tmp_path / "c" / "cache").glob("*/faiss/built.json"))
    held = json.loads(note.read_text())
    if changed == "note":
        note.write_text(json.dumps({**held, "vectors": held["vectors"] + 1}))
    elif changed == "header":
        header = note.parent / held["folder"] / "header.json"
        header.write_text(header.read_text().replace('"ef": 6', '"ef": 5').replace('"ef":', '"ef" :'))
    else:
        shutil.rmtree(note.parent)
        shutil.copytree(other.parent, note.parent)
    again = quiver.open(tmp_path / "c", catch_up=False)
    assert sorted(each["indexes"] for each in again.info()["columns"]) == [["exact"], ["exact", "faiss"]]
    again.index("faiss factory=HNSW8", recall=None)
    assert [each["indexes"] for each in again.info()["columns"]] == [["exact", "faiss"]] * 2


@pytest.mark.parametrize(
    "place", ["cache", "items.lance", "cache/some/faiss", "items.lance/data/x.lance", "write.lock"]
)
def test_a_link_out_of_a_collection_is_asked_about_and_nothing_is_written_through_it(tmp_path, place):
    texts(tmp_path / "c")
    outside, link = tmp_path / "outside", tmp_path / "c" / place
    if link.exists() and not place.endswith("lock"):
        shutil.move(link, outside)
    else:
        outside.mkdir()
        link.unlink(missing_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    before = sorted(outside.rglob("*"))
    for attempt in (
        lambda shop: shop.search(text="thing 3"),
        lambda shop: shop.delete(["1"]),
        lambda shop: shop.index(),
    ):
        with pytest.raises(Untrusted, match=r"is a link to .*/outside.*--trust"):
            attempt(quiver.open(tmp_path / "c", catch_up=False))
    assert sorted(outside.rglob("*")) == before
    if place == "items.lance":
        assert quiver.open(tmp_path / "c", trust=True).search(text="thing 3", target="text", k=1).ids == ("3",)
        assert len(quiver.open(tmp_path / "c")) == 5


def test_rows_in_another_place_are_asked_about(tmp_path):
    texts(tmp_path / "c")
    (tmp_path / "elsewhere").mkdir()
    base = lance.DatasetBasePath(str(tmp_path / "elsewhere"), name="other")
    lance.dataset(f"{tmp_path}/c/items.lance").add_bases([base])
    with pytest.raises(Untrusted, match=r"some of its rows are in .*elsewhere.*--trust"):
        quiver.open(tmp_path / "c").info()
    assert quiver.open(tmp_path / "c", trust=True).info()["items"] == 5
    assert quiver.open(tmp_path / "c").info()["items"] == 5


def test_links_within_a_collection_and_a_collection_behind_a_link_need_no_trust(tmp_path):
    texts(tmp_path / "c")
    (tmp_path / "c" / "inner").symlink_to(tmp_path / "c" / "items.lance")
    (tmp_path / "away").symlink_to(tmp_path / "c")
    assert len(quiver.open(tmp_path / "away")) == 5


def picture(path, colour=(200, 10, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), colour).save(path)
    return str(path)


def repoint(place, references):
    data = lance.dataset(f"{place}/items.lance")
    for id, reference in references.items():
        data.update({"image": "'" + reference.replace("'", "''") + "'"}, where=f"id = '{id}'")


@pytest.fixture
def shown(tmp_path):
    """A collection of two pictures, one of which was made to point at another file of this machine."""
    mine, private = picture(tmp_path / "mine" / "a.png"), picture(tmp_path / "private" / "b.png", (10, 10, 200))
    shop = quiver.open(tmp_path / "c", catch_up=False)
    shop.add(Item("a", {"image": mine}), Item("b", {"image": picture(tmp_path / "mine" / "b.png")}), workers=0)
    repoint(tmp_path / "c", {"b": private})
    return tmp_path / "c"


def page_of(place, path, **options):
    shop = quiver.open(place, catch_up=False, **options)
    query = Query(like=("a",), target="image", k=5)
    write(path, [(query, shop.search(query))], collection=shop)
    return path.read_text()


def test_a_page_shows_files_of_folders_that_the_user_added_and_no_others(shown, tmp_path, monkeypatch):
    text = page_of(shown, tmp_path / "p.html")
    assert text.count("<img") == 1 and f"{tmp_path}/private/b.png is not read" in text and "--trust" in text
    text = page_of(shown, tmp_path / "p.html", trust=True)
    assert text.count("<img") == 2 and "is not read" not in text
    assert page_of(shown, tmp_path / "p.html").count("<img") == 2
    forget(monkeypatch, tmp_path)
    assert page_of(shown, tmp_path / "p.html").count("<img") == 0


def test_stored_items_are_embedded_again_only_from_folders_that_the_user_added(shown):
    shop = quiver.open(shown, catch_up=False)
    report = shop.add(encoder="classic dim=64 frames=2", workers=0)
    assert report.quarantined == 1 and "is not read" in shop.info()["quarantine"][0]["reason"]
    report = quiver.open(shown, catch_up=False, trust=True).add(encoder="classic dim=64 frames=2", workers=0)
    assert report.quarantined == 0 and not shop.info()["quarantine"]


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:9/x.png", "ftp://x/y.png", "\\\\host\\share\\x.png", "data:image/png,x"]
)
def test_a_page_fetches_nothing(shown, tmp_path, name):
    repoint(shown, {"b": name})
    text = page_of(shown, tmp_path / "p.html", trust=True)
    assert text.count("<img") == 1 and "src='http" not in text


def test_links_do_not_lead_out_of_the_folders_that_were_added(tmp_path):
    picture(tmp_path / "mine" / "a.png")
    (tmp_path / "private").mkdir()
    secret = tmp_path / "private" / "key"
    secret.write_text("secret")
    (tmp_path / "mine" / "link").symlink_to(secret)
    reach = Reach(str(tmp_path / "c"))
    reach.add([str(tmp_path / "mine")])
    again = Reach(str(tmp_path / "c"))
    assert again.holds(str(tmp_path / "mine" / "a.png"))
    for path in ("mine/link", "mine/../private/key", "mine2/a.png", "private/key"):
        assert not again.holds(str(tmp_path / path))
    assert not Reach(str(tmp_path / "d")).holds(str(tmp_path / "mine" / "a.png"))


def test_many_folders_are_remembered_as_the_folders_above_them(tmp_path):
    reach = Reach(str(tmp_path / "c"))
    reach.add(str(tmp_path / f"items/{n}") for n in range(400))
    assert all(reach.holds(str(tmp_path / f"items/{n}/a.png")) for n in range(400))
    assert len(Reach(str(tmp_path / "c")).roots) == 257


class Tags(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


HOSTILE = "x\"'><script>alert(1)</script><img src=http://evil/x onerror=alert(1)></style></title><!--"


def test_hostile_ids_captions_metadata_and_file_names_stay_text(tmp_path):
    name = HOSTILE.replace("/", "_")
    items = [
        Item(
            HOSTILE,
            {"image": picture(tmp_path / "m" / f"{name}.png"), "text": HOSTILE},
            {"note": HOSTILE, "name": HOSTILE},
        ),
        Item("torn", {"text": "x", "image": picture(tmp_path / "m" / f"torn{name}.png")}),
    ]
    shop = quiver.open(tmp_path / "c", catch_up=False)
    shop.add(*items, workers=0)
    Path(tmp_path / "m" / f"torn{name}.png").write_bytes(b"torn")
    query = Query({"text": HOSTILE}, where="id IS NOT NULL", k=5)
    write(tmp_path / "p.html", [(query, shop.search(query))], collection=shop, title=HOSTILE)
    text = (tmp_path / "p.html").read_text()
    tags = Tags(text).found
    assert "<script" not in text.lower() and not [
        tag for tag, _ in tags if tag in ("script", "iframe", "object", "link", "base")
    ]
    for tag, attributes in tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("src", "poster", "href"):
            assert attributes.get(name, "data:").startswith("data:") or attributes.get(name) == ""
    policy = next(each["content"] for tag, each in tags if each.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script" not in policy and "http" not in policy
    assert text.index("Content-Security-Policy") < text.index("<title>")


def test_a_damaged_settings_folder_trusts_nothing_and_breaks_nothing(tmp_path, caplog):
    give("lab.evil")
    for file in (tmp_path / "config" / "trust").iterdir():
        file.write_bytes(b"\xff{")
    trust._remembered.clear()
    with pytest.raises(Untrusted):
        check("lab.evil", place="c")
    (tmp_path / "file").touch()
    os.environ["QUIVER_CONFIG"] = str(tmp_path / "file" / "below")
    give("lab.other")
    check("lab.other", place="c")
    assert "remembered by this process only" in caplog.text
