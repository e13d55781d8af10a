"""Pictures of the page for docs, from the data of QUIVER_DATA.

``PYTHONPATH=.:tests python -m campaign.page_pictures docs`` makes all of them; names behind, such as ``sounds pairs``,
make those of some collections.

Shown are clothing (CC0), films (MIT), sounds of ESC-10 (CC BY 3.0; each card names its author and licence) and pairs of
free-exercise-db (Unlicense).
"""

import csv
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright
from tests.engine.server.browser import CHROMIUM, FLAGS
from tests.engine.server.conftest import running

import quiver

#: Width of a picture in docs, in pixels.
WIDTH = 1000
#: Every so manieth sound and pair is shown.
STEP = 3


def clothes(data: Path, _: Path) -> tuple[Path, Path]:
    """Return photos of clothes and their metadata."""
    return data / "clothing" / "images", data / "clothing" / "meta.csv"


def films(data: Path, _: Path) -> tuple[Path, Path]:
    """Return films and their metadata."""
    return data / "home_video" / "clips", data / "home_video" / "meta.csv"


def sounds(data: Path, folder: Path) -> tuple[Path, None]:
    """Return a table of sounds."""
    place = data / "esc10"
    rows = (
        {
            "audio": place / row["file"],
            "id": Path(row["file"]).stem,
            "name": Path(row["title"]).stem,
            "sound": row["label"].replace("_", " "),
            "author": row["author"],
            "licence": row["licence"],
        }
        for row in read(place / "meta.csv")
    )
    return write(folder / "sounds.csv", list(rows)[::STEP]), None


def pairs(data: Path, folder: Path) -> tuple[Path, None]:
    """Return a table of pairs: the beginning and the end of an exercise."""
    place = data / "exercise_pairs"
    frames = {(row["exercise"], row["frame"]): row for row in read(place / "meta.csv")}
    rows = [
        {
            "before": place / row["file"],
            "after": place / frames[exercise, "1"]["file"],
            "id": exercise,
            "name": row["name"],
            **{name: row[name] for name in ("equipment", "level", "muscles")},
        }
        for (exercise, frame), row in frames.items()
        if frame == "0" and (exercise, "1") in frames
    ]
    return write(folder / "pairs.csv", rows[::STEP]), None


def read(table: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a table."""
    with table.open(newline="") as file:
        yield from csv.DictReader(file)


def write(table: Path, rows: list[dict[str, object]]) -> Path:
    """Write a table, and return its path."""
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return table


def shoot(page: Page, place: Path) -> None:
    """Take a picture of the page as it is."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1000)
    raw = place.with_suffix(".png")
    page.screenshot(path=raw)
    with Image.open(raw) as picture:
        height = round(picture.height * WIDTH / picture.width)
        picture.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS).save(place, quality=82)
    raw.unlink()


def show(page: Page, address: str, *files: Path) -> None:
    """Open the page, and search with files."""
    page.goto(address)
    page.reload()
    page.wait_for_selector("#target")
    if files:
        page.set_input_files("#files", list(files))
        page.wait_for_selector(".chip")
    page.wait_for_selector("#why")
    page.wait_for_selector(".card")


def shoot_clothes(page: Page, address: str, data: Path, docs: Path) -> None:
    """Show clothes that are like a photo, and the plan of the search."""
    show(page, f"{address}/#in=clothes&is.kids=false", next((data / "clothing" / "images").glob("ea7b*.jpg")))
    shoot(page, docs / "page-pictures.jpg")
    page.click("#why")
    page.wait_for_selector("dialog[open]")
    shoot(page, docs / "page-why.jpg")


def shoot_films(page: Page, address: str, _: Path, docs: Path) -> None:
    """Show films that a text finds."""
    show(page, f"{address}/#in=films&text=falling")
    shoot(page, docs / "page-films.jpg")


def shoot_sounds(page: Page, address: str, data: Path, docs: Path) -> None:
    """Show sounds that are like a bark."""
    show(page, f"{address}/#in=sounds", data / "esc10" / "audio" / "1-100032-A.ogg")
    shoot(page, docs / "page-sounds.jpg")


def shoot_pairs(page: Page, address: str, data: Path, docs: Path) -> None:
    """Show pairs that are like a pair."""
    frames = (data / "exercise_pairs" / "images" / f"90_90_Hamstring_{n}.jpg" for n in range(2))
    show(page, f"{address}/#in=pairs", *frames)
    shoot(page, docs / "page-pairs.jpg")


#: Each collection: what it is made of, and what is shown of it.
SHOWN = {
    "clothes": (clothes, shoot_clothes),
    "films": (films, shoot_films),
    "sounds": (sounds, shoot_sounds),
    "pairs": (pairs, shoot_pairs),
}


def main(docs: Path, *names: str) -> None:
    """Make the pictures of collections; of all without names."""
    data, chosen = Path(os.environ["QUIVER_DATA"]), names or tuple(SHOWN)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name in chosen:
            source, meta = SHOWN[name][0](data, folder)
            quiver.open(folder / name).add(source, meta=meta, encoder="classic")
        with running([folder / name for name in chosen]) as served, sync_playwright() as started:
            browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = browser.new_page(viewport={"width": 1250, "height": 860})
            for name in chosen:
                SHOWN[name][1](page, served.address, data, docs)
            browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
