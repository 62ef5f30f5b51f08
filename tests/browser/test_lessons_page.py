"""Each lesson in a real browser: it runs when it is opened, a slider changes an image, an answer is checked."""

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

SHOTS = os.environ.get("SCREENSHOTS")  # a folder for them, for people to look at
IMAGES = "all => all.map(image => image.src)"


@pytest.fixture
def lessons(tmp_path: Path) -> Iterator[str]:
    """The address of ``underhood lessons``, but for the lesson's name. Each test has its own: kernels stay."""
    command = [
        sys.executable,
        "-m",
        "underhood",
        "lessons",
        "--no-browser",
        "--out",
        str(tmp_path / "l"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        found = next(filter(None, (re.search(r"URL: (\S+)\?(\S+)", line) for line in process.stdout)))
        yield f"{found[1]}/?{found[2]}&file="
        process.terminate()


@pytest.fixture
def page(browser: Browser, lessons: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    outside: list[str] = []
    place = lessons.split("?")[0]
    page.on(
        "request",
        lambda request: None if request.url.startswith((place, "data:", "blob:")) else outside.append(request.url),
    )
    yield page
    context.close()
    assert not outside


def opened(page: Page, address: str) -> None:
    """Wait until every cell has run."""
    page.goto(address)
    expect(page.locator("h1").first).to_be_visible(timeout=30_000)
    page.get_by_role("slider").first.wait_for(timeout=30_000)
    page.locator(".marimo-cell, [data-status]").first.wait_for()
    calm = 0
    for _ in range(600):
        calm = 0 if page.locator("[data-status=running], [data-status=queued]").count() else calm + 1
        if calm == 5:
            return
        time.sleep(0.1)
    pytest.fail("it is still running after a minute")


@pytest.mark.parametrize("name", [file.name for file in files()])
def test_a_slider_changes_an_image(page: Page, lessons: str, name: str) -> None:
    opened(page, lessons + name)
    assert page.locator(".marimo-error").count() == 0
    before = page.eval_on_selector_all("img", IMAGES)
    assert before
    slider = page.get_by_role("slider").first
    slider.focus()
    at_start = slider.get_attribute("aria-valuenow") == slider.get_attribute("aria-valuemin")
    page.keyboard.press("ArrowRight" if at_start else "ArrowLeft")
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
        page.screenshot(path=Path(SHOTS) / f"{name}.png")


def test_an_answer_is_checked(page: Page, lessons: str) -> None:
    opened(page, lessons + "03_gradients.py")
    cell = page.locator(".cm-content", has_text="best_rate = ...")
    for answer, response in (("1.0", "Not yet."), ("0.5", "Right.")):
        cell = page.locator(".cm-content", has_text=re.compile(r"^best_rate ="))
        cell.click()
        page.keyboard.press("Control+A")
        page.keyboard.type(f"best_rate = {answer}")
        page.keyboard.press("Control+Enter")
        expect(page.get_by_text(response, exact=True)).to_be_visible(timeout=10_000)
