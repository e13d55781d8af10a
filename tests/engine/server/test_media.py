"""Media of items: bytes in ranges, conditions, thumbnails; and never a file that nobody added."""

import io
import os

import pytest
from PIL import Image

import quiver
from quiver.engine.server.upload_worker import _drawn
from quiver.types import Item

from .conftest import running

RED = "/v1/collections/shop/items/photos%2Fred0.png"


@pytest.fixture(scope="module")
def content(served):
    return (served.folder / "photos" / "red0.png").read_bytes()


def test_the_link_of_a_hit_leads_to_the_bytes_of_its_file(served, content):
    hit = served.client.post("/v1/collections/shop/search", json={"like": "photos/red1.png", "k": 24}).json()["hits"]
    link = next(each["media"]["image"] for each in hit if each["id"] == "photos/red0.png")
    answer = served.client.get(link)
    assert answer.content == content and answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == "inline" and answer.headers["accept-ranges"] == "bytes"
    head = served.client.head(link)
    assert head.content == b"" and int(head.headers["content-length"]) == len(content)


@pytest.mark.parametrize(
    ("given", "first", "last"),
    [("bytes=0-9", 0, 9), ("bytes=10-", 10, None), ("bytes=-7", -7, None), ("bytes=5-99999999", 5, None)],
)
def test_a_range_is_a_part_of_the_file(client, content, given, first, last):
    answer = client.get(f"{RED}/media/image", headers={"Range": given})
    wanted = content[first:] if last is None else content[first : last + 1]
    assert answer.status_code == 206 and answer.content == wanted
    start = first % len(content)
    assert answer.headers["content-range"] == f"bytes {start}-{start + len(wanted) - 1}/{len(content)}"


def test_a_range_outside_of_the_file_is_refused_and_odd_ones_are_ignored(client, content):
    answer = client.get(f"{RED}/media/image", headers={"Range": "bytes=999999-"})
    assert answer.status_code == 416 and answer.headers["content-range"] == f"bytes */{len(content)}"
    for odd in ("bytes=-", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b"):
        assert client.get(f"{RED}/media/image", headers={"Range": odd}).content == content


def test_an_etag_saves_the_bytes_until_the_file_changes(served, content):
    first = served.client.get(f"{RED}/media/image")
    tag = first.headers["etag"]
    assert served.client.get(f"{RED}/media/image", headers={"If-None-Match": tag}).status_code == 304
    part = served.client.get(f"{RED}/media/image", headers={"If-Range": '"other"', "Range": "bytes=0-3"})
    assert part.status_code == 200 and part.content == content
    path = served.folder / "photos" / "red0.png"
    held = path.stat()
    try:
        os.utime(path, ns=(held.st_atime_ns, held.st_mtime_ns + 10))
        assert served.client.get(f"{RED}/media/image", headers={"If-None-Match": tag}).status_code == 200
    finally:
        os.utime(path, ns=(held.st_atime_ns, held.st_mtime_ns))


def test_a_thumbnail_is_a_small_jpeg_of_the_picture(client):
    answer = client.get(f"{RED}/thumbnail?size=192")
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.format == "JPEG" and picture.size == (192, 192)
    red, green, blue = picture.convert("RGB").getpixel((96, 96))
    assert red > 120 > max(green, blue)
    again = client.get(f"{RED}/thumbnail?size=192", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    assert client.get(f"{RED}/thumbnail?size=9999").status_code == 422
    assert client.get(f"{RED}/thumbnail?key=video").status_code == 404


@pytest.mark.parametrize(
    ("size", "drawn"), [((40, 20), (192, 96)), ((20, 40), (96, 192)), ((600, 400), (192, 128)), ((400, 4), (192, 192))]
)
def test_a_thumbnail_has_the_shape_of_its_picture_and_no_border(tmp_path, size, drawn):
    Image.new("RGB", size, (200, 30, 30)).save(tmp_path / "a.png")
    Image.new("RGB", size, (200, 30, 30)).save(
        tmp_path / "a.gif", save_all=True, append_images=[Image.new("RGB", size, (30, 30, 200))], duration=500
    )
    for name, key in (("a.png", "image"), ("a.gif", "video")):
        picture = _drawn(str(tmp_path / name), key, 192)
        assert picture.shape == (drawn[1], drawn[0], 3)
        assert max(size) > 16 * min(size) or (picture[0, 0] == picture[-1, -1]).all()


def test_what_an_item_does_not_have_is_not_found(client):
    assert "it has image" in client.get(f"{RED}/media/audio").json()["detail"]
    assert client.get("/v1/collections/shop/items/none/media/image").status_code == 404
    assert client.get(f"{RED}/media/text").status_code == 404


@pytest.fixture(scope="module")
def odd(tmp_path_factory, no_keys):
    """A collection that names files which its user never added, as a stranger could write it."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "mine").mkdir()
    (folder / "secret").mkdir()
    Image.new("RGB", (9, 9)).save(folder / "secret" / "a.png")
    (folder / "mine" / "page.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "mine" / "page.html").write_text("<script>1</script>")
    Image.new("RGB", (9, 9)).save(folder / "mine" / "real.png")
    (folder / "mine" / "link.png").symlink_to(folder / "secret" / "a.png")
    places = {
        "secret": folder / "secret" / "a.png", "svg": folder / "mine" / "page.svg",
        "real": folder / "mine" / "real.png",
        "html": folder / "mine" / "page.html", "link": folder / "mine" / "link.png", "passwd": "/etc/passwd",
        "folder": folder / "mine", "up": folder / "mine" / ".." / "secret" / "a.png", "pipe": folder / "mine" / "pipe",
    }  # fmt: skip
    os.mkfifo(folder / "mine" / "pipe")
    shop = quiver.open(folder / "odd", catch_up=False)
    shop.add(Item("real", {"image": str(places["real"])}), encoder="classic", workers=0, progress=False)
    from quiver.engine.storage.dataset import Table

    table = Table(f"{folder / 'odd'}/items.lance")
    import pyarrow as pa

    (row,) = table.read(["id", "image", "sha256"]).drop_columns(["_rowid"]).to_pylist()
    rows = [{**row, "id": name, "image": str(path)} for name, path in places.items() if name != "real"]
    table.merge(pa.Table.from_pylist(rows), insert=True)
    with running([folder / "odd"], keys=no_keys) as found:
        yield found.client


@pytest.mark.parametrize("name", ["secret", "link", "passwd", "up"])
def test_no_file_is_served_outside_of_the_folders_that_were_added(odd, name):
    for path in ("media/image", "thumbnail"):
        answer = odd.get(f"/v1/collections/odd/items/{name}/{path}")
        assert answer.status_code == 403 and "nobody added" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["folder", "pipe"])
def test_only_regular_files_are_served(odd, name):
    assert odd.get(f"/v1/collections/odd/items/{name}/media/image").status_code == 403


@pytest.mark.parametrize("name", ["svg", "html"])
def test_what_a_browser_could_run_is_a_download(odd, name):
    answer = odd.get(f"/v1/collections/odd/items/{name}/media/image")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_real_file_of_that_collection_is_served(odd):
    assert odd.get("/v1/collections/odd/items/real/media/image").status_code == 200
