"""The page in a real browser, by keyboard where a person could: no violation of axe, no console error.

Without Chromium these tests are skipped: see `browser.py`.
"""

import io
import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile
from PIL import Image
from tests.engine.server.browser import CHROMIUM, FLAGS
from tests.engine.server.conftest import running
from typer.testing import CliRunner

import quiver
from quiver.cli import app

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install Debian's package chromium")
AXE = Path(axe.__file__).with_name("axe.min.js")


def make_sounds(folder):
    (folder / "sounds").mkdir()
    for name, pitch in (("low", 110), ("high", 1760)):
        for n in range(3):
            wave = 0.3 * np.sin(2 * np.pi * (pitch + 5 * n) * np.arange(16_000) / 16_000)
            soundfile.write(folder / "sounds" / f"{name}{n}.wav", wave.astype(np.float32), 16_000)
    found = quiver.open(folder / "archive", catch_up=False)
    found.add(folder / "sounds", encoder="classic", workers=0, progress=False)


def make_films(folder):
    (folder / "films").mkdir()
    with av.open(folder / "films" / "day.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for colour in ((200, 40, 40), (40, 160, 60), (40, 60, 200)):
            for _ in range(20):
                picture = np.full((48, 64, 3), colour, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    found = quiver.open(folder / "films-by-moment", catch_up=False)
    found.add(folder / "films", encoder="classic", window=4, stride=4, workers=0, progress=False)


def make_pairs(folder):
    lines = ["before,after,text"]
    for n, (colour, word) in enumerate({"red": "red", "green": "green", "blue": "blue"}.items()):
        lines.append(f"photos/{colour}0.png,photos/{colour}1.png,the {word} thing moved {n}")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    found = quiver.open(folder / "pairs", catch_up=False)
    found.add(folder / "pairs.csv", encoder="classic", workers=0, progress=False)


@pytest.fixture(scope="module")
def site(shop, no_keys):
    """A service of pictures, sounds, moments of a film and pairs."""
    for make in (make_sounds, make_films, make_pairs):
        make(shop.folder)
    names = ("shop", "archive", "films-by-moment", "pairs")
    with running([shop.folder / name for name in names], keys=no_keys) as found:
        yield SimpleNamespace(**vars(found), folder=shop.folder)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def open_page(site, browser):
    """Open the page with an address; afterwards nothing may have been written to the console."""
    said, contexts = [], []

    def opened(address="", expected=(), **settings):
        context = browser.new_context(viewport={"width": 1200, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.expected = expected
        page.goto(f"{site.address}/{address}")
        page.wait_for_selector("#target")
        return page

    yield opened
    wanted = [words for context in contexts for page in context.pages for words in page.expected]
    for context in contexts:
        context.close()
    assert [each for each in said if not any(words in each for words in wanted)] == []


def check(page):
    """Assert that axe finds nothing wrong with the page as it is."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in found["violations"]] == []


def ids(page):
    return page.eval_on_selector_all("#hits .card", "cards => cards.map(card => card.dataset.id)")


def until(page, test):
    """Wait for a condition; the page's policy forbids the browser to evaluate it by itself."""
    for _ in range(400):
        if page.evaluate(test):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never: {test}")


def settled(page, count=None):
    """Wait for an answer; return the ids of its hits."""
    until(page, "document.querySelector('[role=status]')?.textContent.includes('hit')")
    if count is not None:
        until(page, f"document.querySelectorAll('#hits .card').length === {count}")
    return ids(page)


def test_by_keyboard_alone(open_page):
    page = open_page("#in=shop&k=6")
    check(page)
    page.keyboard.press("/")
    page.keyboard.type("blue thing number 3")
    page.keyboard.press("Enter")
    assert settled(page, 6)[0] == "photos/blue3.png"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.id") == "photos/blue3.png"
    page.keyboard.press("x")
    assert page.locator(".card.selected").count() == 1
    page.keyboard.press("Enter")
    until(page, "location.hash.includes('item=')")
    hits = settled(page, 6)
    assert len(hits) == 6 and all(hit.startswith("photos/blue") for hit in hits)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    away = page.evaluate("document.activeElement.dataset.id")
    page.keyboard.press("u")
    until(page, "location.hash.includes('less.item=')")
    assert away not in settled(page)
    page.keyboard.press("e")
    page.wait_for_selector("dialog[open]")
    assert "exact scan" in page.inner_text("dialog[open]")
    check(page)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert "why these hits" in page.inner_text("dialog[open]")
    page.keyboard.press("Escape")
    until(page, "!document.querySelector('dialog[open]')")
    check(page)


def test_new_words_take_the_place_of_those_before_or_stand_beside_them(open_page):
    page = open_page("#in=shop&k=3&text=blue+thing+number+3")
    assert settled(page, 3)[0] == "photos/blue3.png"
    page.fill("#words", "red thing number 2")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#hits .card')?.dataset.id === 'photos/red2.png'")
    assert page.locator(".chip").count() == 1
    page.fill("#words", "green")
    page.keyboard.press("Shift+Enter")
    until(page, "document.querySelectorAll('.chip').length === 2")
    settled(page, 3)


def test_a_dropped_picture_is_searched_with_words_and_weights(open_page, site):
    page = open_page("#in=shop&k=8")
    content = list((site.folder / "photos" / "green2.png").read_bytes())
    page.evaluate(
        """content => {
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(content)], "green2.png", {type: "image/png"}));
            document.querySelector(".bar").dispatchEvent(
                new DragEvent("drop", {dataTransfer: files, bubbles: true, cancelable: true}));
        }""",
        content,
    )
    hits = settled(page, 8)
    assert hits[0] == "photos/green2.png" and all("green" in hit for hit in hits)
    assert page.locator(".chip img").count() == 1
    check(page)


def test_a_part_of_the_picture(open_page, site, tmp_path):
    both = np.zeros((40, 80, 3), np.uint8)
    both[:, :40], both[:, 40:] = (200, 30, 30), (30, 40, 200)
    Image.fromarray(both).save(tmp_path / "both.png")
    page = open_page("#in=shop&k=4")
    page.set_input_files("#files", tmp_path / "both.png")
    settled(page, 4)
    page.get_by_role("button", name="Crop both.png").press("Enter")
    frame = page.get_by_role("group", name=re.compile("frame"))
    for _ in range(25):
        frame.press("Shift+ArrowLeft")
    for _ in range(35):
        frame.press("ArrowRight")
    check(page)
    page.get_by_role("button", name="Use this part").press("Enter")
    until(page, "document.querySelector('.chip .name').textContent.startsWith('part of')")
    until(
        page,
        "[...document.querySelectorAll('#hits .card')].slice(0, 4).every(card => card.dataset.id.includes('blue'))",
    )


def test_filters_and_conditions_say_the_same(open_page):
    page = open_page("#in=shop")
    page.get_by_role("checkbox", name=re.compile("^red")).press("Space")
    assert sorted(settled(page, 8)) == [f"photos/red{n}.png" for n in range(8)]
    assert page.input_value("#where") == "\"colour\" = 'red'"
    page.get_by_role("checkbox", name=re.compile("^blue")).press("Space")
    settled(page, 16)
    assert page.input_value("#where") == "\"colour\" IN ('red', 'blue')"
    page.fill("#where", "price < 3")
    page.get_by_role("button", name="Apply").press("Enter")
    assert sorted(settled(page, 3)) == ["photos/red0.png", "photos/red1.png", "photos/red2.png"]
    check(page)
    page.go_back()
    settled(page, 16)


def test_a_wrong_condition_is_explained(open_page):
    page = open_page("#in=shop", expected=["422"])
    page.fill("#where", "prize < 3")
    page.get_by_role("button", name="Apply").press("Enter")
    assert "there is no column 'prize'" in page.inner_text("[role=alert]")
    check(page)


def test_what_cannot_be_asked_names_the_missing_arrow(open_page, site):
    page = open_page("#in=archive", expected=["422"])
    page.set_input_files("#files", site.folder / "photos" / "red0.png")
    page.wait_for_selector("[role=alert]")
    assert "classic" in page.inner_text("[role=alert]")
    check(page)


def test_a_damaged_file_and_a_file_of_another_kind(open_page, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"this is no picture")
    (tmp_path / "notes.txt").write_text("words")
    page = open_page("#in=shop", expected=["422"])
    page.set_input_files("#files", tmp_path / "bad.png")
    page.wait_for_selector("[role=alert]")
    assert page.text_content("[role=status]") == ""  # nothing was searched, so there are not 0 hits
    check(page)
    page.set_input_files("#files", tmp_path / "notes.txt")
    page.wait_for_selector("text=notes.txt is no picture, sound or film")
    page.fill("#words", "red")
    page.press("#words", "Enter")
    page.click("text=Ask without bad.png")
    settled(page)
    assert page.locator("[role=alert]").count() == 0 and page.locator(".chip").count() == 1


def test_a_moment_of_a_film_plays_from_its_second(open_page, site, tmp_path):
    Image.new("RGB", (64, 48), (40, 160, 60)).save(tmp_path / "green.png")
    page = open_page("#in=films-by-moment&target=video&k=3")
    page.set_input_files("#files", tmp_path / "green.png")
    settled(page, 3)
    best = page.locator(".card").first
    assert "0:04 to 0:08" in best.inner_text()
    check(page)
    best.focus()
    page.keyboard.press("Space")
    page.wait_for_selector(".card video")
    until(page, "document.querySelector('.card video').currentTime >= 4")
    assert page.evaluate("document.querySelector('.card video').currentTime") < 8.5


def test_a_recording_finds_sounds(open_page):
    page = open_page("#in=archive&k=6", permissions=["microphone"])
    page.click("#record")
    page.wait_for_selector("#record[aria-pressed=true]")
    page.wait_for_timeout(700)
    page.click("#record")
    page.wait_for_selector(".chip")
    assert len(settled(page, 6)) == 6
    assert page.locator(".card img[alt^=waveform]").count() == 6
    check(page)


def test_pairs_show_both_pictures(open_page):
    page = open_page("#in=pairs&text=green")
    settled(page)
    first = page.locator(".card").first
    assert first.locator(".pair img").count() == 2
    assert "green" in first.inner_text()
    check(page)


def test_two_pictures_in_a_collection_of_pairs_are_a_pair(open_page, site):
    page = open_page("#in=pairs")
    page.set_input_files("#files", [site.folder / "photos" / f"green{n}.png" for n in range(2)])
    settled(page, 3)
    assert [chip.split("\n")[0] for chip in page.locator(".chip").all_inner_texts()] == ["before", "after"]
    first = page.locator(".card").first
    assert "the green thing" in first.inner_text()
    assert page.locator(".card").first.locator("figcaption").all_inner_texts() == ["before", "after"]
    check(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_waveform_is_dark_on_light_or_light_on_dark(open_page, scheme):
    page = open_page("#in=archive&item=sounds%2Flow0.wav&k=1", color_scheme=scheme)
    settled(page, 1)
    picture = page.locator(".card .wave img")
    until(page, "document.querySelector('.card .wave img').naturalWidth > 0")
    box = picture.bounding_box()
    assert box["width"] > 2 * box["height"] - 20
    shot = np.asarray(Image.open(io.BytesIO(picture.screenshot())).convert("L"), int)
    paper = shot[0, 0]
    assert (paper > 230 and shot.min() < 90) if scheme == "light" else (paper < 50 and shot.max() > 170)


def test_two_spaces_side_by_side(open_page):
    page = open_page("#in=shop&item=photos%2Fred0.png&k=3&other=classic/image")
    until(page, "document.querySelectorAll('.columns .card').length === 6")
    assert "3 of 3 hits are found by both" in page.inner_text("#hits")
    check(page)


def test_the_exported_question_finds_the_same(open_page, site, monkeypatch):
    page = open_page("#in=shop&item=photos%2Fred0.png&less.item=photos%2Fblue0.png&k=5&where=price+%3E+1")
    hits = settled(page, 5)
    page.locator("#export").press("Enter")
    check(page)
    with page.expect_download() as started:
        page.get_by_role("button", name="hits.csv").press("Enter")
    lines = Path(started.value.path()).read_text().splitlines()
    assert lines[0].startswith("id,score,") and [line.split(",")[0] for line in lines[1:]] == hits
    command = page.get_by_label("Command").inner_text()
    monkeypatch.chdir(site.folder)
    done = CliRunner().invoke(app, [*shlex.split(command)[1:], "--json"], catch_exceptions=False)
    assert [hit["id"] for hit in json.loads(done.stdout)["hits"]] == hits


def test_judged_hits_are_saved_as_questions_that_a_collection_is_measured_with(open_page, site, tmp_path):
    page = open_page("#in=shop&item=photos%2Fred0.png&k=3")
    hits = settled(page, 3)
    cards = page.locator(".card")
    cards.nth(0).get_by_role("button", name=re.compile("is right$")).press("Enter")
    cards.nth(1).get_by_role("button", name=re.compile("is wrong$")).press("Enter")
    page.locator("#export").press("Enter")
    with page.expect_download() as started:
        page.get_by_role("button", name="labels.jsonl").press("Enter")
    started.value.save_as(tmp_path / "labels.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert [(row["like"], row["answer"], row["grade"]) for row in rows] == [
        (["photos/red0.png"], hits[0], 1),
        (["photos/red0.png"], hits[1], 0),
    ]
    words = ["bench", "recall", "--queries", tmp_path / "labels.jsonl", "--collection", site.folder / "shop", "--json"]
    done = CliRunner().invoke(app, [*map(str, words), str(tmp_path / "out.json")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out.json").read_text())["dataset"]["questions"] == 1


def test_more_hits_and_the_address_bring_the_same_back(open_page):
    page = open_page("#in=shop&item=photos%2Fred0.png&k=5")
    first = settled(page, 5)
    page.click("#more")
    every = settled(page, 10)
    assert every[:5] == first and len(set(every)) == 10
    page.reload()
    assert settled(page, 5) == first


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phones(open_page, scheme):
    page = open_page("#in=shop&item=photos%2Fred0.png&k=4", color_scheme=scheme)
    page.set_viewport_size({"width": 360, "height": 740})
    settled(page, 4)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    check(page)
