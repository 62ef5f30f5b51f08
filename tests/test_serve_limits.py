"""What clients and web pages may do to ``serve``: hosts, connections, memory, time and the folder of --collect."""

import asyncio
import base64
import http.client
import io
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from conftest import Outcome, picture
from hypothesis import given, settings, strategies as st
from PIL import Image

from underhood import Predictor, Preparation, train
from underhood.core.errors import UnderhoodError
from underhood.preparation.files import SUFFIXES
from underhood.serving import app, connections, decoding, requests
from underhood.serving.requests import MAX_BYTES, HTTPError, parse_json
from underhood.serving.server import Guard, allowed_hosts, served

PREPARATION = Preparation(3, 8, 8)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def predicts(probabilities: float = 0.5) -> Predictor:
    """A model that predicts every class with this probability."""
    return Predictor(
        Path("run"), ("cat", "dog"), PREPARATION, 0.0,
        lambda pixels: np.full((len(pixels), 2), probabilities, np.float32), metrics={"loss": float("nan")},
    )  # fmt: skip


GOOD = encoded(picture(1, colour=True))
PHOTOGRAPH = encoded(picture(2, 2000, 1500, colour=True), "JPEG")
TYPE = {"Content-Type": "image/png"}


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    with served(predicts(), tmp_path / "saved") as port:
        yield port


def send(port: int, content: bytes = GOOD, path: str = "/api/predict", **headers: str) -> tuple[int, dict, dict]:
    """One request as http.client sends it: all of the body before the response is read."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    wanted = {"Content-Type": "image/png", **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request("POST", path, content, wanted)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return answer.status, json.loads(text) if text.startswith(b"{") else {}, headers


def connect(port: int, content: bytes = b"", timeout: float = 30) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout)
    connection.sendall(content)
    return connection


def read_all(connection: socket.socket) -> bytes:
    """What a connection receives until the server closes it."""
    received = b""
    with suppress(ConnectionError):
        while part := connection.recv(65_536):
            received += part
    return received


HEAD = b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


# --- hosts and origins


def test_only_this_machines_own_names_are_answered_to() -> None:
    allowed = allowed_hosts()
    for host in ("localhost", "LOCALHOST:80", "localhost.", "127.0.0.1:8000", "127.9.9.9", "[::1]", "[::1]:8000"):
        assert allowed(host), host
    for host in (
        *("", ":80", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "localhost@evil.example"),
        *(
            "evil.example:80@localhost",
            "evil.example#localhost",
            "localhost evil.example",
            "10.0.0.1",
            "0.0.0.0",
            "::1",
        ),
        *("[::1", "[::1].evil.example", "localhost:80:80", "xlocalhost", "127.1.evil", "169.254.169.254"),
    ):
        assert not allowed(host), host


def test_allow_host_adds_names_and_a_server_for_all_addresses_answers_to_any_address() -> None:
    named = allowed_hosts("127.0.0.1", ["Digits.example.org"])
    assert named("digits.example.org:443")
    assert not named("www.digits.example.org")
    assert not named("digits.example.org.evil.example")
    for host in ("0.0.0.0", "::"):
        anywhere = allowed_hosts(host)
        assert anywhere("192.168.0.7:8000")
        assert anywhere("[fe80::1]")
        assert anywhere(socket.gethostname())
        assert not anywhere("evil.example")
    assert allowed_hosts("192.168.0.7")("192.168.0.7:8000")
    assert not allowed_hosts("192.168.0.7")("192.168.0.8")
    assert allowed_hosts("box.example.org")("box.example.org")
    assert allowed_hosts("Box.example.org.")("box.example.org:8000")
    assert allowed_hosts("2001:DB8::0001")("[2001:db8::1]:8000")
    for everywhere in ("0", "0:0:0:0:0:0:0:0"):
        assert allowed_hosts(everywhere)("192.168.0.7:8000")
    assert not allowed_hosts("")("")
    for wrong in ("https://digits.example.org", "digits.example.org:443", "a/b", "", "a b", "."):
        with pytest.raises(UnderhoodError, match="is not a host name: leave scheme, port and path out"):
            allowed_hosts("127.0.0.1", [wrong])


def test_a_name_with_a_scheme_or_port_is_one_line(underhood: Callable[..., Outcome], run: Path) -> None:
    failed = underhood("serve", run, "--port", 0, "--allow-host", "a.example", "--allow-host", "http://b.example")
    assert failed.code == 1
    assert failed.err == "error: --allow-host 'http://b.example' is not a host name: leave scheme, port and path out\n"


def test_a_foreign_host_is_refused_on_every_path_and_nothing_is_saved(port: int, tmp_path: Path) -> None:
    body = json.dumps({"inputs": base64.b64encode(GOOD).decode(), "label": "cat"}).encode()
    for path in ("/", "/docs", "/api/model", "/api/predict", "/api/collect", "/static-offline-docs/swagger-ui.css"):
        status, answer, _ = send(port, body, path, Host="evil.example", Content_Type="application/json")
        assert status == 403
        assert "--allow-host" in answer["detail"]
    for hosts in ("", "Host: localhost\r\nHost: evil.example\r\n", "Host: evil.example\r\nHost: localhost\r\n"):
        with connect(port, f"GET /api/model HTTP/1.1\r\n{hosts}\r\n".encode()) as connection:
            assert connection.recv(100)[:12] in (b"HTTP/1.1 403", b"HTTP/1.1 400")
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://localhost.evil.example:8000"},
        {"Origin": "file://"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Origin": "http://localhost:3000", "Sec_Fetch_Site": "cross-site"},
    ],
)
def test_a_post_from_another_origin_is_refused_before_its_body_is_read(
    port: int, tmp_path: Path, headers: dict[str, str]
) -> None:
    body = json.dumps({"inputs": base64.b64encode(GOOD).decode(), "label": "cat"}).encode()
    for kind in ("application/json", "text/plain"):
        status, answer, _ = send(port, body, "/api/collect", Content_Type=kind, **headers)
        assert (status, answer["detail"]) == (403, "requests from pages of other origins are refused")
    assert not (tmp_path / "saved").exists()
    origin = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()).encode()
    with connect(port, HEAD + origin + b"Content-Length: 1000\r\n\r\n") as waiting:  # and no body
        assert waiting.recv(100).startswith(b"HTTP/1.1 403 ")


def test_an_address_as_origin_is_foreign_even_where_every_address_is_a_host() -> None:
    """A page at somebody else's address. To a server on another machine, browsers do not send Sec-Fetch-Site."""
    for host in ("0.0.0.0", "::", ""):
        guard = Guard(lambda *_: None, allowed_hosts(host, ["digits.example.org"]))  # type: ignore[arg-type,return-value]

        def refused(origin: str, guard: Guard = guard) -> bool:
            headers = [(b"host", b"192.168.0.7:8000"), (b"origin", origin.encode())]
            return guard._refusal({"method": "POST", "headers": headers}) is not None

        for foreign in (
            "http://203.0.113.5",
            "http://[2001:db8::5]:8000",
            "http://192.168.0.8:8000",
            "null",
            "file://",
        ):
            assert refused(foreign), foreign
        for own in (
            "http://192.168.0.7:8000",
            "https://192.168.0.7",
            "http://localhost:3000",
            "https://digits.example.org",
        ):
            assert not refused(own), own


def test_the_page_itself_and_programs_may_post(port: int) -> None:
    for headers in ({}, {"Origin": f"http://localhost:{port}", "Sec_Fetch_Site": "same-origin"}):
        assert send(port, **headers)[0] == 200


def test_every_answer_has_the_headers_that_keep_other_pages_out(port: int) -> None:
    answers = [
        *(httpx.get(f"http://localhost:{port}{path}").headers for path in ("/", "/docs", "/api/model", "/none")),
        send(port)[2],
        send(port, Host="evil.example")[2],
        send(port, b"no image")[2],
    ]
    for headers in answers:
        policy = headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    with connect(port, b"no HTTP\r\n\r\n") as connection:
        assert b"frame-ancestors 'none'" in read_all(connection)


# --- connections


def test_endless_trailers_and_chunk_extensions_are_cut_off(port: int) -> None:
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    for start, more in (
        (b"3\r\nabc\r\n0\r\n", b"x: " + b"a" * 60 + b"\r\n"),  # trailers
        (b"3\r\nabc\r\n0\r\n", b"a:\r\n"),
        (b"", b"1;" + b"e" * 60 + b"\r\nx\r\n"),  # a chunk's extension
        (b"1;", b"e" * 60),
    ):
        with connect(port, chunked + start) as endless, pytest.raises(ConnectionError):
            endless.sendall(more * (2 * connections.DISCARDED_BYTES // len(more)))
        with connect(port, chunked + start + more * (1_500_000 // len(more))) as longer:
            assert longer.recv(100).startswith(b"HTTP/1.1 413 ")
    assert send(port)[0] == 200


def test_a_request_with_too_many_headers_is_refused(port: int) -> None:
    for content in (HEAD + b"a:\r\n" * 200, HEAD + b"a:\r\n" * 200 + b"\r\n", HEAD + b"a: " + b"b" * 400_000):
        with connect(port, content) as connection:
            assert connection.recv(100).startswith(b"HTTP/1.1 431 ")


def test_one_time_limit_holds_for_headers_body_and_trailers(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "TIMEOUT", 2.0)
    monkeypatch.setattr(connections, "DISCARD_TIMEOUT", 1.0)
    slow = {
        connect(port, HEAD): b"X: y\r\n",
        connect(port, HEAD + b"Content-Length: 999\r\n\r\n"): b"a",
        connect(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n"): b"1\r\na\r\n",
        connect(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"): b"X: y\r\n",
    }
    closed: dict[socket.socket, bytes] = {}
    end = time.monotonic() + 30
    while len(closed) < len(slow) and time.monotonic() < end:
        for connection, more in slow.items():
            if connection not in closed:
                try:
                    connection.sendall(more)  # there is always something new
                except ConnectionError:
                    closed[connection] = read_all(connection)
        time.sleep(0.2)
    assert len(closed) == len(slow)
    for connection, received in closed.items():
        connection.close()
        assert received.startswith(b"HTTP/1.1 408 ") or not received  # a reset may lose it
    assert sum(received.startswith(b"HTTP/1.1 408 ") for received in closed.values()) >= 1


def test_connections_that_only_seem_alive_are_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request and then bare newlines; or a body that never follows after an early answer."""
    monkeypatch.setattr(requests, "TIMEOUT", 2.0)
    answered = connect(port, b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    missing = connect(port, b"POST /none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nabc")
    other = connect(
        port, b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: a/b\r\nContent-Length: 99\r\n\r\n"
    )
    unread = connect(port)
    for connection, status in ((answered, b"200"), (missing, b"404"), (other, b"415")):
        assert connection.recv(1000).startswith(b"HTTP/1.1 " + status)
    end = time.monotonic() + 40
    left = {answered: b"\r\n", missing: b"", other: b"", unread: b""}
    while left and time.monotonic() < end:
        for connection, more in list(left.items()):
            connection.settimeout(0.1)
            try:
                connection.sendall(more)
                if not connection.recv(1000):
                    del left[connection]
            except TimeoutError:
                pass
            except ConnectionError:
                del left[connection]
        time.sleep(0.1)
    assert not left
    for connection in (answered, missing, other, unread):
        connection.close()


def test_a_client_that_never_reads_its_responses_is_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "TIMEOUT", 1.0)
    asking = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connect(port, asking * 20) as connection:
        end = time.monotonic() + 30
        try:
            while time.monotonic() < end:
                connection.sendall(b"\r\n")
                time.sleep(0.1)
            pytest.fail("still open")
        except ConnectionError:
            pass
    assert send(port)[0] == 200


def test_thousands_of_requests_sent_ahead_are_dropped(port: int) -> None:
    begun = HEAD + b"Content-Length: %d\r\n\r\n" % len(PHOTOGRAPH) + PHOTOGRAPH
    with connect(port, begun) as connection:
        with suppress(ConnectionError):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10_000)
        assert read_all(connection).count(b"HTTP/1.1 ") <= connections.MAX_PIPELINED + 2
    assert send(port)[0] == 200


def test_requests_that_are_sent_ahead_are_answered_in_their_order(port: int) -> None:
    first = HEAD + b"Content-Length: %d\r\n\r\n" % len(PHOTOGRAPH) + PHOTOGRAPH
    second = b"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n"
    third = HEAD + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(GOOD) + GOOD
    with connect(port, first + second + third) as connection:
        received = read_all(connection)
    assert [line[:12] for line in received.split(b"HTTP/1.1")[1:]] == [
        b" 200 OK\r\ndat",
        b" 404 Not Fou",
        b" 200 OK\r\ndat",
    ]


def test_a_client_that_asks_first_is_answered_before_it_sends(port: int) -> None:
    head = HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(GOOD)
    with connect(port, head + b"\r\n") as connection:
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(GOOD)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    with connect(port, head + b"Origin: https://evil.example\r\n\r\n") as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 403 ")


def test_an_upgrade_to_another_protocol_is_no_way_around_the_limits(port: int) -> None:
    for protocol in (b"websocket", b"h2c"):
        upgrade = b"Connection: Upgrade\r\nUpgrade: %b\r\nSec-WebSocket-Version: 13\r\n" % protocol
        for host, status in ((b"localhost", b"200"), (b"evil.example", b"403")):
            with connect(
                port, b"GET /api/health HTTP/1.1\r\nHost: " + host + b"\r\n" + upgrade + b"\r\n"
            ) as connection:
                assert connection.recv(1000).startswith(b"HTTP/1.1 " + status)


REQUESTS = [
    HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(GOOD), GOOD),
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nTrailer: x\r\n\r\n",
    b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2,
    b"HEAD / HTTP/1.0\r\nHost: [::1]:1\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nExpect: 100-continue\r\n\r\n",
]


@pytest.fixture(scope="module")
def errors() -> Iterator[tuple[int, list[logging.LogRecord]]]:
    """A server's port, and what it logs as an error."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = records.append  # type: ignore[method-assign]
    with served(predicts()) as port:
        logging.getLogger("uvicorn.error").addHandler(handler)
        yield port, records
        logging.getLogger("uvicorn.error").removeHandler(handler)


@settings(max_examples=int(os.environ.get("FUZZ", 200)))
@given(
    st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=3).map(b"".join),
    st.integers(0, 400), st.integers(0, 40), st.binary(max_size=8), st.booleans(),
)  # fmt: skip
def test_no_bytes_on_a_connection_are_a_server_error(
    errors: tuple[int, list[logging.LogRecord]], content: bytes, at: int, removed: int, added: bytes, ends: bool
) -> None:
    port, records = errors
    with connect(port, content[:at] + added + content[at + removed :]) as connection:
        if ends:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            read_all(connection)
    assert send(port)[0] == 200
    assert [record.getMessage() for record in records] == []


def test_many_connections_do_not_lock_good_clients_out(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "max_connections", lambda: 20)
    starts = (
        b"",
        HEAD,
        HEAD + b"Content-Length: 9999\r\n\r\nabc",
        b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n\r\n",
    )
    held = [connect(port, starts[number % 4]) for number in range(100)]
    for _ in range(10):
        assert send(port)[0] == 200
        assert send(port, PHOTOGRAPH)[0] == 200
    still_open = 0
    for connection in held:
        connection.settimeout(0.05)
        try:
            still_open += connection.recv(1000)[:12] == b"HTTP/1.1 200" and connection.recv(1) != b""
        except TimeoutError:
            still_open += 1
        except ConnectionError:
            pass
        connection.close()
    assert still_open <= 20


def test_there_are_as_many_connections_as_the_process_may_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    for files, most in ((1024, 900), (100_000, 1000), (resource.RLIM_INFINITY, 1000), (64, 1)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        connections.max_connections.cache_clear()
        assert connections.max_connections() == most
    connections.max_connections.cache_clear()


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_a_client_that_sends_everything_first_sees_why_it_is_refused(port: int, connection: str) -> None:
    long, form = bytes(60_000_000), "multipart/form-data; boundary=a"
    for _ in range(3):
        assert send(port, long, Connection=connection)[0] == 413
        assert send(port, long, Connection=connection, Content_Type="a/b")[0] == 415
        assert send(port, long, "/none", Connection=connection)[0] == 404
        assert send(port, long, Connection=connection, Host="evil.example")[0] == 403
        assert send(port, long[: MAX_BYTES - 1], Connection=connection, Content_Type=form)[0] == 422


# --- memory and time


def test_bodies_are_refused_while_too_many_bytes_are_in_flight(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_BYTES_IN_FLIGHT", 1_000_000)
    body = GOOD + bytes(700_000)
    start = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body[:-1]
    for _ in range(20):
        with connect(port, start) as first:
            time.sleep(0.2)  # until all of it has arrived; else it is the first that is refused
            status, answer, headers = send(port, body)
            if status == 200:
                continue
            assert (status, headers["retry-after"]) == (503, "1")
            assert "overloaded" in answer["detail"]
            assert send(port)[0] == 200  # a small one is always read
            first.sendall(body[-1:])
            assert first.recv(100).startswith(b"HTTP/1.1 200 ")
            break
    else:
        pytest.fail("never refused")
    assert send(port, body)[0] == 200


def test_json_of_too_many_values_is_refused_without_being_read() -> None:
    for body in (b"[" * MAX_BYTES, b'{"inputs": [' + b"[]," * 6_000_000 + b"[]]}", b'{"inputs": [' + b"1," * 9_000_000):
        with pytest.raises(HTTPError, match="the JSON has more than 250,000 values"):
            parse_json(body)
    image = base64.b64encode(bytes(14_000_000))
    assert len(parse_json(b'{"inputs": "%b"}' % image).images[0]) == 14_000_000


def test_forms_and_json_of_many_bytes_are_read_beside_the_event_loop(port: int) -> None:
    large = GOOD + bytes(5_000_000)
    text = base64.b64encode(large).decode()
    with httpx.Client(base_url=f"http://localhost:{port}", timeout=60) as client:
        for answer in (
            client.post("/api/predict", json={"inputs": [text, text]}),
            client.post("/api/predict", files=[("file", ("a.png", large)), ("file", ("b.png", large))]),
        ):
            assert answer.status_code == 200, answer.text
            assert len(answer.json()["results"]) == 2


def test_a_png_with_a_second_header_is_not_quick() -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    small = encoded(Image.new("L", (28, 28)))
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", 6000, 4500, 8, 0, 0, 0, 0))
    assert decoding.is_quick(small)
    assert not decoding.is_quick(small[:33] + second + small[33:])


def test_a_large_image_gets_the_same_pixels_from_a_process(port: int) -> None:
    for content in (PHOTOGRAPH, encoded(picture(3, 2000, 1500), "PNG"), encoded(picture(4, 2000, 1500), "TIFF")):
        status, answer, _ = send(port, content)
        assert status == 200
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["seen"].split(",")[1]))))
        expected = decoding.prepare_image(io.BytesIO(content), PREPARATION)
        assert (seen.transpose(2, 0, 1) == expected).all()
    status, answer, _ = send(port, PHOTOGRAPH[:-5000])
    assert (status, "broken" in answer["detail"]) == (400, True)


def test_an_image_that_takes_too_long_is_refused_and_the_next_is_not(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "DECODE_TIMEOUT", 0.01)
        status, answer, _ = send(port, PHOTOGRAPH)
        assert (status, answer["detail"]) == (413, "the image takes more than 0.01 seconds to decode")
    assert send(port, PHOTOGRAPH)[0] == 200


def test_images_that_wait_too_long_for_their_turn_get_503(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = encoded(Image.new("L", (8192, 6144)), "PNG")
    assert send(port, PHOTOGRAPH)[0] == 200  # the first process is there
    monkeypatch.setattr(requests, "TIMEOUT", 0.0)
    assert send(port, PHOTOGRAPH)[0] in (200, 503)
    monkeypatch.setattr(requests, "TIMEOUT", 60.0)
    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(lambda _: send(port, largest)[0], range(8)))
    assert statuses == [200] * 8


def test_few_large_images_wait_for_their_turn(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_WAITING", 1)
    largest = encoded(Image.new("L", (8192, 6144)), "PNG")
    with ThreadPoolExecutor(12) as threads:
        statuses = list(threads.map(lambda _: send(port, largest)[0], range(12)))
    assert set(statuses) == {200, 503}


def test_as_many_pixels_as_the_budget_are_decoded_at_once() -> None:
    async def decode() -> tuple[int, list[int]]:
        budget, held, most, order = decoding.PixelBudget(100), 0, 0, []

        async def one(number: int, pixels: int) -> None:
            nonlocal held, most
            async with budget.hold(pixels):
                order.append(number)
                held += min(pixels, 100)
                most = max(most, held)
                await asyncio.sleep(0.001)
                held -= min(pixels, 100)

        tasks = [asyncio.create_task(one(i, (60, 40, 1000, 1, 100, 30)[i % 6])) for i in range(30)]
        await asyncio.sleep(0)
        for cancelled in tasks[7::5]:
            cancelled.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with budget.hold(100):  # everything was given back
            return most, order

    most, order = asyncio.run(asyncio.wait_for(decode(), 20))
    assert most == 100
    assert order == sorted(order)


def test_bombs_get_an_error_and_good_clients_an_answer_beside_them(port: int) -> None:
    webp = b"RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f" + struct.pack("<I", 16_382 | 2_999 << 14) + bytes(9)
    bombs = [webp, encoded(Image.new("L", (8192, 6144)), "TIFF", compression="tiff_lzw")[:-100]]
    with ThreadPoolExecutor(20) as threads:
        statuses = [threads.submit(lambda bomb=bombs[i % 2]: send(port, bomb)[0]) for i in range(20)]
        good = [send(port)[0] for _ in range(20)]
        assert {one.result() for one in statuses} <= {200, 400, 413, 503}
    assert good == [200] * 20


# --- the process


def test_small_files_that_become_large_arrays_wait_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 images of a few hundred bytes are 12 MB once they are prepared, 200 MB at the largest size of a model."""
    started: list[int] = []
    finished: list[int] = []
    at_once: list[int] = []  # requests, whenever a batch is predicted

    def probabilities(pixels: np.ndarray) -> np.ndarray:
        at_once.append(len(started) - len(finished))
        time.sleep(0.1)
        return np.full((len(pixels), 2), 0.5, np.float32)

    async def prepare(self: decoding.Decoder, images: list[bytes], steps: object) -> list[np.ndarray]:
        started.append(len(images))
        return await original(self, images, steps)  # type: ignore[arg-type]

    def respond(*given: Any) -> object:
        with pytest.raises(RuntimeError):  # not in the loop's thread: other clients do not wait
            asyncio.get_running_loop()
        finished.append(len(given[2]))
        return answer(*given)

    original, answer = decoding.Decoder.prepare, app._predictions
    monkeypatch.setattr(decoding.Decoder, "prepare", prepare)
    monkeypatch.setattr(app, "_predictions", respond)
    monkeypatch.setattr(decoding, "MAX_PREPARED", 10 * 3 * 256 * 256)
    predictor = Predictor(tmp_path, ("cat", "dog"), Preparation(3, 256, 256), 0.0, probabilities)
    body = json.dumps({"inputs": [base64.b64encode(GOOD).decode()] * 4}).encode()
    with served(predictor) as port, ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(lambda _: send(port, body, Content_Type="application/json")[0], range(12)))
        assert answers == [200] * 12
        many = json.dumps({"inputs": [base64.b64encode(GOOD).decode()] * 20}).encode()
        assert len(finished) == 12
        assert max(at_once) == 2  # two requests of four: a third does not fit
        assert send(port, many, Content_Type="application/json")[0] == 200  # more than there is room for: alone


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("limits") / "run"
    train("digits", model="net", epochs=1, out=out, report=False)
    return out


def start(run: Path, *flags: str) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-m", "underhood", "serve", str(run), "--port", "0", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    return process, int(process.stdout.readline().split()[0].rsplit(":", 1)[1])


def children(pid: int) -> list[int]:
    every = Path("/proc").glob("[0-9]*/stat")
    found = []
    for file in every:
        with suppress(OSError):
            name, _, rest = file.read_text().rpartition(")")
            state, parent = rest.split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(name.split()[0]))
    return found


def test_images_still_to_be_decoded_do_not_hold_a_stop_signal(run: Path) -> None:
    tiff = encoded(Image.new("L", (8192, 6144)), "TIFF", compression="tiff_lzw")
    process, port = start(run)

    def post() -> None:
        with suppress(httpx.HTTPError):
            httpx.post(f"http://localhost:{port}/api/predict", files=[("file", ("a.tif", tiff))] * 64, timeout=120)

    clients = [threading.Thread(target=post) for _ in range(2)]
    for client in clients:
        client.start()
    time.sleep(4)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    for client in clients:
        client.join()
    assert (process.returncode, "Traceback" in err) == (143, False), err
    assert time.monotonic() - began < 20  # SHUTDOWN_TIMEOUT is 10


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_processes_that_decode_end_with_the_server(run: Path) -> None:
    process, port = start(run)
    assert send(port, PHOTOGRAPH)[0] == 200
    decoders = children(process.pid)
    assert decoders
    process.send_signal(signal.SIGKILL)
    process.communicate()
    end = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in decoders) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [pid for pid in decoders if Path(f"/proc/{pid}").exists()]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_decoding_process_that_ends_is_replaced(run: Path) -> None:
    process, port = start(run, "--allow-host", "digits.example.org")
    try:
        assert send(port, PHOTOGRAPH, Host="digits.example.org")[0] == 200
        for pid in children(process.pid):
            os.kill(pid, signal.SIGKILL)
        assert send(port, PHOTOGRAPH)[0] in (200, 413)  # 413 if it is only just ending
        assert send(port, PHOTOGRAPH)[0] == 200
    finally:
        process.terminate()
        process.communicate(timeout=30)


# --- predictions


def test_nan_is_an_error_and_never_in_json() -> None:
    for value in (float("nan"), float("inf")):
        with served(predicts(value)) as port:
            for path in ("/api/predict", "/api/explain"):
                status, answer, _ = send(port, path=path)
                assert (status, "NaN" in answer["detail"]) == (500, True)
    with served(predicts()) as port:
        text = httpx.get(f"http://localhost:{port}/api/model").text
        assert json.loads(text, parse_constant=pytest.fail)["metrics"] == {"loss": None}


# --- --collect


def collect(port: int, content: bytes) -> tuple[int, dict]:
    body = json.dumps({"inputs": base64.b64encode(content).decode(), "label": "cat"}).encode()
    return send(port, body, "/api/collect", Content_Type="application/json")[:2]


def test_a_photograph_of_several_images_is_saved_as_jpg(port: int, tmp_path: Path) -> None:
    mpo = encoded(
        picture(1, 64, 64, colour=True), "MPO", save_all=True, append_images=[picture(2, 64, 64, colour=True)]
    )
    assert Image.open(io.BytesIO(mpo)).format == "MPO"
    status, answer = collect(port, mpo)
    assert (status, Path(answer["saved"]).suffix) == (200, ".jpg")
    assert (tmp_path / "saved" / answer["saved"]).read_bytes() == mpo
    for form in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"):
        status, answer = collect(port, encoded(picture(5, colour=True), form))
        assert status == 200
        assert Path(answer["saved"]).suffix in SUFFIXES


def test_one_image_may_be_saved_many_times_at_once(port: int, tmp_path: Path) -> None:
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: collect(port, GOOD), range(240)))
    assert {status for status, _ in answers} == {200}
    (saved,) = (tmp_path / "saved" / "cat").iterdir()
    assert saved.read_bytes() == GOOD


def test_nothing_is_saved_through_a_link(port: int, tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "saved" / "cat").symlink_to(tmp_path / "elsewhere")
    status, answer = collect(port, GOOD)
    assert (status, "is a link" in answer["detail"]) == (507, True)
    assert not list((tmp_path / "elsewhere").iterdir())
