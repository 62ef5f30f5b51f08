"""The process of ``underhood serve``: signals, and errors at the start."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome, picture
from drawing import drawn
from test_serve import png

from underhood import train

Command = Callable[..., Outcome]
DRAWN = png(drawn(3, 2).image)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("serve") / "run"
    train("digits", model="net", epochs=2, out=out, report=False)
    return out


def start(run: Path, *flags: object) -> tuple[subprocess.Popen, int]:
    command = [sys.executable, "-m", "underhood", "serve", run, "--port", 0, *flags]
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    line = process.stdout.readline()
    return process, int(line.split()[0].rsplit(":", 1)[1])


@pytest.mark.parametrize(("wanted", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_finishes_the_requests_in_flight(run: Path, wanted: signal.Signals, code: int) -> None:
    process, port = start(run)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("POST", "/api/predict")
    for name, value in {"Content-Type": "image/png", "Content-Length": str(len(DRAWN))}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(DRAWN[:100])
    time.sleep(0.3)
    process.send_signal(wanted)
    threading.Timer(0.5, connection.send, [DRAWN[100:]]).start()
    answer = connection.getresponse()
    assert answer.status == 200
    assert json.loads(answer.read())["predictions"]
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert "Traceback" not in err


def test_a_second_interrupt_does_not_wait_for_slow_clients(run: Path) -> None:
    process, port = start(run)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nabc")
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=8)
    assert (process.returncode, err) == (130, "error: interrupted\n")


def test_a_port_in_use_is_one_line(run: Path, underhood: Command, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        failed = underhood("serve", run, "--port", taken.getsockname()[1])
    assert failed.code == 1
    assert failed.err.startswith("error: cannot listen on '127.0.0.1', port ")
    assert "--port" in failed.err
    assert underhood("serve", tmp_path / "nothing").code == 1
    picture(1).save(tmp_path / "file.png")
    assert underhood("serve", run, "--port", 0, "--collect", tmp_path / "file.png" / "x").code == 1
