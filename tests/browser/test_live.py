"""The pages of ``train --live`` and ``replay`` in Chromium."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from pages import problems_of
from playwright.sync_api import Browser, Page, expect

from underhood import train
from underhood.data.read import read
from underhood.live.replay import Replay, make_replay_app
from underhood.live.server import live_page, served_page
from underhood.runs.checkpoint import load_run
from underhood.runs.snapshots import load_snapshots
from underhood.training import Reporter

SCREENS: dict[str, dict[str, Any]] = {
    "desk": {"viewport": {"width": 1280, "height": 900}},
    "phone, dark": {"viewport": {"width": 360, "height": 740}, "has_touch": True, "color_scheme": "dark"},
    "projector": {"viewport": {"width": 1920, "height": 1080}},
}


class Address(Reporter):
    def log(self, line: str) -> None:
        if line.startswith("live: "):
            self.address = line.split()[1]


@contextmanager
def opened(browser: Browser, address: str, screen: str = "desk") -> Iterator[Page]:
    context = browser.new_context(**SCREENS[screen])
    page = context.new_page()
    problems = problems_of(page, address)
    page.goto(address)
    yield page
    context.close()
    assert not problems


@contextmanager
def paused_training(out: Path) -> Iterator[str]:
    """The address of a training's page, paused before its first step. It is stopped at the end."""
    with live_page(port=0, browser=False, reporter=(log := Address())) as watcher:
        watcher.hub.ask({"action": "pause", "value": None})
        options: dict[str, Any] = {"model": "conv", "schedule": "flat", "epochs": 30, "report": False}
        thread = threading.Thread(target=lambda: train("digits", out=out, watcher=watcher, **options))
        thread.start()
        yield log.address
        watcher.hub.ask({"action": "stop", "value": None})
        thread.join(120)
        assert not thread.is_alive()


def screenshot(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def bars(page: Page) -> list[str]:
    return [str(one.get_attribute("aria-label")) for one in page.locator(".images button").all()]


def test_a_training_is_watched_paused_stepped_steered_and_stopped(browser: Browser, tmp_path: Path) -> None:
    with paused_training(tmp_path / "run") as address, opened(browser, address) as page:
        where = page.locator("#where")
        expect(page.locator("#mode")).to_have_text("paused")
        expect(where).to_have_attribute("data-step", "0")
        expect(page.locator(".images button")).to_have_count(24)
        page.wait_for_timeout(600)
        expect(where).to_have_attribute("data-step", "0")  # pause stops the steps
        before = bars(page)
        page.click("#step")
        expect(where).to_have_attribute("data-step", "1")  # one step takes one
        page.click("#epoch")
        step = 12
        expect(where).to_have_attribute("data-step", str(step))  # one epoch ends with it
        expect(page.locator("#mode")).to_have_text("paused")
        expect(page.locator("#panel")).to_have_attribute("data-step", str(step))
        assert bars(page) != before  # an image's bar changes
        curve = page.locator("section[aria-label='Loss'] path.one")
        drawn = curve.get_attribute("d") or ""
        page.focus("#lr")
        for _ in range(20):
            page.keyboard.press("ArrowLeft")  # by keyboard: each press is a twentieth of a factor of ten
        expect(page.locator("#message")).to_contain_text("From the next step on")
        expect(page.locator("#lrnow")).to_have_text("0.01 ÷ 2.5 = 0.004")
        page.wait_for_timeout(900)
        page.click("#step")
        expect(where).to_have_attribute("data-step", str(step + 1))
        assert curve.get_attribute("d") != drawn  # the curve moves
        expect(page.locator("#lrnow")).to_have_text("0.01 ÷ 2.5 = 0.004")
        expect(page.locator("section[aria-label='Loss'] .marked")).to_have_text("lr 0.004")  # where it was changed
        page.once("dialog", lambda dialog: dialog.accept())
        page.click("#stop")
        expect(page.locator("#mode")).to_have_text("over")
        expect(page.locator("#message")).to_contain_text("underhood replay")
        expect(page.locator("#pause")).to_be_disabled()
        expect(page.locator(".images button")).to_have_count(24)  # what was seen stays
    rows = (tmp_path / "run/interventions.csv").read_text().splitlines()
    assert rows[1:] == [f"{step + 1},lr,0.01,0.004", f"{step + 1},stop,360,{step + 1}"]
    rates = [row.split(",")[2] for row in (tmp_path / "run/steps.csv").read_text().splitlines()[1:]]
    assert [float(one) for one in rates[-2:]] == [0.01, 0.004]


def test_closing_and_reloading_the_page_does_not_stop_a_training(browser: Browser, tmp_path: Path) -> None:
    with paused_training(tmp_path / "run") as address:
        with opened(browser, address) as page:
            expect(page.locator("#role")).to_have_text("You steer.")
            page.click("#epoch")
            expect(page.locator("#where")).to_have_attribute("data-step", "12")
            page.reload()
            expect(page.locator("#where")).to_have_attribute("data-step", "12")
            expect(page.locator("section[aria-label='Loss'] path.one")).to_have_count(1)  # with the whole curve
            expect(page.locator("#role")).to_have_text("You steer.", timeout=15_000)
            with opened(browser, address) as other:
                expect(other.locator("#role")).to_have_text("You watch.")
                expect(other.locator("#step")).to_be_disabled()
                page.click("#step")
                expect(other.locator("#where")).to_have_attribute("data-step", "13")
        with opened(browser, address) as page:
            expect(page.locator("#role")).to_have_text("You steer.", timeout=15_000)


@pytest.mark.parametrize("screen", SCREENS)
def test_the_live_page_can_be_used_by_everybody(browser: Browser, tmp_path: Path, screen: str) -> None:
    with paused_training(tmp_path / "run") as address, opened(browser, address, screen) as page:
        expect(page.locator("#mode")).to_have_text("paused")
        page.keyboard.press("e")  # one epoch
        expect(page.locator("section[aria-label='Accuracy'] path")).to_have_count(1)
        page.locator(".images button").nth(3).focus()
        page.keyboard.press("Enter")  # its feature maps
        page.keyboard.press("s")  # one step, wherever the focus is
        expect(page.locator("#where")).to_have_attribute("data-step", "13")
        expect(page.locator(".images button[aria-pressed='true']")).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth") <= SCREENS[screen]["viewport"]["width"]
        screenshot(page, f"live {screen}")
        serious(page)


def serious(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    assert not [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    out = tmp_path_factory.mktemp("replay") / "run"
    train("digits", model="conv", epochs=3, out=out, report=False)
    run = load_run(out)
    snapshots = load_snapshots(run)
    assert snapshots
    shown = Replay(run, snapshots, read("digits").valid)
    thread = threading.Thread(target=shown.predict_all, args=(threading.Event(),))
    with served_page(make_replay_app(shown), "127.0.0.1", 0) as address:
        thread.start()
        yield address
        thread.join()


@pytest.mark.parametrize("screen", SCREENS)
def test_a_training_is_replayed(browser: Browser, replayed: str, screen: str) -> None:
    with opened(browser, replayed, screen) as page:
        expect(page.locator("#table")).to_be_visible()
        expect(page.locator("#a")).to_have_attribute("data-step", "0")
        expect(page.locator("#nowa")).to_contain_text("0 of")
        at_the_start = bars(page)
        page.fill("#stepa", page.locator("#stepa").get_attribute("max") or "")
        expect(page.locator("#a")).to_have_attribute("data-step", "36")
        assert bars(page) != at_the_start
        page.fill("#stepa", "0")
        expect(page.locator("#a")).to_have_attribute("data-step", "0")
        page.check("#compare")
        page.fill("#stepb", page.locator("#stepb").get_attribute("max") or "")
        expect(page.locator("#b")).to_have_attribute("data-step", "36")
        expect(page.locator("#heada")).to_have_text("Before the training")
        page.click("#groups button[data-group='last']")
        rows = page.locator("#rows tr")
        expect(rows.first.locator("td").nth(2)).not_to_be_empty()
        steps = [int(row.locator("td").nth(2).inner_text().replace(",", "")) for row in rows.all()]
        assert steps == sorted(steps, reverse=True)
        page.locator("#rows button").first.press("Enter")
        expect(page.locator("#a .layers")).to_be_visible()
        page.click("#play")
        expect(page.locator("#a")).not_to_have_attribute("data-step", "0", timeout=10_000)
        page.click("#play")
        assert page.evaluate("document.documentElement.scrollWidth") <= SCREENS[screen]["viewport"]["width"]
        screenshot(page, f"replay {screen}")
        serious(page)
