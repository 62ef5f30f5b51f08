"""The course in a real browser: its page, each lesson, a slider that changes an image, answers that are checked.

``make exercises`` gives every exercise a wrong answer and then the right one, on a wide screen and on a phone.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from course.solutions import solutions
from playwright.sync_api import Browser, Page, expect

from underhood.lessons import files
from underhood.lessons.course import close_notebook

SHOTS = os.environ.get("SCREENSHOTS")  # a folder for them, for people to look at
IMAGES = "all => all.map(image => image.src)"


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of ``underhood lessons``."""
    out = tmp_path_factory.mktemp("course") / "l"
    command = [sys.executable, "-m", "underhood", "lessons", "--no-browser", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        yield next(filter(None, (re.search(r"URL: (\S+)", line) for line in process.stdout)))[1]
        process.terminate()


@pytest.fixture(params=["wide", "phone"])
def page(request: pytest.FixtureRequest, browser: Browser, course: str) -> Iterator[Page]:
    """The course's page: on a wide screen, or at phone width and dark."""
    phone = request.param == "phone"
    size = {"width": 380, "height": 800} if phone else {"width": 1200, "height": 900}
    context = browser.new_context(viewport=size, color_scheme="dark" if phone else "light")
    page = context.new_page()
    outside: list[str] = []
    here = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(here) else outside.append(request.url))
    page.goto(course)
    yield page
    address, _, name = page.url.partition("/?file=")
    context.close()
    if name:
        close_notebook(address, course.rpartition("=")[2], name.partition("&")[0])
    assert not outside


def opened(page: Page, number: int) -> None:
    """Open a lesson from the course's page, and wait until every cell has run."""
    page.locator("h2 a", has_text=re.compile(rf"^{number} ·")).click()
    expect(page.locator("h1").first).to_be_visible(timeout=120_000)
    page.locator(".marimo-cell, [data-status]").first.wait_for()
    calm = 0
    for _ in range(1200):
        calm = 0 if page.locator("[data-status=running], [data-status=queued]").count() else calm + 1
        if calm == 5:
            return
        time.sleep(0.1)
    pytest.fail("it is still running after two minutes")


def photograph(page: Page, name: str) -> None:
    """Save the whole page, from top to bottom, if there is a folder for it."""
    if SHOTS and page.viewport_size:
        width = page.viewport_size["width"]
        tall = page.evaluate("Math.max(...[...document.querySelectorAll('*')].map(one => one.scrollHeight))")
        page.set_viewport_size({"width": width, "height": min(tall + 200, 30_000)})
        page.wait_for_timeout(1000)
        page.screenshot(path=Path(SHOTS) / f"{name}-{width}.png")


def test_the_course_page_fits_its_window(page: Page) -> None:
    expect(page.locator("h2")).to_have_count(len(files()))
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("page", ["wide"], indirect=True)
@pytest.mark.parametrize("number", range(1, 18))
def test_a_control_changes_an_image(page: Page, number: int) -> None:
    opened(page, number)
    assert page.locator(".marimo-error").count() == 0
    before = page.eval_on_selector_all("img", IMAGES)
    assert before
    slider = page.get_by_role("slider").first
    if slider.count():
        slider.focus()
        at_start = slider.get_attribute("aria-valuenow") == slider.get_attribute("aria-valuemin")
        page.keyboard.press("ArrowRight" if at_start else "ArrowLeft")
    else:
        page.locator("[role=radio][aria-checked=false]").first.click()
    for _ in range(100):
        if page.eval_on_selector_all("img", IMAGES) != before:
            break
        time.sleep(0.1)
    else:
        pytest.fail("no image has changed")
    photograph(page, f"{number:02}")


def answer(page: Page, what: str, code: str) -> None:
    """Write into the cell of an exercise, which defines ``what``, and run it."""
    cell = page.locator(".cm-content", has_text=re.compile(rf"^({what} = |def {what}\(|class {what}\b)"))
    cell.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(code)
    page.keyboard.press("Control+Enter")


def test_an_answer_is_checked(page: Page) -> None:
    opened(page, 5)
    for code, response in (("best_rate = 1.0", "Not yet."), ("best_rate = 0.5", "Right.")):
        answer(page, "best_rate", code)
        expect(page.get_by_text(response, exact=True)).to_be_visible(timeout=10_000)


@pytest.mark.parametrize("page", ["wide"], indirect=True)
def test_a_digit_that_is_drawn_is_read(page: Page) -> None:
    opened(page, 17)
    said = page.locator("img[alt^='The image, what the preparation makes of it']")
    expect(said).to_have_count(1)  # the 7 that the lesson draws
    sheet = page.locator("canvas[aria-label^='A sheet to draw on']")
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    assert box
    page.mouse.move(box["x"] + 140, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 140, box["y"] + 240, steps=10)  # a 1
    page.mouse.up()
    expect(said).to_have_count(2, timeout=20_000)
    assert re.search(r"The answer: 1, with", said.nth(1).get_attribute("alt") or "")


@pytest.mark.every_exercise
@pytest.mark.parametrize("number", range(1, 19))
def test_every_exercise_is_checked(page: Page, number: int) -> None:
    opened(page, number)
    verdict = page.locator("strong")
    for solved, (what, code) in enumerate(solutions(files()[number - 1]).items()):
        answer(page, what, f"{what} = lambda *arguments: None" if "def " in code else f"{what} = None")
        expect(verdict.filter(has_text=re.compile(r"^Not yet"))).to_have_count(1, timeout=60_000)
        expect(verdict.filter(has_text=re.compile(r"^Right\.$"))).to_have_count(solved)
        answer(page, what, code)
        expect(verdict.filter(has_text=re.compile(r"^Right\.$"))).to_have_count(solved + 1, timeout=60_000)
    assert page.locator(".marimo-error").count() == 0
    photograph(page, f"{number:02}-solved")
