"""The certificate of a page: an installed Chromium opens it, and its network predicts every validation image."""

import base64
import json
import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np

from underhood.core.errors import RunError
from underhood.explorer.images import pixels_as_text

BROWSERS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)  # fmt: skip
MAX_DIFFERENCE = 1e-4  # of a probability
CHUNK = 16_000_000  # bytes of pixels that the page gets at once
FEW = 2_000  # images, for which a second browser is not started
MAX_BROWSERS = 4  # at once, one for each core
TIMEOUT = 600  # seconds for one chunk
SCRIPT = """
<script id="certify" type="application/json">{images}</script>
<script>
"use strict";
{{
  const {{ shape, count, base64 }} = JSON.parse(document.getElementById("certify").textContent);
  const page = JSON.parse(document.getElementById("data").textContent), size = shape[0] * shape[1] * shape[2];
  const layers = layersOf(page.network, numbersOf(page.network.snapshots.at(-1))), bytes = bytesOf(base64);
  const found = new Float32Array(count * page.classes.length);
  for (let i = 0; i < count; i++) {{
    const pixels = tensor(shape, Float32Array.from(bytes.subarray(i * size, (i + 1) * size)));
    found.set(softmax(logitsOf(layers, pixels, page.mirrored)), i * page.classes.length);
  }}
  const letters = Array.from(new Uint8Array(found.buffer), (byte) => String.fromCharCode(byte)).join("");
  const result = document.createElement("pre");
  result.textContent = "RESULT" + JSON.stringify({{ browser: navigator.userAgent, base64: btoa(letters) }}) + "END";
  document.documentElement.replaceChildren(result);
}}
</script>
"""  # it runs while the page loads, so that --dump-dom prints its result


class Certificate(TypedDict):
    """How a page's network compares with torch on the validation images."""

    certified: bool
    images: int
    agree: int  # images with the same label; where torch's two best are within 1e-4, either counts
    max_difference: float | None  # of a probability; None where it was not compared
    browser: str | None  # such as Chromium 156


class BrowserError(Exception):
    """The browser did not give a result. The text is the reason."""


class _Answer(NamedTuple):
    probabilities: np.ndarray  # float32 [n, classes]
    browser: str


def find_browser() -> str | None:
    """The path of an installed Chromium, or None."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def uncertified(images: int) -> Certificate:
    """What stands in a page that no browser has opened."""
    return {"certified": False, "images": images, "agree": 0, "max_difference": None, "browser": None}


def certify(page: str, browser: str, pixels: np.ndarray, probabilities: np.ndarray) -> Certificate:
    """Let the network of a page predict images in a browser, and compare with torch.

    page: its HTML; browser: a path; pixels: uint8 [n, c, h, w]; probabilities: torch's, float32 [n, classes]
    Raises BrowserError where the browser gives no result, RunError where a label differs or a probability by more than
    1e-4.
    """
    workers = min(MAX_BROWSERS, os.cpu_count() or 1)
    length = max(1, min(CHUNK // max(1, pixels[0].size), max(FEW, math.ceil(len(pixels) / workers))))
    running: list[subprocess.Popen[str]] = []
    with ThreadPoolExecutor(workers) as pool:
        tasks = [
            pool.submit(_predict, page, browser, pixels[start : start + length], probabilities.shape[1], running)
            for start in range(0, len(pixels), length)
        ]
        try:
            answers = [task.result() for task in tasks]
        except BaseException:  # Ctrl-C, too: nothing goes on
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                _kill(process)
            raise
    return compare(np.concatenate([one.probabilities for one in answers]), probabilities, answers[0].browser)


def compare(found: np.ndarray, expected: np.ndarray, browser: str) -> Certificate:
    """The certificate of a page's probabilities. Both: float32 [n, classes]. Raises RunError where they differ."""
    best = np.sort(expected, axis=1)[:, -2:]  # [n, ≤ 2]
    tied = best[:, -1] - best[:, 0] <= MAX_DIFFERENCE if best.shape[1] > 1 else np.ones(len(best), bool)
    same = (found.argmax(axis=1) == expected.argmax(axis=1)) | tied
    difference = float(np.abs(found - expected).max())
    if not (same.all() and difference <= MAX_DIFFERENCE):  # NaN included
        raise RunError(
            f"the page's network differs from the run's in {browser} (a probability by {difference:.2g}, "
            f"{int(same.sum()):,} of {len(same):,} labels agree): nothing is written"
        )
    return {"certified": True, "images": len(same), "agree": int(same.sum()), "max_difference": difference,
            "browser": browser}  # fmt: skip


def _predict(
    page: str, browser: str, pixels: np.ndarray, classes: int, running: "list[subprocess.Popen[str]]"
) -> _Answer:
    """The probabilities that a page's network gives these images, uint8 [n, c, h, w], in a browser.

    running: gets the browser's process
    """
    images = {"shape": pixels.shape[1:], "count": len(pixels), "base64": pixels_as_text(pixels)}
    with tempfile.TemporaryDirectory(prefix="underhood-explore-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / "page.html"
        copy.write_text(page.replace("</body>", SCRIPT.format(images=json.dumps(images)) + "</body>"), "utf-8")
        text = _dump(browser, copy, Path(folder) / "profile", running)
    result = re.search(r"RESULT(\{.*\})END", text)
    if result is None:
        raise BrowserError("it printed no result")
    answer: dict[str, Any] = json.loads(result[1])
    found = np.frombuffer(base64.b64decode(answer["base64"]), "<f4").reshape(len(pixels), classes)
    version = re.search(r"Chrome/(\d+)", answer["browser"])
    return _Answer(found, f"Chromium {version[1]}" if version else "Chromium")


def _dump(browser: str, page: Path, profile: Path, running: "list[subprocess.Popen[str]]") -> str:
    """What a page looks like once it is loaded, as HTML. The browser's processes are gone afterwards."""
    command = [
        browser, "--headless", "--dump-dom", f"--user-data-dir={profile}", "--disable-gpu", "--no-first-run",
        "--disable-extensions", "--disable-background-networking", "--disable-sync", "--disable-breakpad",
        "--disable-dev-shm-usage", *(["--no-sandbox"] if _is_root() else []), page.as_uri(),
    ]  # fmt: skip
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            encoding="utf-8", errors="replace", start_new_session=True,
            env=os.environ | {"TMPDIR": str(page.parent)},
        )  # fmt: skip
    except OSError as error:
        raise BrowserError(f"it cannot be started ({error.strerror})") from None
    running.append(process)
    try:
        return process.communicate(timeout=TIMEOUT)[0]
    except subprocess.TimeoutExpired:
        raise BrowserError(f"it gave no result in {TIMEOUT} s") from None
    finally:
        _kill(process)


def _kill(process: "subprocess.Popen[str]") -> None:
    """End a browser, with the processes that it has started."""
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
    process.wait()


def _is_root() -> bool:
    """Whether this is the superuser, for whom Chromium refuses its sandbox."""
    return hasattr(os, "geteuid") and os.geteuid() == 0
