"""The description of the interface as a page without scripts; the same as ``/openapi.json``."""

from html import escape
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

router = APIRouter(include_in_schema=False)
_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Quiver: the interface</title><h1>Quiver: the interface</h1>"""


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Return every operation with its parameters, examples and problems."""
    described = request.app.openapi()
    parts = [_HEAD, *(f"<p>{escape(part)}</p>" for part in described["info"]["description"].split("\n\n"))]
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            parts.append(_operation(method, path, operation))
    return HTMLResponse("\n".join(parts))


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    said = [f"<h2>{escape(operation['summary'])}</h2><p><code>{method.upper()} {escape(path)}</code></p>"]
    said.append(f"<p>{escape(operation.get('description', ''))}</p>")
    if parameters := [each for each in operation.get("parameters", ()) if each["in"] != "path"]:
        rows = (f"<dt>{escape(each['name'])}<dd>{escape(each.get('description', ''))}" for each in parameters)
        said.append(f"<dl>{''.join(rows)}</dl>")
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        said.append(_body(kind, content))
    statuses = (f"<li>{status}: {escape(each['description'])}" for status, each in operation["responses"].items())
    said.append(f"<details><summary>Answers</summary><ul>{''.join(statuses)}</ul></details>")
    return "".join(said)


def _body(kind: str, content: dict[str, Any]) -> str:
    examples = [each["value"] for each in content.get("examples", {}).values()]
    examples += [content["example"]] if "example" in content else []
    shown = "".join(f"<pre>{escape(msgspec.json.encode(each).decode())}</pre>" for each in examples)
    words = content.get("schema", {}).get("properties", {})
    rows = (f"<dt><code>{escape(name)}</code><dd>{escape(each.get('description', ''))}" for name, each in words.items())
    return f"<h3>{escape(kind)}</h3>{shown}<dl>{''.join(rows)}</dl>"
