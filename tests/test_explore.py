"""``explore``: one file with a run's network, and the certificate that it predicts what torch does."""

import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import picture

from underhood import RunError, read, train
from underhood.analysis.calibration import REASONS, answers
from underhood.analysis.inference import answers_of, logits_and_distances, predict_proba
from underhood.display.tables import exploration
from underhood.explorer import certificate, page_data, render, scales_tall_images_by_columns_first
from underhood.explorer.answers import Expected, calibration_data, calibration_for_page, expected_answers
from underhood.explorer.certificate import BrowserError, Found, certify, compare, find_browser, uncertified
from underhood.explorer.images import sprite
from underhood.explorer.weights import SNAPSHOTS, export_layers, export_network
from underhood.jobs import explore as exploring
from underhood.jobs.explore import explore
from underhood.preparation.files import open_image
from underhood.runs.calibration import CALIBRATION_FILE, Calibration
from underhood.runs.checkpoint import load_run
from underhood.runs.snapshots import load_snapshots, spread_over_steps
from underhood.training import Reporter

needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium: apt-get install chromium")


class Lines(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)

    warn = log


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("explore") / "run"
    train("digits", model="conv", epochs=2, limit=600, out=out, report=False)
    return out


@pytest.fixture
def no_browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def data_of(page: str | Path) -> dict[str, Any]:
    text = page.read_text("utf-8") if isinstance(page, Path) else page
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


@needs_browser
@pytest.mark.parametrize("model", ["linear", "net", "conv"])
def test_a_page_predicts_what_torch_does_and_says_so(model: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train("digits", model=model, epochs=1, limit=300, out=out, report=False)
    result = explore(out)
    assert (result["certified"], result["images"], result["agree"]) == (True, 60, 60)
    assert (result["sets_agree"], result["rejections_agree"]) == (60, 60)
    assert result["max_difference"] is not None
    assert result["max_difference"] <= 1e-5
    page = Path(result["explore"])
    assert page == out / "explore.html"
    assert (result["bytes"], result["model"], result["run"]) == (page.stat().st_size, model, str(out))
    assert result["bytes"] < 1_500_000
    assert data_of(page)["certificate"] == {name: result[name] for name in certificate.Certificate.__annotations__}
    assert result["browser"] is not None
    assert result["browser"].startswith("Chromium ")


@needs_browser
def test_colour_images_too(tmp_path: Path) -> None:
    for label in ("a", "b", "</script><b>"):
        folder = tmp_path / "photos" / label.replace("/", "∕")
        folder.mkdir(parents=True)
        for i in range(10):
            picture(10 * len(label) + i, 40, 30, colour=True).save(folder / f"{i}.png")
    out = tmp_path / "run"
    train(tmp_path / "photos", model="conv", epochs=1, size=24, out=out, report=False)
    result = explore(out)
    assert result["certified"]
    images = len(read(tmp_path / "photos", size=24).valid)
    assert result["images"] == result["agree"] == result["sets_agree"] == result["rejections_agree"] == images


@needs_browser
def test_a_mirrored_network_too_whose_features_are_those_of_the_image_as_it_is(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(20):
            picture(ord(label) + i, 16, 16, colour=True).save(tmp_path / "data" / label / f"{i}.png")
    out = tmp_path / "run"
    train(tmp_path / "data", model="conv", epochs=1, effort="best", flip=True, out=out, report=False)
    assert load_run(out).architecture.mirrored
    result = explore(out)
    assert result["images"] == result["agree"] == result["sets_agree"] == result["rejections_agree"] > 0


@needs_browser
def test_an_older_run_has_neither_sets_nor_distances(tmp_path: Path) -> None:
    out = tmp_path / "run"
    train("digits", model="net", epochs=1, limit=300, out=out, report=False)
    (out / CALIBRATION_FILE).unlink()
    result = explore(out)
    assert (result["agree"], result["sets_agree"], result["rejections_agree"]) == (60, None, 60)
    shown = data_of(Path(result["explore"]))["calibration"]
    assert shown == {"temperature": 1.0, "coverage": None, "limits": [], "distance_limit": None, "rank": None,
                     "projection": None, "prototypes": None}  # fmt: skip
    assert "the same set" not in exploration(dict(result))


@needs_browser
def test_answers_of_every_kind_are_compared(run: Path) -> None:
    """Limits in the middle of what is predicted: sets of several labels, and rejections for each reason."""
    loaded = load_run(run)
    pixels = read("digits", limit=600).valid.pixels.copy()
    pixels[:5] = 7
    _, distances = logits_and_distances(loaded.model, pixels, loaded.calibration)
    assert distances is not None
    probabilities = answers_of(loaded, pixels).probabilities
    loaded = replace(
        loaded,
        calibration=replace(
            loaded.calibration,
            threshold=float(np.quantile(probabilities.max(axis=1), 0.3)) + 1e-4,
            limits=tuple((np.quantile(probabilities, 0.8, axis=0) + 1e-4).tolist()),
            distance_limit=float(np.quantile(distances, 0.7)) + 1e-4,
        ),
    )
    expected = expected_answers(loaded, pixels)
    said = answers_of(loaded, pixels)
    assert said.reasons == expected.said.reasons
    assert set(said.reasons) == set(REASONS)
    assert said.sets is not None
    assert len({*said.sets.sum(axis=1).tolist()}) > 3
    network = export_network(loaded, None)
    data = page_data(loaded, network, read("digits", limit=600)) | {"threshold": loaded.calibration.threshold}
    browser = find_browser()
    assert browser is not None
    found = certify(render(data, uncertified(0)), browser, expected)
    assert (found["agree"], found["sets_agree"], found["rejections_agree"]) == (120, 120, 120)


def test_a_page_needs_nothing_from_elsewhere(run: Path, no_browser: None) -> None:
    page = Path(explore(run)["explore"]).read_text("utf-8")
    assert not re.search(r"https?://|//[a-z]+\.[a-z]+/|@import|url\((?!data:)", page)
    assert not re.search(r'\b(src|href)="(?!data:|#)', page)
    assert "default-src 'none'" in page
    assert "/* include" not in page
    assert "{{" not in page
    assert str(run.parent) not in page


def test_without_chromium_a_page_is_not_certified(run: Path, no_browser: None) -> None:
    lines = Lines()
    result = explore(run, reporter=lines)
    assert (result["certified"], result["browser"], result["max_difference"]) == (False, None, None)
    assert (result["images"], result["agree"], result["sets_agree"], result["rejections_agree"]) == (120, 0, None, 0)
    assert data_of(Path(result["explore"]))["certificate"]["certified"] is False
    assert any("apt-get install chromium" in line for line in lines.lines)


def test_a_browser_that_gives_no_result_is_reported(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\necho nothing\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    lines = Lines()
    assert explore(run, reporter=lines)["certified"] is False
    assert any("it printed no result" in line for line in lines.lines)
    with pytest.raises(BrowserError, match="cannot be started"):
        certify("", str(tmp_path / "none"), said([[0.2, 0.8]]))


@needs_browser
@pytest.mark.parametrize("what", ["a weight", "a limit", "a prototype"])
def test_what_was_tampered_with_is_found_and_nothing_is_written(
    what: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "explore.html").unlink(missing_ok=True)

    def tampered(*arguments: Any) -> str:
        data = data_of(render(*arguments))
        packed = data["network"]["snapshots"][-1] if what == "a weight" else data["calibration"]["prototypes"]
        if what == "a limit":
            data["calibration"]["limits"] = [0.0] * 10
        else:
            numbers = np.frombuffer(base64.b64decode(packed["base64"]), "<f4").copy()
            numbers[-1:] += 0.5  # a bias of the last layer
            numbers[: -1 if what == "a prototype" else 0] *= 0.5
            packed["base64"] = base64.b64encode(numbers.tobytes()).decode()
        return render(data, uncertified(0))

    monkeypatch.setattr("underhood.explorer.render", tampered)
    with pytest.raises(RunError, match="differs from the run's"):
        explore(run)
    assert not (run / "explore.html").exists()


def said(rows: Any, **calibration: Any) -> Expected:
    """What torch says of images that are not blank, by their probabilities; all are at a distance of 0.1."""
    probabilities = np.array(rows, np.float32)
    pixels = np.arange(2 * len(rows), dtype=np.uint8).reshape(-1, 1, 1, 2)
    distances, given = np.full(len(rows), 0.1, np.float32), Calibration(**calibration)
    return Expected(given, pixels, answers(given, pixels, probabilities, distances), distances)


def found(rows: Any, sets: Any = None, reasons: Any = None) -> Found:
    probabilities = np.array(rows, np.float32)
    sets = np.zeros(probabilities.shape, bool) if sets is None else np.array(sets, bool)
    return Found(probabilities, sets, np.zeros(len(rows), int) if reasons is None else np.array(reasons), "Chromium 1")


def test_the_comparison_counts_ties_as_equal() -> None:
    expected = said([[0.5, 0.49999, 0.00001], [0.1, 0.8, 0.1]])
    result = compare(found([[0.49999, 0.5, 0.00001], [0.1, 0.8, 0.1]]), expected)
    assert (result["agree"], result["sets_agree"], result["rejections_agree"]) == (2, None, 2)
    for wrong in ([[0.1, 0.8, 0.1]] * 2, np.full((2, 3), np.nan)):
        with pytest.raises(RunError, match="nothing is written"):
            compare(found(wrong), expected)


def test_sets_and_rejections_must_agree_except_where_a_number_is_at_its_limit() -> None:
    rows = [[0.7, 0.3], [0.2, 0.8]]
    expected = said(rows, limits=(0.25, 0.300001), coverage=0.9, threshold=0.700001, distance_limit=0.2)
    assert expected.said.reasons == ["confidence", ""]
    alike = [found(rows, [[1, second], [0, 1]], [first, 0]) for second in (0, 1) for first in (0, 3)]
    for one in alike:
        assert compare(one, expected)["sets_agree"] == compare(one, expected)["rejections_agree"] == 2
    for sets, reasons, counted in (
        ([[1, 0], [1, 1]], [3, 0], "2 labels, 1 sets and 2 rejections agree"),
        ([[0, 1], [0, 1]], [3, 0], "2 labels, 1 sets and 2 rejections agree"),
        ([[1, 0], [0, 1]], [2, 3], "2 labels, 2 sets and 0 rejections agree"),
        ([[1, 0], [0, 1]], [3, 1], "2 labels, 2 sets and 1 rejections agree"),
    ):
        with pytest.raises(RunError, match=counted):
            compare(found(rows, sets, reasons), expected)


@pytest.mark.skipif(shutil.which("node") is None, reason="no node")
def test_a_distance_of_nan_is_beyond_every_limit_on_the_page_too() -> None:
    program = (Path(certificate.__file__).parent / "answer.js").read_text("utf-8") + (
        "const calibration = { threshold: 0, distance_limit: 0.5 }, pixels = { data: [0, 1] };"
        "console.log([NaN, 0.6, 0.5, null].map((distance) => reasonOf(calibration, pixels, 1, distance)).join());"
    )
    done = subprocess.run(["node", "-e", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "distance,distance,,\n", done.stderr


def test_a_page_has_the_run_s_calibration_without_distances_where_they_are_too_large(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = load_run(run).calibration
    shown = calibration_data(calibration_for_page(given))
    assert given.prototypes is not None
    assert base64.b64decode(shown["prototypes"]["base64"]) == given.prototypes.tobytes()
    assert shown["rank"] == given.prototypes.shape[1]
    assert (shown["temperature"], shown["limits"]) == (given.temperature, list(given.limits))
    monkeypatch.setattr("underhood.explorer.answers.MAX_WEIGHTS", given.prototypes.size)
    shown = calibration_data(calibration_for_page(given))
    assert (shown["distance_limit"], shown["rank"], shown["projection"], shown["prototypes"]) == (None,) * 4
    assert shown["limits"] == list(given.limits)


@pytest.mark.parametrize("model", ["vgg", "resnet18"])
def test_a_larger_model_is_refused_in_one_line(model: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train("digits", model=model, epochs=1, limit=100, out=out, report=False)
    with pytest.raises(RunError, match=f"too large for one file.*underhood serve {re.escape(str(out))}$"):
        explore(out)
    assert not (out / "explore.html").exists()


def test_changed_images_are_refused(tmp_path: Path, no_browser: None) -> None:
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(10):
            picture(ord(label) + i, 12, 12).save(tmp_path / "data" / label / f"{i}.png")
    out = tmp_path / "run"
    train(tmp_path / "data", model="linear", epochs=1, out=out, report=False)
    picture(99, 12, 12).save(tmp_path / "data" / "a" / "0.png")
    with pytest.raises(RunError, match=r"have changed since \(.*restore them"):
        explore(out)


def test_the_last_snapshot_is_the_run_s_weights_bit_for_bit(run: Path) -> None:
    loaded = load_run(run)
    snapshots = load_snapshots(loaded)
    assert snapshots is not None
    network = export_network(loaded, snapshots)
    layers, names = export_layers(loaded.model)
    assert [layer["type"] for layer in layers][:4] == ["normalize", "conv2d", "batchNorm", "relu"]
    assert (layers[-1]["type"], layers[-1]["tensors"]["weight"]["shape"]) == ("linear", [10, 192])
    *earlier, last = network["snapshots"]
    state = loaded.model.state_dict()
    whole = np.concatenate([state[name].contiguous().numpy().ravel() for name in names])
    assert last["dtype"] == "float32"
    assert base64.b64decode(last["base64"]) == whole.tobytes()
    assert [one["step"] for one in network["snapshots"]] == [
        snapshots.steps[i] for i in spread_over_steps(snapshots.steps, SNAPSHOTS)
    ]
    assert earlier[0]["step"] == 0
    first = np.frombuffer(base64.b64decode(earlier[0]["base64"]), "<f2").astype(np.float32)
    tensors = snapshots.state(0)
    exact = np.concatenate([tensors[name].float().contiguous().numpy().ravel() for name in names])
    assert first == pytest.approx(exact, rel=1e-3, abs=1e-6)
    without = export_network(loaded, None)["snapshots"]
    assert [(one["step"], one["base64"]) for one in without] == [(None, last["base64"])]


def test_steps_are_spread_by_equal_factors() -> None:
    steps = [0, *range(1, 10), *range(10, 100, 10), *range(100, 1000, 100), 1234]
    chosen = [steps[i] for i in spread_over_steps(steps, SNAPSHOTS)]
    assert (chosen[0], chosen[-1]) == (0, 1234)
    assert 10 <= len(chosen) <= 12
    assert sum(step < 40 for step in chosen) >= 5
    assert spread_over_steps([0, 5, 9], SNAPSHOTS) == [0, 1, 2]
    assert [steps[i] for i in spread_over_steps(steps, 2)] == [0, 1234]
    assert [steps[i] for i in spread_over_steps(steps, 1)] == [1234]


def test_images_are_chosen_by_their_size_in_the_page(run: Path) -> None:
    dataset = read("digits", limit=600)
    loaded = load_run(run)
    data = page_data(loaded, export_network(loaded, None), dataset)
    predicted = predict_proba(loaded.model, dataset.valid.pixels).argmax(dim=1).numpy()
    wrong = int((predicted != dataset.valid.labels).sum())
    rows = data["valid"]["rows"]
    assert sum(label != answer for label, answer, _ in rows) == wrong
    assert sum(number for _, _, number in data["valid"]["counts"]) == len(dataset.valid)
    assert len(rows) == sum(one["count"] for one in data["valid"]["sprites"])
    labels = data["train"]["labels"]
    assert len(labels) == data["train"]["sprites"][0]["count"] == len(dataset.train)
    assert sorted(labels[:10]) == list(range(10))


def test_a_sprite_has_the_exact_pixels_of_as_many_images_as_fit(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 3, 20, 30), dtype=np.uint8)
    whole, part = sprite(pixels, 10**7), sprite(pixels, 200_000)
    assert (whole["count"], whole["columns"]) == (300, 68)
    assert 50 < part["count"] < 120
    assert len(part["address"]) <= 200_000
    assert sprite(pixels[:0], 1000)["count"] == sprite(pixels, 10)["count"] == 0
    (tmp_path / "sprite.png").write_bytes(base64.b64decode(whole["address"].partition(",")[2]))
    image = np.asarray(open_image(tmp_path / "sprite.png").image)
    row, column = divmod(299, 68)
    tile = image[20 * row : 20 * row + 20, 30 * column : 30 * column + 30]
    assert (tile.transpose(2, 0, 1) == pixels[299]).all()


def test_the_job_writes_no_half_page(run: Path, monkeypatch: pytest.MonkeyPatch, no_browser: None) -> None:
    before = Path(explore(run)["explore"]).read_bytes()

    def full(path: Path, content: bytes) -> None:
        raise RunError("no space")

    monkeypatch.setattr(exploring, "atomic_write", full)
    with pytest.raises(RunError, match="no space"):
        explore(run)
    assert (run / "explore.html").read_bytes() == before
    assert isinstance(scales_tall_images_by_columns_first(), bool)
