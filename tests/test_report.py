"""The report is one self-contained page, a function of the run folder and the images that it was trained on."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import Outcome, picture
from PIL import Image

from underhood import Interpretation, RunError, report, train
from underhood.analysis import ood
from underhood.data import cache

Command = Callable[..., Outcome]


class Page(HTMLParser):
    """Its text and headings, the addresses that it loads, and whether every tag is closed."""

    EMPTY = frozenset({"meta", "img", "br"})

    def __init__(self, text: str):
        super().__init__()
        self.words, self.loads, self.open = "", [], []  # type: str, list[str], list[str]
        self.headings: list[str] = []
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
        if self.open and self.open[-1] in ("h2", "h3"):
            self.headings.append(data)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "run"
    result = train("digits", model="conv", epochs=4, out=out)
    assert result["report"] == str(out / "report.html")
    return out


def test_it_is_one_page_without_scripts_that_loads_nothing(run: Path) -> None:
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


def test_it_has_the_usual_headings(run: Path) -> None:
    headings = Page((run / "report.html").read_text()).headings
    expected = ["Learning rate and momentum", "Precision and recall", "Confusion matrix", "Calibration",
                "Out-of-distribution images", "Attributions"]  # fmt: skip
    assert [heading for heading in headings if heading in expected] == expected


def test_its_figures_are_those_of_the_files(run: Path) -> None:
    words = " ".join(Page((run / "report.html").read_text()).words.split())
    rows = [line.split(",") for line in (run / "predictions.csv").read_text().splitlines()[1:]]
    right = sum(row[1] == row[2] for row in rows)
    assert f"The model classifies {right} of 359 validation images correctly." in words
    assert f"{right / 359:.2%} accuracy" in words
    worst = max((row for row in rows if row[1] != row[2]), key=lambda row: float(row[4]))
    assert f"{worst[0]} {worst[1]}, predicted {worst[2]}" in words
    for line in json.loads((run / "data.json").read_text())["notes"]:
        assert line in words
    assert "4 epochs of batches of 128 with adamw" in words
    for kind, images, rejected in ood.read_ood(run):
        assert f"{kind} {images} {rejected}" in words


def test_it_shows_attributions_and_nearest_training_images(run: Path) -> None:
    text = (run / "report.html").read_text()
    words = " ".join(Page(text).words.split())
    worst = Interpretation.from_run(run).top_losses(1)[0]
    assert f"Predicted {worst.predicted} ({worst.probability:.0%}), label {worst.label}" in words
    trained_on = {row.split(",")[1] for row in (run / "pictures.csv").read_text().splitlines() if row[:6] == "train,"}
    near = re.findall(r"([0-9]/[0-9]+\.png) [0-9]", words[words.rindex("Attributions") :])
    assert len(trained_on & set(near)) >= 12
    sums = r"start (-?[0-9.]+) pixels ([+-][0-9.]+) logit (-?[0-9.]+)"
    start, pixels, logit = re.search(sums, words).groups()  # type: ignore[union-attr]
    assert float(start) + float(pixels) == pytest.approx(float(logit), abs=0.01 * abs(float(pixels)) + 0.02)
    assert "Norm of the weights' gradient" in words


def test_it_is_the_same_when_written_again(run: Path, underhood: Command) -> None:
    before = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    assert underhood("report", run, "--json").json["bytes"] == len(before)
    assert (run / "report.html").read_bytes() == before


def test_it_depends_on_the_run_and_its_data_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (run / "report.html").read_bytes()

    def forbidden(*_: object) -> None:
        raise AssertionError("a report must not look at other data, nor at the cache")

    for module, name in ((ood, "count_ood"), (ood, "read_named"), (cache, "cache_folder")):
        monkeypatch.setattr(module, name, forbidden)
    report(run)
    assert (run / "report.html").read_bytes() == before


def test_a_missing_ood_csv_is_counted_from_the_run_alone(run: Path) -> None:
    rows = (run / "ood.csv").read_bytes()
    assert rows.startswith(b"kind,images,rejected\nnoise,120,")
    (run / "ood.csv").unlink()
    try:
        report(run)
        assert "Out-of-distribution" in (run / "report.html").read_text()
        written = (run / "ood.csv").read_bytes()
        assert rows.startswith(written)  # without what else is on this machine
        (run / "ood.csv").write_bytes(rows.replace(b",120,", b",many,"))
        with pytest.raises(RunError, match=r"ood\.csv is damaged"):
            report(run)
    finally:
        (run / "ood.csv").write_bytes(rows)
        report(run)


def test_no_report_writes_none(underhood: Command) -> None:
    done = underhood("train", "--model", "linear", "--epochs", 1, "--no-report", "--out", "run", "--json")
    assert "report" not in done.json
    assert not Path("run/report.html").exists()
    assert underhood("report", "run").code == 0
    assert Path("run/report.html").exists()


def test_class_names_are_escaped(tmp_path: Path) -> None:
    for number, name in enumerate(["<script>alert(1)<", "a & b \"quoted\" 'so'", "ünï©ode " + "long " * 30]):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(6):
            picture(10 * number + i, 30, 20, colour=True).save(tmp_path / "data" / name / f"{i}.png")
    result = train(tmp_path / "data", model="linear", epochs=1, out=tmp_path / "run")
    text = Path(result["report"]).read_text()
    assert "<script" not in text
    assert not Page(text).open
    assert "<script>alert(1)<" in Page(text).words


def test_changed_images_are_an_error_that_names_them(small_folder: Path, tmp_path: Path) -> None:
    train(small_folder, model="net", epochs=1, out=tmp_path / "run")
    Image.new("L", (12, 12)).save(small_folder / "dark" / "0.png")
    with pytest.raises(RunError, match=r"dark/0.png has other pixels"):
        report(tmp_path / "run")
    with pytest.raises(RunError):
        report(tmp_path)
