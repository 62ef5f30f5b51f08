"""The course in a real browser: its page, each lesson, a slider that changes an image, an answer that is checked."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
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


def test_the_course_page_fits_its_window(page: Page) -> None:
    expect(page.locator("h2")).to_have_count(len(files()))
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("page", ["wide"], indirect=True)
@pytest.mark.parametrize("number", range(1, 17))
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
    if SHOTS:
        tall = page.evaluate("Math.max(...[...document.querySelectorAll('*')].map(one => one.scrollHeight))")
        page.set_viewport_size({"width": 1200, "height": min(tall + 200, 12_000)})
        page.wait_for_timeout(1000)
        page.screenshot(path=Path(SHOTS) / f"{number:02}.png")


def test_an_answer_is_checked(page: Page) -> None:
    opened(page, 5)
    for answer, response in (("1.0", "Not yet."), ("0.5", "Right.")):
        cell = page.locator(".cm-content", has_text=re.compile(r"^best_rate ="))
        cell.click()
        page.keyboard.press("Control+A")
        page.keyboard.type(f"best_rate = {answer}")
        page.keyboard.press("Control+Enter")
        expect(page.get_by_text(response, exact=True)).to_be_visible(timeout=10_000)
