"""``serve``: a model behind HTTP, and the page where one draws. ``underhood serve RUN``, then http://127.0.0.1:8000."""

import asyncio
import base64
import hashlib
import io
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from fastapi_offline import FastAPIOffline
from PIL import Image

from underhood import __version__
from underhood.display.thumbnails import heat
from underhood.preparation.digit import STEPS
from underhood.preparation.prepare import BadPicture, TooLarge, picture_to_pixels
from underhood.serving import requests as bodies
from underhood.serving.batching import Batcher, Overloaded
from underhood.serving.predictor import Predictor
from underhood.serving.requests import Asked, Refused, read_asked

QUICK = 4096, 128  # bytes of a PNG, and its pixels a side: so small a one is prepared at once, without a thread
SMALL = 4096  # bytes of pixels: to compress so few takes longer than to send them
PAGE = Path(__file__).parent / "page" / "index.html"
TEXT = {"type": "string"}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "inputs": {"anyOf": [TEXT, {"type": "array", "items": TEXT}]},
                        "parameters": {"type": "object"},
                    },
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            },
        },
    },
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": what, "content": {"application/json": {"schema": {"type": "object"}}}}
    for status, what in {
        400: "no picture that can be read",
        408: "sent too slowly",
        413: "too many bytes or pixels",
        415: "neither a picture, a form nor JSON",
        422: "a form or JSON that is not as it must be",
        503: "overloaded: try again after Retry-After seconds",
    }.items()
}


class Answer(NamedTuple):
    """What the model says of one picture."""

    pixels: np.ndarray  # uint8 [c, h, w]
    probabilities: np.ndarray  # float32 [classes]
    rejected: bool


def make_app(predictor: Predictor, collect: Path | None = None) -> FastAPI:
    """The server of one model. collect: a folder for what people say that they drew; without it nothing is kept."""
    batcher: Batcher[np.ndarray, Answer] = Batcher(lambda pictures: _answer(predictor, pictures))
    facts = {
        "run": predictor.name,
        "model": predictor.model,
        "classes": list(predictor.classes),
        "size": [predictor.preparation.width, predictor.preparation.height],
        "preparation": predictor.preparation.as_dict(),
        "steps": list(STEPS) if predictor.preparation.fit == "digit" else [],
        "threshold": predictor.threshold,
        "metrics": predictor.metrics,
        "explains": predictor.contributions is not None,
        "collects": collect is not None,
    }

    app = FastAPIOffline(  # whose /docs loads nothing from elsewhere
        title="underhood", version=__version__, redoc_url=None, favicon_url="data:,"
    )

    @app.exception_handler(Refused)
    async def _refused(_: Request, error: Refused) -> Response:
        return _json({"detail": error.detail}, error.status)

    @app.exception_handler(Overloaded)
    async def _overloaded(_: Request, __: Overloaded) -> Response:
        return _json({"detail": "overloaded: try again in a second"}, 503, {"Retry-After": "1"})

    async def look(request: Request) -> tuple[Asked, list[Answer]]:
        try:
            async with asyncio.timeout(bodies.PATIENCE):
                asked = await read_asked(request)
        except TimeoutError:
            raise Refused(408, f"the request was not sent within {bodies.PATIENCE:g} seconds") from None
        except asyncio.CancelledError:
            raise Refused(503, "the server is ending") from None
        unknown = set(asked.steps) - set(STEPS)
        if unknown:
            raise Refused(422, f"unknown step {min(unknown)!r}: known are {', '.join(STEPS)}")
        steps = tuple(step for step in STEPS if asked.steps.get(step, True))
        if len(asked.pictures) == 1 and is_quick(asked.pictures[0]):  # to hand it to a thread would take as long
            return asked, await batcher.ask(_prepared(predictor, asked.pictures, steps))
        return asked, await batcher.ask(await asyncio.to_thread(_prepared, predictor, asked.pictures, steps))

    @app.head("/", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def _page() -> Response:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"))

    @app.post("/api/predict", openapi_extra=BODY, responses=ERRORS)
    async def predict(request: Request) -> Response:
        """The most probable labels of a picture; several pictures: {"results": […]}."""
        start = time.perf_counter()
        asked, answers = await look(request)
        told = [_told(predictor, answer, asked.top_k) for answer in answers]
        for one in told:
            one["ms"] = round(1000 * (time.perf_counter() - start), 2)
        return _json({"results": told} if asked.several else told[0])

    @app.post("/api/explain", openapi_extra=BODY, responses=ERRORS)
    async def explain(request: Request) -> Response:
        """What each pixel adds to the best label (null without torch), and the class whose ideal image is nearest."""
        start = time.perf_counter()
        asked, answers = await look(request)
        told = [await asyncio.to_thread(_explained, predictor, answer) for answer in answers]
        for one in told:
            one["ms"] = round(1000 * (time.perf_counter() - start), 2)
        return _json({"results": told} if asked.several else told[0])

    @app.get("/api/model")
    async def model() -> Response:
        """Classes, size, preparation, metrics."""
        return _json(facts)

    @app.head("/api/health", include_in_schema=False)
    @app.get("/api/health")
    async def health() -> Response:
        """Whether it is ready."""
        return _json({"status": "ready", "run": predictor.name})

    if collect is not None:

        @app.post("/api/collect", openapi_extra=BODY, responses=ERRORS)
        async def keep(request: Request) -> Response:
            """Save a drawing, as it was sent, into the folder of the class that ``label`` names."""
            asked, _ = await look(request)  # and so only what can be decoded
            if asked.label not in predictor.classes:
                raise Refused(422, "label must be one of the classes that /api/model names")
            if not _is_folder_name(asked.label):
                raise Refused(422, f"{asked.label[:60]!r} cannot be the name of a folder")
            if len(asked.pictures) > 1:
                raise Refused(422, "one picture at a time can be kept")
            try:
                path = await asyncio.to_thread(_keep, collect / asked.label, asked.pictures[0])
            except OSError as error:
                raise Refused(507, f"the picture cannot be saved ({error.strerror or error})") from None
            return _json({"saved": str(path.relative_to(collect))})

    return app


def is_quick(picture: bytes) -> bool:
    """Whether a file is a small PNG by what its first bytes declare: a few bytes may hold a large picture."""
    width, height = (int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
    return picture[:8] == b"\x89PNG\r\n\x1a\n" and len(picture) <= QUICK[0] and max(width, height) <= QUICK[1]


def _prepared(predictor: Predictor, pictures: Sequence[bytes], steps: Sequence[str]) -> list[np.ndarray]:
    """Files as pixels, uint8 [c, h, w] each. Raises Refused: 400 or 413."""
    try:
        return [picture_to_pixels(io.BytesIO(picture), predictor.preparation, steps) for picture in pictures]
    except BadPicture as bad:
        raise Refused(413 if isinstance(bad, TooLarge) else 400, f"the picture {bad}") from None


def _answer(predictor: Predictor, pictures: Sequence[np.ndarray]) -> list[Answer | Exception]:
    """What a batch of prepared pictures comes to."""
    pixels = np.stack(pictures)
    probabilities = predictor.probabilities(pixels)
    rejected = predictor.rejected(pixels, probabilities).tolist()
    return [Answer(*one) for one in zip(pictures, probabilities, rejected, strict=True)]


def _seen(pixels: np.ndarray) -> str:
    """Prepared pixels, uint8 [c, h, w], as a data URL."""
    file = io.BytesIO()
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    image.save(file, "PNG", compress_level=1 if pixels.nbytes > SMALL else 0)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _told(predictor: Predictor, answer: Answer, top_k: int) -> dict[str, Any]:
    best = np.argsort(-answer.probabilities, kind="stable")[:top_k].tolist()
    return {
        "predictions": [{"label": predictor.classes[i], "score": float(answer.probabilities[i])} for i in best],
        "rejected": answer.rejected,
        "seen": _seen(answer.pixels),
        "model": predictor.name,
    }


def _explained(predictor: Predictor, answer: Answer) -> dict[str, Any]:
    label = int(answer.probabilities.argmax())
    told: dict[str, Any] = {
        "label": predictor.classes[label],
        "rejected": answer.rejected,
        "seen": _seen(answer.pixels),
        "contributions": None,
        "nearest": None,
        "ideal": None,
        "model": predictor.name,
    }
    if predictor.contributions is not None:
        why = predictor.contributions(answer.pixels, label)
        told |= {"contributions": heat(why.values).address, "start": why.start, "logit": why.logit}
    if predictor.ideals is not None:
        distances = ((predictor.ideals.astype(np.float32) - answer.pixels) ** 2).mean(axis=(1, 2, 3))
        nearest = int(distances.argmin())
        told |= {"nearest": predictor.classes[nearest], "ideal": _seen(predictor.ideals[nearest])}
    return told


def _keep(folder: Path, picture: bytes) -> Path:
    """Save a picture under its own hash, whole or not at all."""
    with Image.open(io.BytesIO(picture)) as image:
        suffix = str(image.format or "png").lower()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(picture).hexdigest()[:24]}.{suffix}"
    part = path.with_suffix(".part")
    try:
        part.write_bytes(picture)
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return path


def _is_folder_name(label: str) -> bool:
    fits = 0 < len(label.encode("utf-8", "surrogateescape")) <= 255
    return fits and not label.startswith(".") and not set("/\\\0") & set(label)


def _json(content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(content), status, headers, "application/json")
