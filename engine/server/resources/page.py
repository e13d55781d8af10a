"""The page: static files of this package, and nothing else."""

from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, HTMLResponse, Response

from quiver.engine.server.problems import Problem
from quiver.engine.server.service import service_of
from quiver.engine.server.shield import SLASH

router = APIRouter(include_in_schema=False)
FOLDER = Path(__file__).parents[1] / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}
_PLAIN = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Quiver</title>
<h1>Quiver serves {count}</h1><p>{names}</p>
<p>The interface is described in <a href="/docs">/docs</a> and <a href="/openapi.json">/openapi.json</a>.</p></html>
"""


@router.get("/")
async def page(request: Request) -> Response:
    """Return the page."""
    path = FOLDER / "index.html"
    if path.is_file():
        return FileResponse(path, media_type=_TYPES[".html"], headers={"Cache-Control": "no-cache"})
    many = len(list(service_of(request).catalogue.all()))
    said = f"{many} collection{'s' * (many != 1)}"
    return HTMLResponse(_PLAIN.format(count=said, names="Ask /v1/collections for the names."))


@router.get("/page/{name:path}")
async def file(request: Request, name: str) -> Response:
    """Return a file of the page."""
    path = (FOLDER / name.replace(SLASH, "/")).resolve()
    if not path.is_relative_to(FOLDER.resolve()) or not path.is_file() or path.suffix not in _TYPES:
        raise Problem(404, "the page has no such file")
    return FileResponse(path, media_type=_TYPES[path.suffix], headers={"Cache-Control": "no-cache"})
