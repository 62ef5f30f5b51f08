"""``train --live``: a page on which a training happens, and from which it is paused, steered and stopped."""

import errno
import os
import secrets
import socket
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from underhood.core.errors import UnderhoodError
from underhood.live.app import make_app
from underhood.live.hub import Hub
from underhood.live.view import TrainingView
from underhood.serving.server import allowed_hosts, listen, running
from underhood.training import Reporter, Watcher

if TYPE_CHECKING:
    from fastapi import FastAPI

    from underhood.core.learner import Epoch, Step
    from underhood.training.interventions import Steering
    from underhood.training.learners import Setup
    from underhood.training.run import StopFlag

PORT = 8001  # and the next ones, where it is in use
FIRST_READER = 5.0  # seconds that a training waits for the page that it has opened
LAST_NEWS = 2.0  # seconds that readers have to get the last event
ABANDONED = 10.0  # seconds after which a paused training without a reader goes on
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class LivePage(Watcher):
    """Shows one training on a page, and does what the one who steers asks for, after each step.

    hub: what the page's server reads; wait: seconds to wait for a first reader before the training starts
    """

    def __init__(self, hub: Hub, wait: float = 0.0):
        self.hub, self._wait_for_page = hub, wait
        self._mode = "run"  # run, pause; step and epoch: run until then, and pause
        self._paused = self._waited = 0.0  # seconds, of all the time and since the last call of ``waited``
        self._since = 0.0  # by ``time.monotonic``: when it began to wait; 0 while it does not

    @contextmanager
    def watch(self, setup: "Setup", steering: "Steering", stop: "StopFlag") -> Iterator[None]:
        """Within, a training runs. Tells the page when it ends, and how."""
        learn = setup.learn
        self._steering, self._stop, self._learn = steering, stop, learn
        self._total = setup.recipe.epochs * len(learn.dls.train)
        self._started, self._images, self._first = time.monotonic(), 0, learn.global_step
        name = f"{setup.recipe.model} on {setup.loaded.dataset.name}"
        self._run = str(steering.folder or "")
        with TrainingView(learn, self.hub.emit, setup.loaded.dataset.valid, setup.layer_stats) as self._view:
            self._view.start(self._total, title=name, run=self._run)
            self._tell()
            self._wait_for_reader()
            if self.hub.requests:  # a training can be paused before its first step
                self._obey(learn.global_step, waits=True)
            try:
                yield
            except BaseException as error:
                self._end(f"The training has ended: {str(error) or type(error).__name__}.")
                raise
        self._end("The training is over. The model is measured now, and its report written.")

    def after_step(self, step: "Step") -> None:
        """Show a step, if it is time to; do what was asked for; wait while the training is paused."""
        self._images += step.batch_size
        if self._view.after_step(step.number, step.epoch_end):
            self._tell(step.number)
        if self._mode == "step" and not step.epoch_end:
            self._mode = "pause"
        if self.hub.requests or self._mode == "pause":
            self._obey(step.number, waits=not step.epoch_end)

    def on_epoch_end(self, epoch: "Epoch") -> None:  # noqa: ARG002 (the recorder has it)
        """Show the epoch; do what was asked for; wait while the training is paused."""
        number = self._learn.global_step
        self._view.end_epoch(number, last=self._over(number))
        if self._mode in ("step", "epoch"):
            self._mode = "pause"
        self._tell(number)
        if (self.hub.requests or self._mode == "pause") and not self._over(number):
            self._obey(number, waits=True)

    def _wait_for_reader(self) -> None:
        deadline = time.monotonic() + self._wait_for_page
        with self.hub.changed:
            while not self.hub.readers() and time.monotonic() < deadline and self._stop.signal is None:
                self.hub.changed.wait(0.1)

    def _obey(self, number: int, waits: bool) -> None:
        """Do what was asked for and, while the training is paused, wait for more. number: steps so far."""
        began = last_seen = self._since = time.monotonic()
        shown = False
        while True:
            while self.hub.requests and not self._over(number):
                self._do(self.hub.requests.popleft(), number)
                shown = False
            if self._mode != "pause" or not waits or self._over(number):
                break
            if not shown:
                self._view.emit_curve(number)
                self._view.look_closely(number)
                self._tell(number)
                shown = True
            last_seen = time.monotonic() if self.hub.readers() else last_seen
            if time.monotonic() - last_seen > ABANDONED:  # closing the page does not stop a training
                self._mode = "run"
                break
            with self.hub.changed:
                if not self.hub.requests:
                    self.hub.changed.wait(0.2)
        waited, self._since = time.monotonic() - began, 0.0
        self._paused, self._waited = self._paused + waited, self._waited + waited
        self._tell(number)

    def waited(self) -> float:
        """Seconds that the training has waited for this page since the last call."""
        waited, self._waited = self._waited, 0.0
        return waited

    def _over(self, number: int) -> bool:
        """Whether the training ends after this step: it is the last one, or it ends by hand, or by a signal."""
        return number == self._total or self._steering.ends_at(number) or self._stop.signal is not None

    def _do(self, request: dict[str, Any], number: int) -> None:
        action, value = request["action"], request["value"]
        if action == "lr":
            if value != self._steering.lr_at(number + 1):
                self._steering.set_lr(value, number)
        elif action == "image":
            self._view.choose(int(value))
        elif action == "stop":
            self._steering.stop(max(1, number), self._total)  # at least one step is taken
        else:
            self._mode = {"pause": "pause", "resume": "run"}.get(action, action)

    def _tell(self, number: int | None = None) -> None:
        """Publish where the training is."""
        number = self._learn.global_step if number is None else number
        waiting = time.monotonic() - self._since if self._since else 0.0
        busy = max(1e-9, time.monotonic() - self._started - self._paused - waiting)
        done = number - self._first
        left = busy / done * (self._total - number) if done else None
        lr = self._steering.lr_at(number + 1)
        self.hub.emit("state", {
            "step": number, "mode": self._mode, "lr": lr, "started_lr": self._steering.lr_at(0),
            "changes": [[one.step, float(one.after)] for one in self._steering.interventions if one.what == "lr"][-50:],
            "images_per_second": round(self._images / busy), "seconds_left": left and round(left, 1),
        })  # fmt: skip

    def _end(self, text: str) -> None:
        if self._learn.global_step:
            self._view.emit_curve(self._learn.global_step)
        self.hub.emit("end", {"text": text, "run": self._run})


@contextmanager
def live_page(
    host: str = "127.0.0.1", port: int | None = None, token: str | None = None, browser: bool = True,
    *, reporter: Reporter | None = None,
) -> Iterator[LivePage]:  # fmt: skip
    """Serve a page in a thread, on which the training that gets this watcher can be seen.

    host, port: the address to listen on; by default this machine alone, and the first free port from 8001
    token: who has it steers; needed for other hosts, where one is made and logged. Without one the first reader steers
    browser: open the page, and wait for it a few seconds
    Raises UnderhoodError where the address cannot be used, and under torchrun with several processes.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UnderhoodError("--live watches a training in one process: leave torchrun out")
    hub = Hub(token or (None if host in LOOPBACK else secrets.token_urlsafe(12)))
    with served_page(make_app(hub), host, port) as address:
        log = (reporter or Reporter()).log
        ask = f"/?token={quote(hub.token, safe='')}" if hub.token else ""
        log(f"live: {address}{ask}" + (f"  (others watch at {address} and cannot change anything)" if ask else ""))
        opened = browser and webbrowser.open(address + ask)
        hub.emit("waiting", {"text": "The images are read and, where it is open, the model is chosen. Then it trains."})
        text = "There was nothing to train."
        try:
            yield LivePage(hub, FIRST_READER if opened else 0.0)
        except BaseException as error:
            text = f"There is no training: {str(error) or type(error).__name__}."
            raise
        finally:
            if not hub.ended:
                hub.emit("end", {"text": text, "run": ""})
            _say_goodbye(hub)


def _say_goodbye(hub: Hub) -> None:
    """Give the readers time to get the last event, and close their streams."""
    deadline = time.monotonic() + LAST_NEWS
    while hub.readers() and time.monotonic() < deadline:
        time.sleep(0.05)
    hub.closed = True


@contextmanager
def served_page(app: "FastAPI", host: str, port: int | None) -> Iterator[str]:
    """Serve an application in a thread. Yields its address. port: None for the first free one from ``PORT``."""
    with listen_near(host, port) as listening, running(app, listening, allowed_hosts(host)):
        yield address_of(host, listening)


def listen_near(host: str, port: int | None) -> socket.socket:
    """A listening socket. port: None for the first free one from ``PORT``. Raises UnderhoodError."""
    for number in range(PORT, PORT + 50):
        try:
            return listen(host, number if port is None else port)
        except UnderhoodError as error:
            if port is not None or os.strerror(errno.EADDRINUSE) not in str(error):
                raise
    return listen(host, 0)


def address_of(host: str, listening: socket.socket) -> str:
    """The address of a server, for people: of one that listens everywhere, with the machine's name."""
    name = socket.gethostname() if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{listening.getsockname()[1]}"
