"""The report is one page that needs nothing else, and says what the run's files say."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import Outcome, picture
from PIL import Image

from underhood import Interpretation, RunError, train
from underhood.jobs import report

Command = Callable[..., Outcome]


class Page(HTMLParser):
    """Its text, the addresses that it loads, and whether every tag is closed."""

    EMPTY = frozenset({"meta", "img", "br"})

    def __init__(self, text: str):
        super().__init__()
        self.words, self.loads, self.open = "", [], []  # type: str, list[str], list[str]
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data + " "


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "run"
    result = train("digits", model="conv", epochs=4, out=out)
    assert result["report"] == str(out / "report.html")
    return out


def test_it_is_one_page_that_loads_nothing_and_runs_nothing(run: Path) -> None:
    text = (run / "report.html").read_text()
    page = Page(text)
    assert not page.open
    assert all(address.startswith(("data:image/", "#")) for address in page.loads)
    assert "<script" not in text
    assert "http-equiv" not in text
    assert len(text) < 1_000_000
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(svg)
        assert "#010203" not in svg


def test_it_says_what_the_files_say(run: Path) -> None:
    words = " ".join(Page((run / "report.html").read_text()).words.split())
    rows = [line.split(",") for line in (run / "predictions.csv").read_text().splitlines()[1:]]
    right = sum(row[1] == row[2] for row in rows)
    assert f"Of 359 pictures that it did not train on, the model tells {right} right." in words
    assert f"{right / 359:.2%} accuracy" in words
    worst = max((row for row in rows if row[1] != row[2]), key=lambda row: float(row[4]))
    assert f"{worst[0]} {worst[1]}, taken for {worst[2]}" in words
    for line in json.loads((run / "data.json").read_text())["notes"]:
        assert line in words
    assert "4 epochs of batches of 128 with adamw" in words


def test_it_explains_pictures_and_names_their_neighbours(run: Path) -> None:
    text = (run / "report.html").read_text()
    words = " ".join(Page(text).words.split())
    worst = Interpretation.from_run(run).top_losses(1)[0]
    assert f"Taken for {worst.predicted} ({worst.probability:.0%}), and is {worst.label}" in words
    trained_on = {row.split(",")[1] for row in (run / "pictures.csv").read_text().splitlines() if row[:6] == "train,"}
    near = re.findall(r"([0-9]/[0-9]+\.png) [0-9]", words[words.index("Why it says so") :])
    assert len(trained_on & set(near)) >= 12
    start, pixels, logit = re.search(r"([+-][0-9.]+) and pixels ([+-][0-9.]+) make (-?[0-9.]+)", words).groups()  # type: ignore[union-attr]
    assert float(start) + float(pixels) == pytest.approx(float(logit), abs=0.01 * abs(float(pixels)) + 0.02)
    assert "Norm of its weights' gradient" in text


def test_written_again_it_is_the_same(run: Path, underhood: Command) -> None:
    before = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    told = underhood("report", run, "--json").json
    assert told["bytes"] == len(before)
    assert (run / "report.html").read_bytes() == before


def test_no_report_leaves_it_out(underhood: Command) -> None:
    done = underhood("train", "--model", "linear", "--epochs", 1, "--no-report", "--out", "run", "--json")
    assert "report" not in done.json
    assert not Path("run/report.html").exists()
    assert underhood("report", "run").code == 0
    assert Path("run/report.html").exists()


def test_names_that_look_like_code_are_only_names(tmp_path: Path) -> None:
    for number, name in enumerate(["<script>alert(1)<", "a & b \"quoted\" 'so'", "ünï©ode " + "long " * 30]):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(6):
            picture(10 * number + i, 30, 20, colour=True).save(tmp_path / "data" / name / f"{i}.png")
    result = train(tmp_path / "data", model="linear", epochs=1, out=tmp_path / "run")
    text = Path(result["report"]).read_text()
    assert "<script" not in text
    assert not Page(text).open
    assert "<script>alert(1)<" in Page(text).words


def test_changed_pictures_are_refused_by_name(small_folder: Path, tmp_path: Path) -> None:
    train(small_folder, model="net", epochs=1, out=tmp_path / "run")
    Image.new("L", (12, 12)).save(small_folder / "dark" / "0.png")
    with pytest.raises(RunError, match=r"dark/0.png has other pixels"):
        report(tmp_path / "run")
    with pytest.raises(RunError):
        report(tmp_path)
