"""The course's own page: what it shows, what it refuses, and how a lesson is put back."""

import base64
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from underhood.core.errors import UnderhoodError
from underhood.jobs.lessons import copy_lessons
from underhood.lessons import PROGRESS, files
from underhood.lessons.course import ABOUT, lessons, make_app, reset
from underhood.lessons.sheet import read_sheet

NOTEBOOKS = "http://127.0.0.1:1"  # nobody listens there


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_lessons(tmp_path / "lessons")


@pytest.fixture
def client(folder: Path) -> TestClient:
    return TestClient(make_app(folder, NOTEBOOKS, "secret"), base_url="http://127.0.0.1")


def test_the_page_shows_each_lesson_what_it_is_about_and_what_is_solved(client: TestClient, folder: Path) -> None:
    (folder / PROGRESS).write_text(json.dumps({"1.1": "2026-01-31", "1.2": "2026-01-31"}))
    page = client.get("/?access_token=secret").text
    assert re.findall(r"<h2><a [^>]*>(\d+) · ", page) == [str(number) for number in range(1, 20)]
    assert all(about in page.replace("&#39;", "'") for about in ABOUT.values())
    assert re.search(r"2 of\s+4 exercises solved", page)
    assert "/?file=01_pixels.py&amp;access_token=secret" in page


def test_each_lesson_says_how_long_it_takes_and_has_exercises(folder: Path) -> None:
    for lesson in lessons(folder)[:17]:
        assert lesson.time, lesson.name
        assert lesson.exercises >= 3, lesson.name


def test_every_lesson_is_described() -> None:
    assert list(ABOUT) == [file.name[:2] for file in files()]


def test_without_the_token_nothing_is_shown_or_reset(client: TestClient, folder: Path) -> None:
    (folder / "01_pixels.py").write_text("mine")
    assert client.get("/").status_code == 403
    assert client.get("/?access_token=guess").status_code == 403
    assert client.post("/reset/01_pixels.py").status_code == 403
    assert (folder / "01_pixels.py").read_text() == "mine"


def test_another_name_for_this_machine_is_refused(client: TestClient) -> None:
    assert client.get("/?access_token=secret", headers={"Host": "evil.example"}).status_code == 400


def test_a_lesson_is_put_back_and_the_readers_copy_kept(client: TestClient, folder: Path) -> None:
    (folder / PROGRESS).write_text(json.dumps({"1.1": "2026-01-31", "11.1": "2026-01-31"}))
    (folder / "01_pixels.py").write_text("mine")
    client.get("/?access_token=secret")
    assert client.post("/reset/01_pixels.py", follow_redirects=False).status_code == 303
    assert (folder / "01_pixels.py").read_bytes() == files()[0].read_bytes()
    assert (folder / "before-reset" / "01_pixels.py").read_text() == "mine"
    assert json.loads((folder / PROGRESS).read_text()) == {"11.1": "2026-01-31"}
    assert client.post("/reset/other.py").status_code == 404


def test_damaged_progress_does_not_stop_the_page_and_is_named_by_reset(client: TestClient, folder: Path) -> None:
    (folder / PROGRESS).write_text("{")
    assert client.get("/?access_token=secret").status_code == 200
    with pytest.raises(UnderhoodError, match=r"progress\.json is damaged"):
        reset(folder, "01_pixels.py")
    failed = client.post("/reset/01_pixels.py")
    assert failed.status_code == 500
    assert "progress.json is damaged" in failed.text


def test_what_is_drawn_on_the_sheet_is_an_image() -> None:
    assert read_sheet("") is None
    with io.BytesIO() as file:
        Image.new("RGB", (280, 280), "white").save(file, "PNG")
        png = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    sheet = read_sheet(png)
    assert sheet
    assert (sheet.size, sheet.mode, sheet.getextrema()) == ((280, 280), "L", (255, 255))
