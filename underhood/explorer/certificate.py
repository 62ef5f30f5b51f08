"""The certificate of a page: an installed Chromium opens it, and it says what it sees in every validation image."""

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

from underhood.analysis.calibration import REASONS
from underhood.core.errors import RunError
from underhood.explorer.answers import Expected, same_reasons, same_sets
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
  const calibration = {{ ...calibrationOf(page.calibration), threshold: page.threshold }}, many = page.classes.length;
  const probabilities = new Float32Array(count * many), sets = new Uint8Array(count * many), reasons = [];
  for (let i = 0; i < count; i++) {{
    const pixels = tensor(shape, Float32Array.from(bytes.subarray(i * size, (i + 1) * size)));
    const {{ logits, features }} = logitsAndFeatures(layers, pixels, page.mirrored);
    const said = answerOf(calibration, pixels, logits, features);
    probabilities.set(said.probabilities, i * many);
    for (const label of said.set || []) sets[i * many + label] = 1;
    reasons.push(said.reason);
  }}
  const text = (array) => btoa(Array.from(new Uint8Array(array.buffer), (byte) => String.fromCharCode(byte)).join(""));
  const result = document.createElement("pre");
  result.textContent = "RESULT" + JSON.stringify({{
    browser: navigator.userAgent, probabilities: text(probabilities), sets: text(sets), reasons,
  }}) + "END";
  document.documentElement.replaceChildren(result);
}}
</script>
"""  # it runs while the page loads, so that --dump-dom prints its result


class Certificate(TypedDict):
    """How a page compares with torch on the validation images."""

    certified: bool
    images: int
    agree: int  # images with the same label; where torch's two best are within 1e-4, either counts
    sets_agree: int | None  # images with the same set of labels; None where the run has no sets, or none were compared
    rejections_agree: int  # images that are rejected for the same reason, or not at all in both
    max_difference: float | None  # of a probability; None where it was not compared
    browser: str | None  # such as Chromium 156


class BrowserError(Exception):
    """The browser did not give a result. The text is the reason."""


class Found(NamedTuple):
    """What a page says of n images."""

    probabilities: np.ndarray  # float32 [n, classes]
    sets: np.ndarray  # bool [n, classes]; all False where the run has no sets
    reasons: np.ndarray  # int [n], of ``REASONS``
    browser: str  # such as Chromium 156


def find_browser() -> str | None:
    """The path of an installed Chromium, or None."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def uncertified(images: int) -> Certificate:
    """What stands in a page that no browser has opened."""
    return {"certified": False, "images": images, "agree": 0, "sets_agree": None, "rejections_agree": 0,
            "max_difference": None, "browser": None}  # fmt: skip


def certify(page: str, browser: str, expected: Expected) -> Certificate:
    """Let a page say what it sees in images, in a browser, and compare with torch.

    page: its HTML; browser: a path
    Raises BrowserError where the browser gives no result, RunError where a label, a set or a rejection differs, or a
    probability by more than 1e-4.
    """
    workers, pixels = min(MAX_BROWSERS, os.cpu_count() or 1), expected.pixels
    length = max(1, min(CHUNK // max(1, pixels[0].size), max(FEW, math.ceil(len(pixels) / workers))))
    classes = expected.said.probabilities.shape[1]
    running: list[subprocess.Popen[str]] = []
    with ThreadPoolExecutor(workers) as pool:
        tasks = [
            pool.submit(_predict, page, browser, pixels[start : start + length], classes, running)
            for start in range(0, len(pixels), length)
        ]
        try:
            parts = [task.result() for task in tasks]
        except BaseException:  # Ctrl-C, too: nothing goes on
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                _kill(process)
            raise
    probabilities, sets, reasons, names = zip(*parts, strict=True)
    found = Found(np.concatenate(probabilities), np.concatenate(sets), np.concatenate(reasons), names[0])
    return compare(found, expected)


def compare(found: Found, expected: Expected) -> Certificate:
    """The certificate of what a page says. Raises RunError where it differs from what torch says.

    Where rounding decides, as torch's two best are within 1e-4, or a number is at its limit, both answers count.
    """
    probabilities = expected.said.probabilities
    near = probabilities >= probabilities.max(axis=1, keepdims=True) - MAX_DIFFERENCE  # [n, classes], the best included
    tied = near & (near.sum(axis=1, keepdims=True) > 1)
    same = tied.any(axis=1) | (found.probabilities.argmax(axis=1) == probabilities.argmax(axis=1))
    difference = float(np.abs(found.probabilities - probabilities).max())
    sets = np.ones(len(same), bool) if expected.said.sets is None else same_sets(found.sets, expected, tied)
    reasons = same_reasons(found.reasons, expected)
    if not (same.all() and sets.all() and reasons.all() and difference <= MAX_DIFFERENCE):  # NaN included
        raise RunError(
            f"the page's network differs from the run's in {found.browser} (a probability by {difference:.2g}; of "
            f"{len(same):,} images, {int(same.sum()):,} labels, {int(sets.sum()):,} sets and {int(reasons.sum()):,} "
            "rejections agree): nothing is written"
        )
    return {
        "certified": True, "images": len(same), "agree": int(same.sum()),
        "sets_agree": None if expected.said.sets is None else int(sets.sum()),
        "rejections_agree": int(reasons.sum()), "max_difference": difference, "browser": found.browser,
    }  # fmt: skip


def _predict(
    page: str, browser: str, pixels: np.ndarray, classes: int, running: "list[subprocess.Popen[str]]"
) -> Found:
    """What a page says of these images, uint8 [n, c, h, w], in a browser.

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
    probabilities, sets = (
        np.frombuffer(base64.b64decode(answer[name]), dtype).reshape(len(pixels), classes)
        for name, dtype in (("probabilities", "<f4"), ("sets", "?"))
    )
    reasons = np.array([REASONS.index(reason) for reason in answer["reasons"]])
    version = re.search(r"Chrome/(\d+)", answer["browser"])
    return Found(probabilities, sets, reasons, f"Chromium {version[1]}" if version else "Chromium")


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
