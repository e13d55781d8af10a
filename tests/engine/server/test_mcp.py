"""Tools for assistants: in memory, over HTTP with keys, and over standard input and output."""

import asyncio
import base64
import io
import json
import sys

import numpy as np
import pytest

import quiver
from quiver.engine.server.keys import Keys
from quiver.engine.server.mcp_media import roots_of
from quiver.engine.server.served import Catalogue
from quiver.engine.server.service import Service
from quiver.engine.server.settings import Settings
from quiver.errors import BadSpec

from .conftest import make_shop, running

mcp = pytest.importorskip("mcp")
from quiver.engine.server.mcp_tools import tools_of  # noqa: E402


def call(server, tool, **arguments):
    async def run():
        async with mcp.Client(server) as client:
            return await client.call_tool(tool, arguments)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def tools(served):
    return tools_of(served.service)


def test_there_are_five_tools_and_all_only_read(tools):
    async def run():
        async with mcp.Client(tools) as client:
            return (await client.list_tools()).tools

    found = asyncio.run(run())
    assert [each.name for each in found] == ["list_collections", "describe", "search", "similar", "get"]
    assert all(each.annotations.read_only_hint and each.description for each in found)
    assert all("ctx" not in each.input_schema["properties"] for each in found)


def test_an_assistant_learns_what_a_condition_may_say(tools):
    assert call(tools, "list_collections").structured_content == {"collections": [{"name": "shop", "items": 24}]}
    told = call(tools, "describe", collection="shop").structured_content
    columns = {each["name"]: each for each in told["columns"]}
    assert sorted(columns["colour"]["values"]) == ["blue", "green", "red"]
    assert (columns["price"]["low"], columns["price"]["high"]) == (0, 23) and told["targets"] == ["image"]


def test_a_search_returns_hits_and_thumbnails(tools, served):
    found = call(tools, "search", collection="shop", text="thing", where="colour = 'red'", k=3, explain=True)
    hits = found.structured_content["hits"]
    assert [hit["id"] for hit in hits] == list(served.shop.search(text="thing", where="colour = 'red'", k=3).ids)
    text, *images = found.content
    assert json.loads(text.text)["hits"] == hits and "plan for version" in found.structured_content["plan"]
    assert len(images) == 3 and all(base64.b64decode(each.data)[:2] == b"\xff\xd8" for each in images)
    assert str(served.folder) not in text.text


def test_similar_items_a_picture_and_one_item(tools, served):
    found = call(tools, "similar", collection="shop", id="photos/red0.png", k=2).structured_content
    assert [hit["id"] for hit in found["hits"]] == list(served.shop.search(like="photos/red0.png", k=2).ids)
    data = base64.b64encode((served.folder / "photos" / "blue3.png").read_bytes()).decode()
    found = call(tools, "search", collection="shop", image_base64=data, k=1).structured_content
    assert found["hits"][0]["id"] == "photos/blue3.png"
    one = call(tools, "get", collection="shop", id="photos/blue3.png")
    assert one.structured_content["meta"]["colour"] == "blue"
    assert [each.type for each in one.content] == ["text", "image", "resource_link"]


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("search", {"collection": "none", "text": "x"}, "there are: shop"),
        ("search", {"collection": "shop"}, "the query is empty"),
        ("search", {"collection": "shop", "text": "x", "where": "prize < 3"}, "did you mean price"),
        ("search", {"collection": "shop", "text": "x", "k": 5_000}, "at most 1,000"),
        ("search", {"collection": "shop", "image_base64": "/etc/passwd"}, "image_base64"),
        ("search", {"collection": "shop", "image_base64": "AAAA"}, "image_base64"),
        ("get", {"collection": "shop", "id": "nobody"}, "no item"),
        ("similar", {"collection": "../shop", "id": "x"}, "no collection"),
    ],
)
def test_a_mistake_is_one_line_for_the_assistant(tools, tool, arguments, said):
    found = call(tools, tool, **arguments)
    assert found.is_error and said in found.content[0].text


def test_over_http_a_key_and_its_condition_hold(tmp_path):
    make_shop(tmp_path)
    keys = Keys(tmp_path / "keys")
    key = keys.add("tenant", where="tenant = 'a'")
    body = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "search", "arguments": {"collection": "shop", "text": "red", "k": 24}},
    }  # fmt: skip
    accept = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
    with running([tmp_path / "shop"], keys=keys) as found:
        assert found.client.post("/mcp", json=body, headers=accept).status_code == 401
        assert found.client.post("/mcp", json=body, headers={**accept, "Host": "evil.example"}).status_code == 421
        answer = found.client.post("/mcp", json=body, headers={**accept, "api-key": key})
        assert answer.status_code == 200, answer.text
        hits = json.loads(answer.json()["result"]["content"][0]["text"])["hits"]
        assert hits and {hit["meta"]["tenant"] for hit in hits} == {"a"}
        body["params"]["arguments"] = {"collection": "shop", "like": ["photos/red1.png"]}
        refused = found.client.post("/mcp", json=body, headers={**accept, "api-key": key}).json()["result"]
        assert refused["isError"] and "no item has the id" in refused["content"][0]["text"]


def test_over_standard_input_and_output(served):
    server = mcp.StdioServerParameters(
        command=sys.executable, args=["-m", "quiver", "mcp", str(served.folder / "shop")]
    )
    found = call(server, "list_collections").structured_content
    assert found["collections"][0]["items"] == 24


def read(server, uri):
    async def run():
        async with mcp.Client(server) as client:
            templates = [each.uri_template for each in (await client.list_resource_templates()).resource_templates]
            return templates, await client.read_resource(uri)

    return asyncio.run(run())


def test_a_link_of_an_item_is_read_as_a_resource(tools, served):
    one = call(tools, "get", collection="shop", id="photos/blue3.png")
    link = one.content[-1]
    assert link.uri == "quiver://shop/photos%2Fblue3.png/image" and link.mime_type == "image/png"
    templates, found = read(tools, link.uri)
    assert templates == ["quiver://{collection}/{id}/{medium}"]
    assert base64.b64decode(found.contents[0].blob) == (served.folder / "photos" / "blue3.png").read_bytes()


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("quiver://shop/nobody/image", "no item"),
        ("quiver://shop/photos%2Fred0.png/audio", "has no 'audio': it has image"),
        ("quiver://shop/..%2F..%2Fetc%2Fpasswd/image", "no item"),
        ("quiver://other/x/image", "no collection"),
    ],
)
def test_a_link_to_nothing_is_one_line(tools, uri, said):
    async def run():
        async with mcp.Client(tools) as client:
            with pytest.raises(mcp.MCPError, match=said):
                await client.read_resource(uri)

    asyncio.run(run())


@pytest.fixture
def sounds(tmp_path, no_keys):
    """A collection of a sound of 30 s, a moment of it, and a sound that is none."""
    soundfile = pytest.importorskip("soundfile")
    samples = np.repeat(np.linspace(0, 0.9, 30, dtype="float32"), 1_000)
    soundfile.write(tmp_path / "long.wav", samples, 1_000)
    (tmp_path / "broken.wav").write_bytes(b"RIFF nonsense")
    files = [str(tmp_path / "long.wav"), f"{tmp_path / 'long.wav'}#t=20,23", str(tmp_path / "broken.wav")]
    shop = quiver.open(tmp_path / "shop", catch_up=False, trust=True)
    shop.add_vectors(
        np.eye(3, dtype="float32"), space="mine", ids=["long", "moment", "broken"], meta={"file": files}, audio="file",
        progress=False,
    )  # fmt: skip
    service = Service(Catalogue([str(tmp_path / "shop")], trust=True), Settings(shadow=0), keys=no_keys)
    yield tools_of(service)
    service.close()


def test_an_item_with_a_sound_has_ten_seconds_of_it(sounds):
    import soundfile

    text, picture, sound, link = call(sounds, "get", collection="shop", id="long").content
    assert (picture.type, sound.type, link.type) == ("image", "audio", "resource_link")
    assert sound.mime_type == "audio/wav" and json.loads(text.text)["id"] == "long"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sound.data)))
    assert rate == 1_000 and len(samples) == 10_000 and samples[-1] == pytest.approx(0.9 * 9 / 29, abs=1e-3)
    moment = call(sounds, "get", collection="shop", id="moment").content[2]
    samples, _ = soundfile.read(io.BytesIO(base64.b64decode(moment.data)))
    assert len(samples) == 3_000 and samples[0] == pytest.approx(0.9 * 20 / 29, abs=1e-3)


def test_an_item_whose_sound_cannot_be_decoded_is_told_without_it(sounds):
    found = call(sounds, "get", collection="shop", id="broken")
    assert [each.type for each in found.content] == ["text", "resource_link"] and not found.is_error


def test_a_picture_is_named_only_below_the_folders_that_the_user_allows(served, tmp_path, no_keys):
    (tmp_path / "outside.png").write_bytes((served.folder / "photos" / "red0.png").read_bytes())
    root = tmp_path / "root"
    root.mkdir()
    (root / "in.png").write_bytes((served.folder / "photos" / "green2.png").read_bytes())
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    tools = tools_of(served.service, roots=roots_of([root]))
    for path in ("in.png", str(root / "in.png"), "../root/in.png"):
        found = call(tools, "search", collection="shop", image_path=path, k=1).structured_content
        assert found["hits"][0]["id"] == "photos/green2.png"
    for path in ("../outside.png", "link.png", str(tmp_path / "outside.png"), "none.png", ".", "a\0b", "/etc/passwd"):
        refused = call(tools, "search", collection="shop", image_path=path, k=1)
        assert refused.is_error and "names no picture below the folders of --root" in refused.content[0].text
    several = tools_of(served.service, roots=roots_of([root, served.folder / "photos"]))
    for path in ("in.png", "green2.png", "photos/green2.png", "root/in.png"):
        found = call(several, "search", collection="shop", image_path=path, k=1).structured_content
        assert found["hits"][0]["id"] == "photos/green2.png"
    assert call(several, "search", collection="shop", image_path="photos.csv", k=1).is_error
    both = call(tools, "search", collection="shop", image_path="in.png", image_base64="AAAA", k=1)
    assert both.is_error and "either" in both.content[0].text
    with pytest.raises(BadSpec, match="--root takes a folder"):
        roots_of([root / "in.png"])


def test_without_a_root_no_path_is_taken(tools, served):
    path = str(served.folder / "photos" / "red0.png")
    refused = call(tools, "search", collection="shop", image_path=path, k=1)
    assert refused.is_error and "works with `quiver mcp --root FOLDER` only" in refused.content[0].text
