"""Pictures of the page for docs, from the data of QUIVER_DATA.

``PYTHONPATH=.:tests python -m campaign.page_pictures docs`` makes them.

Clothing (CC0) and films (MIT) are shown.
"""

import os
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright
from tests.engine.server.browser import CHROMIUM, FLAGS
from tests.engine.server.conftest import running

import quiver

#: Width of a picture in docs, in pixels.
WIDTH = 1000


def add(data: Path, folder: Path) -> list[Path]:
    """Add the collections that are shown."""
    made = []
    for name, source in {"clothes": "clothing/images", "films": "home_video/clips"}.items():
        place = data / source
        found = quiver.open(folder / name)
        found.add(place, meta=place.parent / "meta.csv", encoder="classic")
        made.append(folder / name)
    return made


def shoot(page: Page, place: Path) -> None:
    """Take a picture of the page as it is."""
    raw = place.with_suffix(".png")
    page.screenshot(path=raw)
    with Image.open(raw) as picture:
        height = round(picture.height * WIDTH / picture.width)
        picture.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS).save(place, quality=82)
    raw.unlink()


def main(docs: Path) -> None:
    """Make the pictures."""
    data = Path(os.environ["QUIVER_DATA"])
    photo = next((data / "clothing" / "images").glob("ea7b*.jpg"))
    with (
        tempfile.TemporaryDirectory() as folder,
        running(add(data, Path(folder))) as served,
        sync_playwright() as started,
    ):
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1250, "height": 860})
        page.goto(f"{served.address}/#in=clothes&is.kids=false")
        page.wait_for_selector(".card")
        page.set_input_files("#files", photo)
        page.wait_for_selector(".chip img")
        page.wait_for_selector("#why")
        page.wait_for_load_state("networkidle")
        shoot(page, docs / "page-pictures.jpg")
        page.click("#why")
        page.wait_for_selector("dialog[open]")
        shoot(page, docs / "page-why.jpg")
        page.goto(f"{served.address}/#in=films&text=falling")
        page.reload()
        page.wait_for_selector(".card")
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(2000)
        shoot(page, docs / "page-films.jpg")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
