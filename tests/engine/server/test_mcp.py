"""Tools for assistants: in memory, over HTTP with keys, and over standard input and output."""

import asyncio
import base64
import json
import sys

import pytest

from quiver.engine.server.keys import Keys

from .conftest import make_shop, running

mcp = pytest.importorskip("mcp")


def call(server, tool, **arguments):
    async def run():
        async with mcp.Client(server) as client:
            return await client.call_tool(tool, arguments)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def tools(served):
    from quiver.engine.server.mcp_tools import tools_of

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
    assert one.structured_content["meta"]["colour"] == "blue" and len(one.content) == 2


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
