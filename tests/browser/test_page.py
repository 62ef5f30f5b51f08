"""The page of ``serve`` in Chromium, through Playwright: ``make test-browser``."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from pages import draw, problems_of
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from underhood import Predictor, train
from underhood.serving.server import served

ROUND = [(0.5 + 0.22 * math.sin(t / 4), 0.5 - 0.35 * math.cos(t / 4)) for t in range(26)]
SEVEN = [(0.25, 0.2), (0.75, 0.2), (0.62, 0.45), (0.5, 0.7), (0.45, 0.88)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    run = train("digits", out=tmp_path_factory.mktemp("page") / "run", report=False)["run"]
    with served(Predictor.load(run)) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(params=["desk", "phone, dark"])
def page(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Page]:
    if request.param == "desk":
        context = browser.new_context(viewport={"width": 1100, "height": 900})
    else:
        context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, color_scheme="dark")
    page = context.new_page()
    problems = problems_of(page, address)
    page.goto(address)
    expect(page.locator("#steps")).to_be_visible()
    yield page
    context.close()
    assert not problems


def test_drawing_changes_the_prediction_and_undo_reverts_it(page: Page) -> None:
    assert page.inner_text("#answer").strip() == ""
    draw(page, [(0.5, 0.12), (0.5, 0.88)])
    expect(page.locator("#answer")).to_contain_text("1")
    expect(page.locator("#bars li")).to_have_count(10)
    assert page.evaluate("Math.min(...[...document.querySelectorAll('.track')].map(bar => bar.clientWidth))") > 40
    expect(page.locator("#seen")).to_be_visible()
    expect(page.locator("#attributions")).to_be_visible()
    expect(page.locator("#mean")).to_be_visible()
    seen = page.get_attribute("#seen", "src")
    page.click("#clear")
    expect(page.locator("#seen")).to_be_hidden()
    draw(page, ROUND)
    expect(page.locator("[aria-live=polite]")).to_contain_text("0")  # if it is rejected, as the most probable label
    assert page.get_attribute("#seen", "src") != seen
    page.click("#undo")
    expect(page.locator("#seen")).to_be_hidden()
    expect(page.locator("#bars li")).to_have_count(0)


SCRIBBLE = [(0.1 if i % 2 else 0.9, 0.1 + 0.1 * i) for i in range(9)]


def test_what_is_no_digit_is_none_of_these_and_the_page_says_why(page: Page, tmp_path: Path) -> None:
    draw(page, SCRIBBLE)
    expect(page.locator("#answer")).to_have_text("None of these")
    expect(page.locator("#more")).to_contain_text("unlike anything that the model was trained on")
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    Image.new("L", (60, 60), "white").save(tmp_path / "blank.png")
    page.click("#clear")
    expect(page.locator("#more")).to_have_text("")
    page.set_input_files("#file", tmp_path / "blank.png")
    expect(page.locator("#answer")).to_have_text("None of these")
    expect(page.locator("#more")).to_have_text("Nothing is drawn.")


def test_a_set_of_several_labels_and_an_improbable_label_are_said_in_words(page: Page, address: str) -> None:
    """The server's answer is replaced: which drawing gets which depends on the training."""
    kept: dict[str, object] = {}
    page.route("**/api/predict", lambda route: route.fulfill(json=route.fetch().json() | kept))
    kept |= {"label": "4", "set": ["4", "9"], "rejected": False, "reason": None}
    draw(page, SEVEN)
    expect(page.locator("#answer")).to_have_text("4")
    expect(page.locator("#more")).to_have_text("one of 4, 9 – sets hold the right one 95\u00a0% of the time")
    assert page.locator("[aria-live=polite]").inner_text().split("\n")[0] == "4"
    kept |= {"rejected": True, "reason": "confidence"}
    draw(page, ROUND)
    expect(page.locator("#answer")).to_have_text("None of these")
    expect(page.locator("#more")).to_have_text("No label is probable enough. The most probable label is 4.")
    kept |= {"set": None, "rejected": False, "reason": None}  # a model without sets
    page.click("#clear")
    draw(page, SEVEN)
    expect(page.locator("#answer")).to_have_text("4")
    expect(page.locator("#more")).to_have_text("")
    page.unroute_all(behavior="wait")


def test_switching_a_step_off_changes_the_prepared_image(page: Page) -> None:
    draw(page, [(x / 2, y / 2) for x, y in SEVEN])
    expect(page.locator("#seen")).to_be_visible()
    expect(page.locator("#attributions")).to_be_visible()
    seen = page.get_attribute("#seen", "src") or ""
    page.get_by_label("crop to the ink").uncheck()
    expect(page.locator("#seen")).not_to_have_attribute("src", seen)
    page.get_by_label("crop to the ink").check()
    expect(page.locator("#seen")).to_have_attribute("src", seen)


def test_an_image_file_can_be_chosen(page: Page, tmp_path: Path) -> None:
    image = Image.new("L", (120, 120), "white")
    image.paste("black", (52, 20, 64, 100))
    image.save(tmp_path / "one.png")
    page.set_input_files("#file", tmp_path / "one.png")
    expect(page.locator("#answer")).to_contain_text("1")
    page.click("#undo")
    expect(page.locator("#seen")).to_be_hidden()


def test_the_keyboard_draws(page: Page) -> None:
    page.focus("#canvas")
    page.keyboard.press("Space")
    for _ in range(20):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(page.locator("#answer")).to_contain_text("1")
    page.keyboard.press("u")
    expect(page.locator("#seen")).to_be_hidden()


def test_nothing_is_wider_than_the_page_and_axe_finds_nothing_serious(page: Page) -> None:
    draw(page, SEVEN)
    expect(page.locator("#attributions")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    assert page.evaluate("getComputedStyle(canvas).touchAction") == "none"


def test_the_documentation_works_under_its_content_security_policy(page: Page, address: str) -> None:
    """The page's fixture holds that nothing is written to the console, and nothing loaded from elsewhere."""
    page.goto(address + "docs")
    expect(page.get_by_text("/api/predict").first).to_be_visible()
    page.get_by_text("/api/model").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.get_by_text("content-security-policy").first).to_be_visible()


def test_a_model_of_photographs_asks_for_an_image_file(browser: Browser, tmp_path: Path) -> None:
    for label, colour in (("red", (200, 30, 30)), ("green", (30, 160, 60))):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(12):
            shade = tuple(value + number for value in colour)
            Image.new("RGB", (40, 30), shade).save(tmp_path / "data" / label / f"{number}.png")
    run = train(tmp_path / "data", epochs=1, out=tmp_path / "run", report=False)["run"]
    with served(Predictor.load(run)) as port, browser.new_context(viewport={"width": 360, "height": 740}) as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        expect(page.locator("#title")).to_contain_text("Show an image")
        expect(page.locator("#canvas")).to_be_hidden()
        expect(page.get_by_label("Choose an image")).to_be_attached()
        page.set_input_files("#file", tmp_path / "data" / "red" / "3.png")
        expect(page.locator("#canvas")).to_be_visible()
        expect(page.locator("#bars li")).to_have_count(2)
        seen = page.get_attribute("#seen", "src")
        page.mouse.move(100, 200)
        page.mouse.down()
        page.mouse.move(200, 260)
        page.mouse.up()
        assert page.get_attribute("#seen", "src") == seen
        page.click("#clear")
        expect(page.locator("#canvas")).to_be_hidden()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        found = Axe().run(page).response["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
