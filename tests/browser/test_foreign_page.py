"""What a page of somebody else can do to ``serve``, in Chromium: it reads nothing, saves nothing and frames nothing."""

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from underhood import Predictor, train
from underhood.data.files import encode_png
from underhood.data.named import read_digits
from underhood.serving.server import served

HTML = b"""<!doctype html><title>foreign</title>
<script>
async function send(address, body) {  // in all ways that the browser sends without asking first, and one that asks
  const json = {"Content-Type": "application/json"}, found = {};
  const tries = {
    text: {method: "POST", mode: "no-cors", body},
    file: {method: "POST", mode: "no-cors", body: new Blob([body])},
    json: {method: "POST", headers: json, body},
  };
  for (const [name, options] of Object.entries(tries)) {
    try { const answer = await fetch(address, options); found[name] = answer.type + " " + answer.status; }
    catch (error) { found[name] = "failed"; }
  }
  return found;
}
async function read(address) {
  try { return await (await fetch(address)).text(); } catch (error) { return "failed"; }
}
async function frame(address) {
  const frame = document.createElement("iframe");
  frame.src = address;
  const loaded = new Promise(resolve => frame.onload = resolve);
  document.body.append(frame);
  await loaded;
}
function submit(address, text) {
  const form = document.createElement("form");
  Object.assign(form, {method: "post", action: address, enctype: "text/plain"});
  const field = document.createElement("input");
  field.name = text.slice(0, -2) + ', "a": "'; field.value = '"}';
  form.append(field); document.body.append(form); form.submit();
}
</script><body></body>
"""


class Foreign(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(HTML)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def foreign() -> Iterator[str]:
    """The address of a page of another site."""
    with HTTPServer(("127.0.0.1", 0), Foreign) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://evil.example:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor.load(
        train("digits", epochs=1, out=tmp_path_factory.mktemp("foreign") / "run", report=False)["run"]
    )


@pytest.fixture
def port(predictor: Predictor, tmp_path: Path) -> Iterator[int]:
    with served(predictor, tmp_path / "saved") as port:
        yield port


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        yield context.new_page()


@pytest.fixture(scope="module")
def body() -> str:
    """A request to save an image, as JSON."""
    image = base64.b64encode(encode_png(read_digits()[0][0])).decode()
    return f'{{"inputs": "{image}", "label": "1"}}'


def test_a_page_of_another_origin_saves_nothing(page: Page, foreign: str, port: int, body: str, tmp_path: Path) -> None:
    statuses: list[int] = []
    page.on("response", lambda one: statuses.append(one.status) if one.request.method == "POST" else None)
    page.goto(foreign)
    address = f"http://127.0.0.1:{port}/api/collect"
    found = page.evaluate("([address, body]) => send(address, body)", [address, body])
    assert found["json"] == "failed"
    assert not any("200" in one for one in found.values())
    with page.expect_navigation():
        page.evaluate("([address, body]) => submit(address, body)", [address, body])
    assert "pages of other origins" in page.inner_text("body")
    assert set(statuses) == {403}
    assert not (tmp_path / "saved").exists()


def test_a_page_of_another_origin_reads_and_frames_nothing(page: Page, foreign: str, port: int) -> None:
    page.goto(foreign)
    assert page.evaluate("address => read(address)", f"http://127.0.0.1:{port}/api/model") == "failed"
    page.evaluate("address => frame(address)", f"http://127.0.0.1:{port}/")
    (frame,) = page.frames[1:]
    assert frame.locator("#canvas").count() == 0


def test_a_name_that_somebody_points_to_this_machine_is_of_no_use(
    page: Page, port: int, body: str, tmp_path: Path
) -> None:
    """DNS rebinding: for the browser, the page and the server are of one origin."""
    response = page.goto(f"http://rebound.example:{port}/")
    assert response
    assert response.status == 403
    text = page.evaluate("async () => (await fetch('/api/model')).status")
    assert text == 403
    saved = """async body => (await fetch('/api/collect',
        {method: 'POST', headers: {'Content-Type': 'application/json'}, body})).status"""
    assert page.evaluate(saved, body) == 403
    assert not (tmp_path / "saved").exists()


def test_the_page_itself_saves(page: Page, port: int, body: str, tmp_path: Path) -> None:
    page.goto(f"http://localhost:{port}/")
    saved = """async body => (await fetch('/api/collect',
        {method: 'POST', headers: {'Content-Type': 'application/json'}, body})).status"""
    assert page.evaluate(saved, body) == 200
    assert len(list((tmp_path / "saved").rglob("*.png"))) == 1
