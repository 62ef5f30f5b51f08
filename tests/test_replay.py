"""``replay``: the network at any of its snapshots, and when it learned each image."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Outcome, fill, picture
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from underhood import train
from underhood.analysis.learned import NEVER, Learned, learned_last
from underhood.core.images import Dataset, Images
from underhood.data.read import read
from underhood.live.frames import spread_over_classes
from underhood.live.replay import Replay, make_replay_app
from underhood.live.server import served_page
from underhood.runs.checkpoint import load_run
from underhood.runs.snapshots import Snapshots, load_snapshots


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("replay") / "run"
    train("digits", model="conv", epochs=3, out=out, report=False)
    return out


def loaded(run: Path) -> tuple[Any, Snapshots]:
    found = load_run(run)
    snapshots = load_snapshots(found)
    assert snapshots
    return found, snapshots


def when_learned(run: Any, snapshots: Snapshots, images: Images) -> Learned:
    shown = Replay(run, snapshots, images)
    shown.predict_all(threading.Event())
    shown.part.restore(snapshots, len(snapshots) - 1)
    return Learned(snapshots.steps, shown.predicted, images.labels)


def labels_of(run: Path) -> list[str]:
    return [row.split(",")[2] for row in (run / "predictions.csv").read_text().splitlines()[1:]]


def test_replay_at_the_last_step_is_the_runs_own_network(run: Path, digits: Dataset) -> None:
    found, snapshots = loaded(run)
    shown = Replay(found, snapshots, digits.valid)
    learned = when_learned(found, snapshots, digits.valid)
    assert learned.predicted[-1].tolist() == [digits.classes.index(name) for name in labels_of(run)]
    assert learned.right[0].mean() < 0.3 < 0.9 < learned.right[-1].mean()
    watched = spread_over_classes(digits.valid.labels, 24)
    last = shown.frame(len(snapshots) - 1, 3, watched)
    own = {
        row[0]: float(row[5])  # before the temperature, which is found after the training
        for row in (line.split(",") for line in (run / "predictions.csv").read_text().splitlines()[1:])
    }
    for index, probabilities in zip(watched, last["probabilities"], strict=True):
        assert max(probabilities) == pytest.approx(own[digits.valid.names[index]], abs=1e-3)
    assert last["step"] == 36
    assert shown.frame(0, 3, watched)["probabilities"] != last["probabilities"]


@given(st.data())
def test_learned_at_and_forgotten_are_what_their_definitions_say(data: st.DataObject) -> None:
    count, images = data.draw(st.integers(1, 6)), data.draw(st.integers(0, 8))
    predicted = data.draw(arrays(np.int64, (count, images), elements=st.integers(0, 2)))
    labels = data.draw(arrays(np.int64, images, elements=st.integers(0, 2)))
    steps = tuple(range(0, 10 * count, 10))
    learned = Learned(steps, predicted, labels)
    for i in range(images):
        right = [bool(row[i] == labels[i]) for row in predicted]
        from_here = [steps[k] for k in range(count) if all(right[k:])]
        assert learned.learned_at()[i] == (from_here[0] if from_here else NEVER)
        assert learned.forgotten()[i] == sum(a and not b for a, b in pairwise(right))


@pytest.mark.parametrize("count", [1, 5, 40, 1000])
def test_the_images_learned_last_are_those_of_the_whole_table(run: Path, digits: Dataset, count: int) -> None:
    found, snapshots = loaded(run)
    before = {name: value.clone() for name, value in found.model.state_dict().items()}
    at = when_learned(found, snapshots, digits.valid).learned_at()
    last = learned_last(found, snapshots, digits.valid, count)
    assert [step for _, step in last] == sorted(at[at >= 0].tolist(), reverse=True)[:count]
    assert all(at[row] == step for row, step in last)
    assert all((value == before[name]).all() for name, value in found.model.state_dict().items())


def test_a_frozen_backbones_head_is_replayed(tmp_path: Path) -> None:
    files = {
        f"{label}/{i}.png": picture(i + 100 * k, 40, 40, colour=True) for k, label in enumerate("ab") for i in range(12)
    }
    fill(tmp_path / "data", files)
    train(tmp_path / "data", tune="head", size=32, epochs=2, out=tmp_path / "run", report=False)
    found, snapshots = loaded(tmp_path / "run")
    assert set(snapshots.tensors) == {"classifier.weight", "classifier.bias"}
    images = read(tmp_path / "data", preparation=found.preparation).valid
    learned = when_learned(found, snapshots, images)
    assert [images.classes[i] for i in learned.predicted[-1]] == labels_of(tmp_path / "run")
    frame = Replay(found, snapshots, images).frame(0, 0, [0, 1])
    assert frame["weights"] is None  # they do not see pixels
    assert [layer["kind"] for layer in frame["layers"]] == ["Linear"]


def test_the_page_answers_and_reads_only(run: Path, digits: Dataset) -> None:
    found, snapshots = loaded(run)
    shown = Replay(found, snapshots, digits.valid)
    with served_page(make_replay_app(shown), "127.0.0.1", 0) as address:

        def get(path: str, method: str = "GET") -> tuple[int, Any]:
            with closing(http.client.HTTPConnection(address[7:], timeout=30)) as connection:
                connection.request(method, path)
                response = connection.getresponse()
                content = response.read()
                return response.status, json.loads(content) if content.startswith(b"{") else content

        _, facts = get("/api/replay")
        assert facts["steps"] == list(snapshots.steps)
        assert facts["points"][0][0] == 1
        assert len(facts["epochs"]["rows"]) == 3
        assert get("/api/learned")[1] == {"done": 0, "total": len(snapshots)}
        shown.predict_all(threading.Event())
        _, learned = get("/api/learned")
        assert learned["counts"]["learned"] + learned["counts"]["never"] == 359
        assert get("/api/frame/5?chosen=2&watched=1,2,3")[1]["images"] == [1, 2, 3]
        for path in (
            "/api/frame/999",
            "/api/frame/-1",
            "/api/frame/0?chosen=359",
            "/api/frame/0?watched=x",
            "/api/image/359",
        ):
            assert get(path)[0] == 404, path
        assert get("/api/frame/x")[0] == 422
        assert get("/api/frame/0", "POST")[0] == 405
        assert b"<h1" in get("/")[1]


def test_a_run_without_snapshots_says_how_to_get_them(tmp_path: Path, underhood: Callable[..., Outcome]) -> None:
    train("digits", model="linear", epochs=1, snapshots=False, out=tmp_path / "run", report=False)
    outcome = underhood("replay", tmp_path / "run", "--no-browser")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "train again without --no-snapshots" in outcome.err


@pytest.mark.parametrize("damage", [b"", b"x" * 100, None])
def test_damaged_snapshots_are_an_error_of_one_line(
    run: Path, tmp_path: Path, underhood: Callable[..., Outcome], damage: bytes | None
) -> None:
    train("digits", model="linear", epochs=1, out=tmp_path / "run", report=False)
    other = (run / "snapshots.safetensors").read_bytes()  # of another network
    (tmp_path / "run/snapshots.safetensors").write_bytes(other if damage is None else damage)
    outcome = underhood("replay", tmp_path / "run", "--no-browser")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "snapshots.safetensors" in outcome.err


def test_the_command_serves_until_it_is_stopped(run: Path) -> None:
    command = [sys.executable, "-m", "underhood", "replay", str(run), "--no-browser", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    ) as process:
        assert process.stdout
        found = next(one for line in process.stdout if (one := re.search(r"http://[\w.:]+", line)))
        with closing(http.client.HTTPConnection(found[0][7:], timeout=30)) as connection:
            connection.request("GET", "/api/replay")
            assert connection.getresponse().status == 200
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_the_report_shows_weights_over_the_training_and_the_images_learned_last(run: Path) -> None:
    from underhood import report

    (run / "interventions.csv").write_text("step,what,from,to\n5,lr,0.01,0.1\n")
    page = Path(report(run)["report"]).read_text()
    (run / "interventions.csv").unlink()
    assert "Weights of the first layer during the training" in page
    assert "step 0" in page
    assert page.count(", from step ") == 10
    assert "from step 5 on, the highest learning rate is 0.1; it was 0.01" in page
