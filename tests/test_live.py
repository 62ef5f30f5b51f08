"""``train --live``: a page that shows a training and steers it. Watching changes no byte of the run."""

import base64
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Outcome, fill, picture
from hypothesis import given, strategies as st

from underhood import DataLoaders, Dataset, Learner, LivePanel, build_model, predict_proba, train
from underhood.core.errors import DivergedError
from underhood.core.models import Architecture
from underhood.live import server
from underhood.live.frames import WATCHED, frame, packed, spread_over_classes, subject_of
from underhood.live.hub import MOST_POINTS, NOTHING, Hub
from underhood.live.server import LivePage, live_page
from underhood.training import Reporter

SAME = ("weights.safetensors", "metrics.csv", "predictions.csv", "steps.csv", "layers.csv", "snapshots.safetensors")
OPTIONS: dict[str, Any] = {"epochs": 3, "batch_size": 128, "report": False}  # 36 steps
CONTROL = "/api/control"


class Log(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)

    @property
    def port(self) -> int:
        (found,) = (re.search(r":(\d+)", line) for line in self.lines if line.startswith("live: "))
        assert found
        return int(found[1])


class Reader:
    """Reads the stream of events in a thread, and keeps the last of each kind."""

    def __init__(self, port: int, token: str = ""):
        self.port, self.token = port, token
        self.last: dict[str, Any] = {}
        self.points: list[list[float]] = []
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._connection.request("GET", f"/api/events?token={token}")
        self._response = self._connection.getresponse()
        assert self._response.status == 200
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        kind = ""
        with closing(self._connection), closing(self._response), suppress(OSError, http.client.HTTPException):
            for line in self._response:
                if line.startswith(b"event: "):
                    kind = line[7:].decode().strip()
                elif line.startswith(b"data: "):
                    content = json.loads(line[6:])
                    if kind == "curve":
                        self.points = content["points"] if content["whole"] else self.points + content["points"]
                    self.last[kind] = content

    def leave(self) -> None:
        self._connection.sock.shutdown(2)

    def wait(self, condition: Callable[[dict[str, Any]], Any], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not (self.last.keys() >= {"state", "you"} and condition(self.last)):
            assert time.monotonic() < deadline, self.last.get("state")
            time.sleep(0.01)

    def ask(self, action: str, value: float | None = None, key: str | None = None, **headers: str) -> int:
        own = self.token or self.last.get("you", {}).get("key", "")
        body = json.dumps({"action": action, "value": value, "key": own if key is None else key})
        return status(self.port, "POST", CONTROL, body.encode(), {"Content-Type": "application/json"} | headers)

    def finish(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()


def status(port: int, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, body, headers or {})
        return connection.getresponse().status


@contextmanager
def training(out: Path, watcher: LivePage, **options: Any) -> Iterator[dict[str, Any]]:
    """A training in a thread. What it returns is the content of the dictionary."""
    result: dict[str, Any] = {}

    def work() -> None:
        result.update(train("digits", out=out, watcher=watcher, **OPTIONS | options) or {})

    thread = threading.Thread(target=work)
    thread.start()
    yield result
    thread.join(120)
    assert not thread.is_alive()


def paused_page(log: Log, **options: Any) -> Any:
    """A live page whose training is paused before its first step."""
    page = live_page(port=0, browser=False, reporter=log, **options)
    watcher = page.__enter__()
    watcher.hub.ask({"action": "pause", "value": None})
    return page, watcher


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that nobody watches."""
    folder = tmp_path_factory.mktemp("plain")
    for model in ("conv", "net"):
        train("digits", model=model, out=folder / model, **OPTIONS)  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize("model", ["conv", "net"])
def test_a_run_that_is_watched_has_the_bytes_of_one_that_is_not(plain: Path, tmp_path: Path, model: str) -> None:
    log = Log()
    with live_page(port=0, browser=False, reporter=log) as watcher:
        reader = Reader(log.port)
        train("digits", model=model, out=tmp_path / "run", watcher=watcher, **OPTIONS)  # type: ignore[arg-type]
    reader.finish()
    for name in SAME:
        assert (tmp_path / "run" / name).read_bytes() == (plain / model / name).read_bytes(), name
    assert not (tmp_path / "run/interventions.csv").exists()
    assert [point[0] for point in reader.points] == list(range(1, 37))
    rows = (tmp_path / "run/steps.csv").read_text().splitlines()[1:]
    assert [point[1] for point in reader.points] == pytest.approx([float(row.split(",")[1]) for row in rows], rel=1e-4)
    last = reader.last
    assert last["state"]["step"] == last["start"]["total"] == last["frame"]["step"] == 36
    assert len(last["epochs"]["rows"]) == 3
    assert last["frame"]["right"] / last["frame"]["known"] == last["epochs"]["rows"][-1][2]
    assert np.sum(last["frame"]["confusion"]) == last["start"]["images"] == 359
    assert "the training is over" in last["end"]["text"].lower()


def test_pause_stops_the_steps_one_step_takes_one_and_one_epoch_ends_it(tmp_path: Path) -> None:
    page, watcher = paused_page(log := Log())
    with training(tmp_path / "run", watcher, model="net"):
        reader = Reader(log.port)
        reader.wait(lambda last: last["state"]["mode"] == "pause")
        assert reader.last["state"]["step"] == 0
        time.sleep(0.5)
        assert reader.last["state"]["step"] == 0
        for number in (1, 2):
            assert reader.ask("step") == 200
            reader.wait(
                lambda last, number=number: last["frame"]["step"] == number and last["state"]["mode"] == "pause"
            )
        assert reader.ask("epoch") == 200
        reader.wait(lambda last: last["state"]["step"] == 12 and last["state"]["mode"] == "pause")
        assert len(reader.last["epochs"]["rows"]) == 1
        assert reader.ask("resume") == 200
    page.__exit__(None, None, None)
    reader.finish()
    assert reader.last["state"]["step"] == 36


def test_the_dial_changes_the_next_steps_rate_and_is_recorded(tmp_path: Path) -> None:
    page, watcher = paused_page(log := Log())
    with training(tmp_path / "run", watcher, model="net", schedule="flat") as result:
        reader = Reader(log.port)
        reader.wait(lambda last: last["state"]["mode"] == "pause")
        for wrong in (0, -1, 1e9, None):
            assert reader.ask("lr", wrong) == 422
        assert reader.ask("step") == 200
        reader.wait(lambda last: last["state"]["step"] == 1 and last["state"]["mode"] == "pause")
        assert reader.ask("lr", 0.01) == 200  # what it is already: no change
        assert reader.ask("lr", 0.25) == 200
        assert reader.ask("step") == 200
        reader.wait(lambda last: last["state"]["step"] == 2 and last["state"]["mode"] == "pause")
        assert reader.last["state"]["lr"] == 0.25
        assert reader.last["state"]["changes"] == [[2, 0.25]]
        assert reader.ask("stop") == 200
    page.__exit__(None, None, None)
    reader.finish()
    assert [point[2] for point in reader.points] == [0.01, 0.25]
    lines = (tmp_path / "run/interventions.csv").read_text().splitlines()
    assert lines == ["step,what,from,to", "2,lr,0.01,0.25", "2,stop,36,2"]
    assert result["epochs"] == 1


def test_the_first_reader_steers_and_then_the_next(tmp_path: Path) -> None:
    page, watcher = paused_page(log := Log())
    with training(tmp_path / "run", watcher, model="linear"):
        first = Reader(log.port)
        first.wait(lambda last: last["state"]["mode"] == "pause")
        second = Reader(log.port)
        second.wait(lambda last: True)
        assert [reader.last["you"]["steers"] for reader in (first, second)] == [True, False]
        assert second.ask("resume") == 403
        assert second.ask("resume", key="") == 403
        first.leave()
        second.wait(lambda last: last["you"]["steers"])
        assert second.ask("resume") == 200
    page.__exit__(None, None, None)


def test_with_a_token_nothing_can_be_changed_without_it(tmp_path: Path) -> None:
    page, watcher = paused_page(log := Log(), host="0.0.0.0")
    (line,) = (line for line in log.lines if line.startswith("live: "))
    token = line.partition("?token=")[2].split(" ")[0]
    assert len(token) >= 16
    with training(tmp_path / "run", watcher, model="linear"):
        student, teacher = Reader(log.port), Reader(log.port, token)
        for reader in (student, teacher):
            reader.wait(lambda last: last["state"]["mode"] == "pause")
        assert not student.last["you"]["steers"]
        assert teacher.last["you"]["steers"]
        for key in ("", "guess", student.last["you"]["key"]):
            assert student.ask("stop", key=key) == 403
        assert teacher.ask("resume") == 200
    page.__exit__(None, None, None)
    assert not (tmp_path / "run/interventions.csv").exists()


def test_pages_of_other_origins_and_other_host_names_are_refused() -> None:
    log = Log()
    with live_page(port=0, browser=False, reporter=log):
        reader = Reader(log.port)
        assert reader.ask("stop", Origin="http://evil.example") == 403
        assert reader.ask("stop", Host="evil.example") == 403
        assert status(log.port, "GET", "/api/events", headers={"Sec-Fetch-Site": "cross-site"}) == 403
        reader.leave()


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'{"action":"boil","key":"k"}', b'{"action":"pause"}',
                                  b'{"action":"lr","key":"k","value":"x"}', b'{"action":"pause","key":1}'])  # fmt: skip
def test_a_request_that_cannot_be_read_is_refused(body: bytes) -> None:
    log = Log()
    with live_page(port=0, browser=False, reporter=log) as watcher:
        assert status(log.port, "POST", CONTROL, body, {"Content-Type": "application/json"}) == 422
        assert not watcher.hub.requests


def test_a_paused_training_that_nobody_watches_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ABANDONED", 0.3)
    page, watcher = paused_page(Log())
    with training(tmp_path / "run", watcher, model="linear") as result:
        pass
    page.__exit__(None, None, None)
    assert result["epochs"] == 3


def test_a_reader_that_never_reads_and_many_that_do_harm_nobody(plain: Path, tmp_path: Path) -> None:
    log = Log()
    with (
        live_page(port=0, browser=False, reporter=log) as watcher,
        closing(http.client.HTTPConnection("127.0.0.1", log.port, timeout=30)) as silent,
    ):
        silent.request("GET", "/api/events")
        readers = [Reader(log.port) for _ in range(6)]
        train("digits", model="net", out=tmp_path / "run", watcher=watcher, **OPTIONS)
    for reader in readers:
        reader.finish()
        assert reader.last["end"]
    assert (tmp_path / "run" / SAME[0]).read_bytes() == (plain / "net" / SAME[0]).read_bytes()
    assert not [one for one in threading.enumerate() if "Server" in one.name]


@given(st.lists(st.integers(1, 7000), max_size=15))
def test_the_curve_is_thinned_to_means_and_a_reader_gets_all_of_it(blocks: list[int]) -> None:
    hub, step, cursor, seen = Hub(), 0, NOTHING, []  # type: Hub, int, Any, list[Any]
    for block in blocks:
        hub.emit("curve", {"points": [[step + i + 1, 2.0, 0.1] for i in range(block)]})
        step += block
        text, cursor = hub.news(cursor)
        if text:
            content = json.loads(text.partition("data: ")[2])
            seen = content["points"] if content["whole"] else seen + content["points"]
        assert seen == hub.points
        assert len(seen) < MOST_POINTS
        assert step == 0 or len(seen) >= min(step, MOST_POINTS // 2) - 1
        assert not seen or seen[-1][0] > step - hub.stride
    assert all(point[1] == 2.0 for point in seen)


def test_a_frame_shows_what_torch_computes(digits: Dataset) -> None:
    torch.manual_seed(0)
    learn = Learner(DataLoaders.from_dataset(digits, 64), build_model(Architecture("conv", 1, 8, 8, 10)))
    learn.fit(1, 0.01)
    subject, watched = subject_of(learn), spread_over_classes(digits.valid.labels, WATCHED)
    assert np.bincount(digits.valid.labels[watched], minlength=10).tolist() == [3, 3, 3, 3] + [2] * 6
    was_training = learn.model.training
    shown, found = frame(subject, watched, chosen=5, more=range(100))
    assert learn.model.training == was_training
    expected = predict_proba(learn.model, digits.valid.pixels).numpy()
    np.testing.assert_allclose(shown["probabilities"], expected[watched], atol=1e-4)
    np.testing.assert_array_equal(found, expected[:100].argmax(axis=1))
    outputs = {}
    hooks = [layer.register_forward_hook(lambda _, __, out, name=name: outputs.update({name: out[0]}))
             for name, layer in learn.model.named_children()]  # fmt: skip
    predict_proba(learn.model, digits.valid.pixels[5:6])
    for hook in hooks:
        hook.remove()
    for layer in shown["layers"]:
        values = unpacked(layer["maps"])
        np.testing.assert_allclose(
            values.ravel(), outputs[layer["name"]].reshape(-1)[: values.size], atol=layer["maps"]["max"] / 250
        )
    weights = unpacked(shown["weights"])
    np.testing.assert_allclose(weights, learn.model[1].weight.detach(), atol=shown["weights"]["max"] / 250)
    dead = {layer["name"]: layer["dead"] for layer in shown["layers"] if "dead" in layer}
    assert set(dead) == {"3", "7", "11"}


def test_dead_units_are_counted(digits: Dataset) -> None:
    learn = Learner(DataLoaders.from_dataset(digits, 64), build_model(Architecture("net", 1, 8, 8, 10)))
    with torch.no_grad():
        learn.model[2].bias[:7] = -1e6
    shown, _ = frame(subject_of(learn), range(24), 0, range(300))
    (dead,) = [layer["dead"] for layer in shown["layers"] if "dead" in layer]
    assert dead >= 7


def test_a_training_that_goes_wrong_is_shown_to_its_end(tmp_path: Path) -> None:
    """The loss becomes NaN or infinite: the page gets null, and the run its usual error, with the rate that was set."""
    page, watcher = paused_page(log := Log())
    errors: list[Exception] = []

    def work() -> None:
        try:
            options = OPTIONS | {"optimizer": "sgd", "schedule": "flat"}
            train("digits", model="conv", out=tmp_path / "run", watcher=watcher, **options)
        except DivergedError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    reader = Reader(log.port)
    reader.wait(lambda last: last["state"]["mode"] == "pause")
    reader.ask("step")
    reader.wait(lambda last: last["state"]["step"] == 1 and last["state"]["mode"] == "pause")
    assert reader.ask("lr", 1000) == 200
    assert reader.ask("resume") == 200
    thread.join(60)
    page.__exit__(None, None, None)
    reader.finish()
    assert [point[1] for point in reader.points if point[1] is None]
    (error,) = errors
    assert re.search(r"it first appears in (layer|the weights of layer) \d", str(error))
    assert "the loss is" in reader.last["end"]["text"]


@pytest.mark.parametrize("options", [{"tune": "head", "size": 32}, {"model": "conv", "track": "tensorboard"}])
def test_few_colour_images_long_names_and_a_frozen_backbone_can_be_watched(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    names = ["a", "b", "a very long name of a class that goes on and on without any end in sight"]
    fill(tmp_path / "data", {f"{name}/{i}.png": picture(9 * k + i, 40, 40, colour=True)
                             for k, name in enumerate(names) for i in range(6)})  # fmt: skip
    with live_page(port=0, browser=False, reporter=(log := Log())) as watcher:
        reader = Reader(log.port)
        train(tmp_path / "data", epochs=2, out=tmp_path / "run", report=False, watcher=watcher, **options)
    reader.finish()
    last = reader.last
    assert last["frame"]["known"] == last["start"]["images"] == 3
    assert set(last["start"]["classes"]) == set(names)
    assert (last["frame"]["weights"] is None) == ("tune" in options)  # features are no pixels
    assert len(last["images"]["images"]) == 3


def unpacked(one: dict[str, Any]) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(one["data"]), np.int8).reshape(one["shape"])
    return values.astype(np.float32) * one["max"] / 127


@given(st.lists(st.floats(-1e6, 1e6, width=32), max_size=50))
def test_packed_numbers_are_right_to_one_part_in_250(numbers: list[float]) -> None:
    values = torch.tensor(numbers, dtype=torch.float32)
    one = packed(values)
    largest = float(values.abs().max()) if len(numbers) else 0.0
    np.testing.assert_allclose(unpacked(one), values, atol=max(largest / 250, 1e-30))


def test_outside_a_notebook_a_live_panel_leaves_the_table(digits: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    def table(**options: Any) -> tuple[str, torch.Tensor]:
        torch.manual_seed(0)
        learn = Learner(DataLoaders.from_dataset(digits, 64), build_model(Architecture("net", 1, 8, 8, 10)))
        learn.fit(2, 0.01, **options)
        return re.sub(r"\d\d:\d\d", "", capsys.readouterr().out), learn.model[2].weight

    (with_panel, weight), (without, other) = table(on_step=LivePanel()), table()
    assert with_panel == without
    assert torch.equal(weight, other)


def test_in_a_notebook_a_live_panel_shows_events_as_the_page_does(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("underhood.live.panel.notebook", lambda: "jupyter")
    monkeypatch.setattr("underhood.live.panel.show", shown.append)
    learn = Learner(DataLoaders.from_dataset(digits, 64), build_model(Architecture("net", 1, 8, 8, 10)))
    panel = LivePanel()
    learn.fit(2, 0.01, on_step=panel)
    learn.fit(1, 0.01, on_step=panel)
    assert len(shown) == 2  # a panel for each call
    first, second = shown
    assert [point[0] for point in second.curve["points"]] == list(range(1, 24))
    assert len(second.epochs["rows"]) == 1
    assert [point[0] for point in first.curve["points"]] == list(range(1, 47))
    assert len(first.epochs["rows"]) == 2
    assert second.frame["step"] == 23
    assert second.start["total"] == 23
    assert not learn.model._forward_hooks


def test_an_interrupted_cell_leaves_nothing_behind(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("underhood.live.panel.notebook", lambda: "jupyter")
    monkeypatch.setattr("underhood.live.panel.show", lambda _: None)
    learn = Learner(DataLoaders.from_dataset(digits, 64), build_model(Architecture("net", 1, 8, 8, 10)))
    panel = LivePanel()
    for step in learn.steps(2, 0.01):
        panel(learn, step)
        if step.number == 5:
            break
    for _ in range(3):
        learn.validate()
    assert panel._view
    assert sum(map(len, panel._view._outputs)) <= 359
    learn.fit(1, 0.01, on_step=panel)
    assert not learn.model._forward_hooks


def test_a_live_panel_shows_chapter_4s_learners_too(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of float images in rows, with one output and labels [n, 1]; and of a list of pairs."""
    monkeypatch.setattr("underhood.live.panel.notebook", lambda: "jupyter")
    monkeypatch.setattr("underhood.live.panel.show", lambda _: None)
    two = digits.train.take(digits.train.labels < 2)
    x, y = torch.from_numpy(two.pixels).float().flatten(1) / 255, torch.from_numpy(two.labels).float()[:, None]
    from underhood import DataLoader, mnist_loss

    for data in ((x, y), list(zip(x, y, strict=True))):
        dls = DataLoaders(DataLoader(data, 64), DataLoader(data, 64))
        learn = Learner(dls, torch.nn.Linear(64, 1), mnist_loss, torch.optim.SGD, metrics=mnist_loss)
        panel = LivePanel()
        learn.fit(1, 0.1, on_step=panel)
        assert panel.widget.start["classes"] == ["0", "1"]
        assert panel.widget.frame["confusion"]


def test_flags_of_the_page_need_live(underhood: Callable[..., Outcome]) -> None:
    for flags in (["--port", "0"], ["--token", "x"], ["--host", "0.0.0.0"], ["--no-browser"]):
        outcome = underhood("train", "digits", *flags)
        assert outcome.code == 2
        assert "needs --live" in outcome.err


def test_the_command_prints_the_address_and_ends_with_the_training(underhood: Callable[..., Outcome]) -> None:
    outcome = underhood(
        "train", "digits", "--model", "linear", "--epochs", 1, "--no-report", "--live", "--no-browser", "--port", 0
    )
    assert outcome.code == 0
    assert re.search(r"live: http://127\.0\.0\.1:\d+\n", outcome.out)


def test_a_steered_run_that_is_killed_resumes_under_a_page_too_and_its_rerun_has_the_same_bytes(
    tmp_path: Path, underhood: Callable[..., Outcome]
) -> None:
    """With SIGKILL, in a process of its own."""
    out = tmp_path / "run"
    flags = "--model net --epochs 60 --batch-size 128 --save-every 0 --no-report --live --no-browser --port 0"
    command = [sys.executable, "-m", "underhood", "train", "digits", "--out", str(out), *flags.split()]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        log = Log()
        log.lines = [next(line for line in process.stdout if line.startswith("live: "))]
        reader = Reader(log.port)
        while "you" not in reader.last:
            time.sleep(0.01)
        assert reader.ask("pause") == 200  # while the images are read
        for number, lr in ((12, 0.05), (24, 0.002)):
            assert reader.ask("epoch") == 200
            reader.wait(
                lambda last, number=number: last["state"]["step"] == number and last["state"]["mode"] == "pause"
            )
            assert reader.ask("lr", lr) == 200
            reader.wait(lambda last, lr=lr: last["state"]["lr"] == lr)
        assert reader.ask("resume") == 200
        process.kill()
    reader.finish()
    assert len((out / "interventions.csv").read_text().splitlines()) == 3
    assert not (out / "weights.safetensors").exists()
    resumed = underhood("train", "--resume", out, "--live", "--no-browser", "--port", 0)
    assert resumed.code == 0, resumed.err
    again = underhood("rerun", out, "--out", tmp_path / "again", "--json")
    assert again.json["same"]
    for name in (*SAME, "interventions.csv"):
        assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name
