"""The server: what it answers, what it refuses, and how it ends."""

import asyncio
import base64
import io
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
from conftest import Outcome
from drawing import drawn
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from underhood import Predictor, export, read, train
from underhood.serving import requests as bodies
from underhood.serving.app import is_quick, make_app
from underhood.serving.requests import MOST_BYTES
from underhood.serving.server import served

Command = Callable[..., Outcome]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("serve") / "run"
    train("digits", model="conv", epochs=4, out=out, report=False)
    return out


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return Predictor.load(run)


@pytest.fixture(scope="module")
def server(predictor: Predictor) -> Iterator[httpx.Client]:
    with served(predictor) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        yield client


def png(image: Image.Image | np.ndarray) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, "PNG")
    return file.getvalue()


DRAWN = png(drawn(3, 2).image)
TYPE = {"Content-Type": "image/png"}


def test_a_raw_picture_a_form_and_json_get_the_same_answer(server: httpx.Client, predictor: Predictor) -> None:
    raw = server.post("/api/predict", content=DRAWN, headers=TYPE).json()
    form = server.post("/api/predict", files={"file": ("digit.png", DRAWN, "image/png")}).json()
    text = base64.b64encode(DRAWN).decode()
    plain = server.post("/api/predict", json={"inputs": text}).json()
    url = server.post(
        "/api/predict", json={"inputs": f"data:image/png;base64,{text}", "parameters": {"top_k": 3}}
    ).json()
    assert set(raw) == {"predictions", "rejected", "seen", "model", "ms"}
    labels, probabilities = predictor.predict([io.BytesIO(DRAWN)])
    assert raw["predictions"][0]["label"] == labels[0]
    assert raw["predictions"][0]["score"] == pytest.approx(probabilities.max(), abs=1e-6)
    assert len(raw["predictions"]) == 5
    assert len(url["predictions"]) == 3
    for other in (form, plain, url):
        assert other["predictions"][0]["label"] == labels[0]
        assert other["seen"] == raw["seen"]
    seen = Image.open(io.BytesIO(base64.b64decode(raw["seen"].split(",")[1])))
    assert seen.size == (8, 8)


def test_several_pictures_get_results_in_their_order(server: httpx.Client, predictor: Predictor) -> None:
    pixels = read("digits").valid.pixels[:7]
    files = [("file", (f"{i}.png", png(one[0]), "image/png")) for i, one in enumerate(pixels)]
    results = server.post("/api/predict", files=files).json()["results"]
    texts = [base64.b64encode(png(one[0])).decode() for one in pixels]
    again = server.post("/api/predict", json={"inputs": texts}).json()["results"]
    labels, _ = predictor.predict_pixels(pixels)
    assert [one["predictions"][0]["label"] for one in results] == labels
    assert [one["predictions"][0]["label"] for one in again] == labels


def test_steps_change_what_is_seen(server: httpx.Client, tmp_path: Path) -> None:
    text = base64.b64encode(DRAWN).decode()
    whole = server.post("/api/predict", json={"inputs": text}).json()
    without = server.post("/api/predict", json={"inputs": text, "parameters": {"steps": {"crop": False}}}).json()
    same = server.post("/api/predict", json={"inputs": text, "parameters": {"steps": {"crop": True}}}).json()
    assert whole["seen"] == same["seen"] != without["seen"]


def test_explain_gives_contributions_and_the_nearest_ideal(
    server: httpx.Client, predictor: Predictor, run: Path
) -> None:
    told = server.post("/api/explain", content=DRAWN, headers=TYPE).json()
    assert told["contributions"].startswith("data:image/png;base64,")
    assert told["ideal"].startswith("data:image/png;base64,")
    assert told["nearest"] in predictor.classes
    export(run)
    without_torch = Predictor.load(run / "model.onnx")
    assert without_torch.ideals is not None
    assert predictor.ideals is not None
    assert (without_torch.ideals == predictor.ideals).all()
    with served(without_torch) as port:
        same = httpx.post(f"http://127.0.0.1:{port}/api/explain", content=DRAWN, headers=TYPE).json()
        assert (same["contributions"], same["nearest"]) == (None, told["nearest"])
        answer = httpx.post(f"http://127.0.0.1:{port}/api/predict", content=DRAWN, headers=TYPE).json()
    direct = server.post("/api/predict", content=DRAWN, headers=TYPE).json()
    assert answer["predictions"][0]["score"] == pytest.approx(direct["predictions"][0]["score"], abs=1e-4)


def test_model_health_page_and_openapi(server: httpx.Client) -> None:
    told = server.get("/api/model").json()
    assert told["classes"] == list("0123456789")
    assert told["size"] == [8, 8]
    assert told["metrics"]["accuracy"] > 0.9
    assert told["preparation"]["fit"] == "digit"
    assert server.get("/api/health").json()["status"] == "ready"
    page = server.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    assert "https://" not in page.text
    paths = server.get("/openapi.json").json()["paths"]
    assert {"/api/predict", "/api/explain", "/api/model", "/api/health"} <= set(paths)
    assert server.get("/docs").status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"no picture", "image/png", 400),
        (b"", "image/png", 400),
        (DRAWN[: len(DRAWN) // 2], "image/png", 400),
        (DRAWN, "text/plain", 415),
        (DRAWN, "application/json", 422),
        (b"[]", "application/json", 422),
        (b"{}", "application/json", 422),
        (b'{"inputs": 3}', "application/json", 422),
        (b'{"inputs": []}', "application/json", 422),
        (b'{"inputs": "no base64!"}', "application/json", 422),
        (b'{"inputs": "aGVsbG8="}', "application/json", 400),
        (b'{"inputs": "data:image/png,x"}', "application/json", 422),
        (b'{"inputs": "aGVsbG8=", "parameters": {"top_k": 0}}', "application/json", 422),
        (b'{"inputs": "aGVsbG8=", "parameters": {"top_k": true}}', "application/json", 422),
        (b'{"inputs": "aGVsbG8=", "parameters": {"steps": {"fly": true}}}', "application/json", 422),
        (b"[" * 100_000, "application/json", 422),
        (b"x", "multipart/form-data", 422),
        (b"--a\r\n\r\n--a--", "multipart/form-data; boundary=a", 422),
    ],
)
def test_what_cannot_be_answered_is_refused_with_its_reason(
    server: httpx.Client, content: bytes, kind: str, status: int
) -> None:
    for path in ("/api/predict", "/api/explain"):
        answer = server.post(path, content=content, headers={"Content-Type": kind})
        assert (answer.status_code, set(answer.json())) == (status, {"detail"}), answer.text


def test_too_many_bytes_or_pixels_are_refused_before_decoding(server: httpx.Client) -> None:
    answer = server.post("/api/predict", content=bytes(MOST_BYTES + 1), headers=TYPE)
    assert answer.status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(MOST_BYTES // 1_000_000 + 2):
            yield bytes(1_000_000)

    with suppress(httpx.WriteError, httpx.RemoteProtocolError):  # it may not wait for the rest
        assert server.post("/api/predict", content=chunks(), headers=TYPE).status_code == 413
    bomb = png(Image.new("1", (30_000, 30_000)))
    assert len(bomb) < 200_000
    start = time.monotonic()
    answer = server.post("/api/predict", content=bomb, headers=TYPE)
    assert (answer.status_code, "too large" in answer.json()["detail"]) == (413, True)
    assert time.monotonic() - start < 1


@settings(max_examples=int(os.environ.get("FUZZ", 200)), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=400),
        st.builds(
            lambda at, by: DRAWN[:at] + by + DRAWN[at + len(by) :], st.integers(0, len(DRAWN)), st.binary(max_size=8)
        ),
    ),
    st.sampled_from(["image/png", "application/json", "multipart/form-data; boundary=x", "", "a/b", "image/svg+xml"]),
)
def test_no_body_is_an_error_of_ours(server: httpx.Client, content: bytes, kind: str) -> None:
    answer = server.post("/api/predict", content=content, headers={"Content-Type": kind})
    assert answer.status_code in (200, 400, 413, 415, 422)


def test_a_small_file_that_is_a_large_picture_goes_to_a_thread(server: httpx.Client) -> None:
    assert is_quick(png(Image.new("L", (28, 28))))
    for image, form in ((Image.new("RGBA", (16_383, 3000)), "WEBP"), (Image.new("1", (1000, 1000)), "PNG")):
        file = io.BytesIO()
        image.save(file, form, lossless=True)
        assert len(file.getvalue()) < 4096
        assert not is_quick(file.getvalue())
    for short in (b"", b"\x89PNG\r\n\x1a\n", DRAWN[:20]):
        assert server.post("/api/predict", content=short, headers=TYPE).status_code == 400


def test_a_cut_connection_harms_nobody(server: httpx.Client) -> None:
    port = server.base_url.port or 0
    for part in (
        b"POST /api/predict HTTP/1.1\r\n",
        b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nabc",
    ):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(part)
    assert server.post("/api/predict", content=DRAWN, headers=TYPE).status_code == 200


def test_slow_clients_keep_nobody_waiting_and_are_sent_away(
    server: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "PATIENCE", 4.0)
    port, head = server.base_url.port or 0, b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    for number, connection in enumerate(slow):
        connection.sendall(head if number % 2 else head + b"Content-Length: 999\r\n\r\nabc")
    start = time.monotonic()
    assert server.post("/api/predict", content=DRAWN, headers=TYPE).status_code == 200
    assert time.monotonic() - start < 3.5  # nobody was sent away yet
    for connection in slow:
        connection.settimeout(10)
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
    for connection in slow:
        connection.close()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as endless:
        with suppress(ConnectionError):
            for _ in range(100):
                endless.sendall(b"X: " if not _ else bytes(64_000).replace(b"\0", b"a"))
        with suppress(ConnectionError):
            assert endless.recv(100)[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400")
    assert server.get("/api/health").json()["status"] == "ready"


def test_collect_saves_the_raw_drawing_into_a_folder_that_trains(predictor: Predictor, tmp_path: Path) -> None:
    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(make_app(predictor, tmp_path / "kept"))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            answers = []
            for number in range(30):
                case = drawn(number, 6)
                body = {"inputs": base64.b64encode(png(case.image)).decode(), "label": str(case.digit)}
                answers.append(await client.post("/api/collect", json=body))
            for label in ("../x", "", None, "seven"):
                answers.append(await client.post("/api/collect", json=body | {"label": label}))
            (tmp_path / "kept" / "7").rename(tmp_path / "seven")
            (tmp_path / "kept" / "7").write_text("a file is in the way")
            answers.append(await client.post("/api/collect", json=body | {"label": "7"}))
            (tmp_path / "kept" / "7").unlink()
            (tmp_path / "seven").rename(tmp_path / "kept" / "7")
            return answers

    *saved, one, two, three, four, blocked = asyncio.run(send())
    assert all(answer.status_code == 200 for answer in saved)
    assert [answer.status_code for answer in (one, two, three, four)] == [422] * 4
    assert (blocked.status_code, set(blocked.json())) == (507, {"detail"})
    for number, answer in enumerate(saved):
        assert (tmp_path / "kept" / answer.json()["saved"]).read_bytes() == png(drawn(number, 6).image)
    assert not list(tmp_path.rglob("*.part"))
    assert train(tmp_path / "kept", fit="digit", epochs=1, out=tmp_path / "run", report=False)["run"]


def test_without_collect_nothing_is_kept(server: httpx.Client) -> None:
    assert server.post("/api/collect", json={"inputs": "", "label": "1"}).status_code == 404


def test_the_interfaces_page_loads_nothing_from_elsewhere(server: httpx.Client) -> None:
    page = server.get("/docs").text
    needed = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert needed
    for address in needed:
        assert address.startswith("data:") or server.get(address).status_code == 200
    assert "http" not in re.sub(r"<!--.*?-->", "", page)
