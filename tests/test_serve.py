"""The HTTP interface: responses, errors, limits and ``--collect``."""

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
from underhood.serving import requests
from underhood.serving.app import make_app
from underhood.serving.decoding import is_quick
from underhood.serving.requests import MAX_BYTES, HTTPError, parse_json
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


def test_a_raw_image_a_form_and_json_get_the_same_response(server: httpx.Client, predictor: Predictor) -> None:
    raw = server.post("/api/predict", content=DRAWN, headers=TYPE).json()
    form = server.post("/api/predict", files={"file": ("digit.png", DRAWN, "image/png")}).json()
    text = base64.b64encode(DRAWN).decode()
    plain = server.post("/api/predict", json={"inputs": text}).json()
    url = server.post(
        "/api/predict", json={"inputs": f"data:image/png;base64,{text}", "parameters": {"top_k": 3}}
    ).json()
    assert set(raw) == {"label", "set", "predictions", "rejected", "reason", "seen", "model", "ms"}
    labels, probabilities = predictor.predict([io.BytesIO(DRAWN)])
    assert raw["label"] == raw["set"][0] == raw["predictions"][0]["label"] == labels[0]
    assert raw["predictions"][0]["score"] == pytest.approx(probabilities.max(), abs=1e-6)
    assert len(raw["predictions"]) == 5
    assert len(url["predictions"]) == 3
    for other in (form, plain, url):
        assert [other[key] for key in ("label", "set", "rejected", "reason")] == [
            raw[key] for key in ("label", "set", "rejected", "reason")
        ]
        assert other["predictions"][0]["label"] == labels[0]
        assert other["seen"] == raw["seen"]
    seen = Image.open(io.BytesIO(base64.b64decode(raw["seen"].split(",")[1])))
    assert seen.size == (8, 8)


def test_several_images_get_results_in_their_order(server: httpx.Client, predictor: Predictor) -> None:
    pixels = read("digits").valid.pixels[:7]
    files = [("file", (f"{i}.png", png(one[0]), "image/png")) for i, one in enumerate(pixels)]
    results = server.post("/api/predict", files=files).json()["results"]
    texts = [base64.b64encode(png(one[0])).decode() for one in pixels]
    again = server.post("/api/predict", json={"inputs": texts}).json()["results"]
    labels, _ = predictor.predict_pixels(pixels)
    assert [one["predictions"][0]["label"] for one in results] == labels
    assert [one["predictions"][0]["label"] for one in again] == labels


def test_steps_change_the_prepared_image(server: httpx.Client, tmp_path: Path) -> None:
    text = base64.b64encode(DRAWN).decode()
    whole = server.post("/api/predict", json={"inputs": text}).json()
    without = server.post("/api/predict", json={"inputs": text, "parameters": {"steps": {"crop": False}}}).json()
    same = server.post("/api/predict", json={"inputs": text, "parameters": {"steps": {"crop": True}}}).json()
    assert whole["seen"] == same["seen"] != without["seen"]


def test_explain_returns_attributions_and_the_nearest_class_mean(
    server: httpx.Client, predictor: Predictor, run: Path
) -> None:
    result = server.post("/api/explain", content=DRAWN, headers=TYPE).json()
    assert result["contributions"].startswith("data:image/png;base64,")
    assert result["ideal"].startswith("data:image/png;base64,")
    assert result["nearest"] in predictor.classes
    blank = server.post("/api/explain", content=png(Image.new("L", (40, 40), "white")), headers=TYPE).json()
    assert (blank["rejected"], blank["reason"]) == (True, "blank")
    export(run)
    without_torch = Predictor.load(run / "model.onnx")
    assert without_torch.class_means is not None
    assert predictor.class_means is not None
    assert (without_torch.class_means == predictor.class_means).all()
    with served(without_torch) as port:
        same = httpx.post(f"http://127.0.0.1:{port}/api/explain", content=DRAWN, headers=TYPE).json()
        assert (same["contributions"], same["nearest"]) == (None, result["nearest"])
        answer = httpx.post(f"http://127.0.0.1:{port}/api/predict", content=DRAWN, headers=TYPE).json()
    direct = server.post("/api/predict", content=DRAWN, headers=TYPE).json()
    assert answer["predictions"][0]["score"] == pytest.approx(direct["predictions"][0]["score"], abs=1e-4)


def test_model_health_page_and_openapi(server: httpx.Client, predictor: Predictor) -> None:
    result = server.get("/api/model").json()
    assert result["classes"] == list("0123456789")
    assert result["size"] == [8, 8]
    assert result["metrics"]["accuracy"] > 0.9
    assert result["preparation"]["fit"] == "digit"
    assert predictor.calibration is not None
    assert (result["coverage"], result["temperature"]) == (0.95, predictor.calibration.temperature)
    assert result["distance_limit"] == predictor.calibration.distance_limit
    assert server.get("/api/health").json()["status"] == "ready"
    page = server.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    assert "https://" not in page.text
    paths = server.get("/openapi.json").json()["paths"]
    assert {"/api/predict", "/api/explain", "/api/model", "/api/health"} <= set(paths)
    assert server.get("/docs").status_code == 200


def test_openapi_describes_each_body(server: httpx.Client) -> None:
    described = server.get("/openapi.json").json()
    schemas = described["components"]["schemas"]
    for path, model in (("/api/predict", "PredictResponse"), ("/api/explain", "ExplainResponse")):
        post = described["paths"][path]["post"]
        contents = post["requestBody"]["content"]
        assert set(contents) == {"application/json", "image/*", "multipart/form-data"}
        body = contents["application/json"]["schema"]
        assert "$ref" not in str(body)
        assert (set(body["properties"]), body["required"]) == ({"inputs", "parameters", "label"}, ["inputs"])
        parameters = next(one for one in body["properties"]["parameters"]["anyOf"] if one["type"] == "object")
        top_k = parameters["properties"]["top_k"]
        assert (top_k["minimum"], top_k["maximum"], top_k["default"]) == (1, 10_000, 5)
        either = post["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"]
        assert {one["$ref"].rsplit("/", 1)[1] for one in either} == {model, f"Results_{model}_"}
        assert {"400", "408", "413", "415", "422", "503"} <= set(post["responses"])
        text = base64.b64encode(DRAWN).decode()
        one = server.post(path, json={"inputs": text}).json()
        several = server.post(path, json={"inputs": [text, text]}).json()
        for result in (one, *several["results"]):
            assert set(result) == set(schemas[model]["properties"])


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"no image", "image/png", 400),
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
def test_invalid_requests_get_a_status_and_one_line(
    server: httpx.Client, content: bytes, kind: str, status: int
) -> None:
    for path in ("/api/predict", "/api/explain"):
        answer = server.post(path, content=content, headers={"Content-Type": kind})
        assert (answer.status_code, set(answer.json())) == (status, {"detail"}), answer.text
        assert "\n" not in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("[]", 'the JSON must be {"inputs": base64 or a data URL, "parameters": {…}}'),
        ('{"inputs": 3}', "inputs must be a base64 string or data URL of an image, or a list of 1 to 64 of them"),
        ('{"inputs": ["", 3]}', "inputs must be a base64 string or data URL of an image, or a list of 1 to 64 of them"),
        ('{"inputs": "", "parameters": 3}', "parameters must be an object"),
        ('{"inputs": "", "parameters": {"top_k": "5"}}', "parameters.top_k must be an integer from 1 to 10,000"),
        ('{"inputs": "", "parameters": {"top_k": 10001}}', "parameters.top_k must be an integer from 1 to 10,000"),
        (
            '{"inputs": "", "parameters": {"steps": {"crop": 1}}}',
            "parameters.steps must be an object of true and false by name of step",
        ),
        ('{"inputs": "", "label": 7}', "label must be a string"),
        ("{", "the body is not valid JSON"),
    ],
)
def test_errors_in_json_name_the_field(body: str, detail: str) -> None:
    with pytest.raises(HTTPError) as refused:
        parse_json(body.encode())
    assert (refused.value.status, refused.value.detail) == (422, detail)


def test_json_may_have_null_parameters_other_encodings_and_further_fields() -> None:
    plain = parse_json(b'{"inputs": "aGVsbG8="}')
    assert plain == ([b"hello"], False, 5, {}, None)
    assert parse_json(b'{"inputs": "aGVsbG8=", "parameters": null, "label": null, "more": 1}') == plain
    assert parse_json(b'{"inputs": "aGVsbG8=", "parameters": {"steps": null, "more": 1}}') == plain
    assert parse_json('\ufeff{"inputs": "aGVsbG8="}'.encode()) == plain
    assert parse_json('{"inputs": "aGVsbG8="}'.encode("utf-16")) == plain
    assert parse_json(b'{"inputs": ["aGVsbG8="], "label": "\\udcff"}') == ([b"hello"], True, 5, {}, "\udcff")


def test_many_wrong_steps_are_refused_in_the_time_that_json_takes() -> None:
    steps = ",".join(f'"{number}":1' for number in range(200_000))
    start = time.monotonic()
    with pytest.raises(HTTPError, match=r"parameters\.steps must be an object"):
        parse_json(f'{{"inputs": "", "parameters": {{"steps": {{{steps}}}}}}}'.encode())
    assert time.monotonic() - start < 1


def test_too_many_bytes_or_pixels_are_refused_before_decoding(server: httpx.Client) -> None:
    answer = server.post("/api/predict", content=bytes(MAX_BYTES + 1), headers=TYPE)
    assert answer.status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(MAX_BYTES // 1_000_000 + 2):
            yield bytes(1_000_000)

    with suppress(httpx.WriteError, httpx.RemoteProtocolError):  # the server may close before it has read the rest
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
def test_no_body_is_a_server_error(server: httpx.Client, content: bytes, kind: str) -> None:
    answer = server.post("/api/predict", content=content, headers={"Content-Type": kind})
    assert answer.status_code in (200, 400, 413, 415, 422)


def test_a_small_file_with_a_large_image_is_not_quick(server: httpx.Client) -> None:
    assert is_quick(png(Image.new("L", (28, 28))))
    for image, form in ((Image.new("RGBA", (16_383, 3000)), "WEBP"), (Image.new("1", (1000, 1000)), "PNG")):
        file = io.BytesIO()
        image.save(file, form, lossless=True)
        assert len(file.getvalue()) < 4096
        assert not is_quick(file.getvalue())
    for truncated in (b"", b"\x89PNG\r\n\x1a\n", DRAWN[:20]):
        assert server.post("/api/predict", content=truncated, headers=TYPE).status_code == 400


def test_the_server_survives_cut_connections(server: httpx.Client) -> None:
    port = server.base_url.port or 0
    for part in (
        b"POST /api/predict HTTP/1.1\r\n",
        b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nabc",
    ):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(part)
    assert server.post("/api/predict", content=DRAWN, headers=TYPE).status_code == 200


def test_slow_clients_block_no_other_and_time_out(server: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "TIMEOUT", 4.0)
    port, head = (
        server.base_url.port or 0,
        b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n",
    )
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    for number, connection in enumerate(slow):
        connection.sendall(head if number % 2 else head + b"Content-Length: 999\r\n\r\nabc")
    start = time.monotonic()
    assert server.post("/api/predict", content=DRAWN, headers=TYPE).status_code == 200
    assert time.monotonic() - start < 3.5  # no slow client has timed out yet
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


def test_collect_saves_files_in_a_folder_that_trains(predictor: Predictor, tmp_path: Path) -> None:
    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(make_app(predictor, tmp_path / "saved"))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            answers = []
            for number in range(30):
                case = drawn(number, 6)
                body = {"inputs": base64.b64encode(png(case.image)).decode(), "label": str(case.digit)}
                answers.append(await client.post("/api/collect", json=body))
            for label in ("../x", "", None, "seven"):
                answers.append(await client.post("/api/collect", json=body | {"label": label}))
            (tmp_path / "saved" / "7").rename(tmp_path / "seven")
            (tmp_path / "saved" / "7").write_text("not a folder")
            answers.append(await client.post("/api/collect", json=body | {"label": "7"}))
            (tmp_path / "saved" / "7").unlink()
            (tmp_path / "seven").rename(tmp_path / "saved" / "7")
            return answers

    *saved, one, two, three, four, blocked = asyncio.run(send())
    assert all(answer.status_code == 200 for answer in saved)
    assert [answer.status_code for answer in (one, two, three, four)] == [422] * 4
    assert (blocked.status_code, set(blocked.json())) == (507, {"detail"})
    for number, answer in enumerate(saved):
        assert (tmp_path / "saved" / answer.json()["saved"]).read_bytes() == png(drawn(number, 6).image)
    assert not list(tmp_path.rglob("*.part"))
    assert train(tmp_path / "saved", fit="digit", epochs=1, out=tmp_path / "run", report=False)["run"]


def test_without_collect_nothing_is_saved(server: httpx.Client) -> None:
    assert server.post("/api/collect", json={"inputs": "", "label": "1"}).status_code == 404


def test_docs_load_nothing_from_other_hosts(server: httpx.Client) -> None:
    page = server.get("/docs").text
    needed = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert needed
    for address in needed:
        assert address.startswith("data:") or server.get(address).status_code == 200
    assert "http" not in re.sub(r"<!--.*?-->", "", page)
