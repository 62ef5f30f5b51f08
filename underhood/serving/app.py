"""The HTTP interface of one model, and the page to draw on: ``underhood serve RUN``, then http://127.0.0.1:8000."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi_offline import FastAPIOffline

from underhood import __version__
from underhood.analysis.predictions import labels_of
from underhood.core.errors import UnderhoodError
from underhood.data.files import data_url, encode_png
from underhood.display.figures import heat
from underhood.display.pages import read_page
from underhood.preparation import IMPLEMENTATIONS
from underhood.runs.calibration import Calibration
from underhood.serving import Predictor, requests
from underhood.serving.batching import Batcher, Overloaded
from underhood.serving.collecting import save_request
from underhood.serving.decoding import Decoder
from underhood.serving.requests import ExplainResponse, HTTPError, ParsedRequest, PredictResponse, Results

UNCOMPRESSED_BYTES = 4096  # of pixels: compressing so few takes longer than sending them
STEPS = tuple(step for fit in IMPLEMENTATIONS.values() for step in fit.steps)  # of any preparation
PAGE = Path(__file__).parent / "page" / "index.html"
NOT_PREDICTED = "the model predicts NaN, or numbers outside 0 to 1: its weights are damaged"
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": requests.ErrorResponse, "description": description}
    for status, description in {
        400: "not an image that can be read",
        403: "a foreign host or origin",
        408: "the request was sent too slowly",
        413: "too many bytes or pixels",
        415: "neither an image, a form nor JSON",
        422: "a form or JSON with wrong fields",
        500: "the model predicts NaN",
        503: "overloaded: try again after Retry-After seconds",
    }.items()
}


class ImageResult(NamedTuple):
    """The model's result for one image."""

    pixels: np.ndarray  # uint8 [c, h, w]
    probabilities: np.ndarray  # float32 [classes]
    set: list[str] | None  # the labels that it may have, most probable first
    reason: str | None  # why it is rejected

    @property
    def rejected(self) -> bool:
        """Whether it shows none of the classes, as far as the model can tell."""
        return self.reason is not None


ParsedResults = tuple[ParsedRequest, list[ImageResult]]


def make_app(predictor: Predictor, collect: Path | None = None) -> FastAPI:
    """The application that serves a model.

    collect: a folder where ``/api/collect`` saves images by class; without it there is no such path
    """
    app = FastAPIOffline(title="underhood", version=__version__, docs_url=None, redoc_url=None)

    @app.exception_handler(HTTPError)
    async def _http_error(_: Request, error: HTTPError) -> Response:
        return _json({"detail": error.detail}, error.status)

    @app.exception_handler(UnderhoodError)
    async def _not_predicted(_: Request, __: UnderhoodError) -> Response:
        return _json({"detail": NOT_PREDICTED}, 500)

    @app.exception_handler(Overloaded)
    async def _overloaded(_: Request, __: Overloaded) -> Response:
        return _json({"detail": "overloaded: try again in a second"}, 503, {"Retry-After": "1"})

    _add_predictions(app, predictor, collect)
    _add_model(app, predictor, collects=collect is not None)
    return app


def _add_model(app: FastAPI, predictor: Predictor, collects: bool) -> None:
    """The paths that only describe the model: the page, /api/model and /api/health."""
    calibration = predictor.calibration or Calibration()
    limit = calibration.distance_limit
    facts = {
        "run": predictor.name,
        "model": predictor.model,
        "classes": list(predictor.classes),
        "size": [predictor.preparation.width, predictor.preparation.height],
        "preparation": predictor.preparation.as_dict(),
        "steps": list(predictor.preparation.steps),
        "threshold": predictor.threshold,
        "coverage": calibration.coverage,
        "temperature": None if calibration.coverage is None else calibration.temperature,
        "distance_limit": limit if math.isfinite(limit) else None,
        "metrics": {name: value if math.isfinite(value) else None for name, value in predictor.metrics.items()},
        "explains": predictor.attributions is not None,
        "collects": collects,
    }

    page = read_page(PAGE)
    docs = get_swagger_ui_html(  # from fastapi_offline's files: it loads nothing from other hosts
        openapi_url="openapi.json", title="underhood", swagger_favicon_url="data:,",
        swagger_js_url="static-offline-docs/swagger-ui-bundle.js",
        swagger_css_url="static-offline-docs/swagger-ui.css",
    )  # fmt: skip
    app.state.pages = page, bytes(docs.body).decode()

    @app.head("/", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def _page() -> Response:
        return HTMLResponse(page)

    @app.get("/docs", include_in_schema=False)
    async def _docs() -> Response:
        return docs

    @app.get("/api/model")
    async def model() -> Response:
        """The model's classes, image size, preparation, calibration and metrics."""
        return _json(facts)

    @app.head("/api/health", include_in_schema=False)
    @app.get("/api/health")
    async def health() -> Response:
        """Whether the model is loaded."""
        return _json({"status": "ready", "run": predictor.name})


def _results_of(predictor: Predictor) -> Callable[[Request], AbstractAsyncContextManager[ParsedResults]]:
    """A function that reads a request and predicts its images, for the length of an ``async with`` block."""
    batcher: Batcher[np.ndarray, ImageResult] = Batcher(lambda batch: _predict_batch(predictor, batch))
    decoder, in_flight = Decoder(predictor.preparation), requests.BytesInFlight()

    @asynccontextmanager
    async def results_of(request: Request) -> AsyncIterator[ParsedResults]:
        with in_flight.request() as count:
            try:
                parsed = await requests.parse_request(request, count)
                unknown = parsed.steps.keys() - STEPS
                if unknown:
                    raise HTTPError(422, f"unknown step {min(unknown)!r}: known are {', '.join(STEPS)}")
                steps = tuple(step for step in predictor.preparation.steps if parsed.steps.get(step, True))
                async with decoder.room(len(parsed.images)):
                    yield parsed, await batcher.submit(await decoder.prepare(parsed.images, steps))
            except asyncio.CancelledError:
                raise HTTPError(503, "the server is shutting down") from None

    return results_of


def _add_predictions(app: FastAPI, predictor: Predictor, collect: Path | None) -> None:
    """The paths that take images: /api/predict, /api/explain and, with a folder, /api/collect.

    Requests are parsed and responses written here; FastAPI uses the models for the documentation only, which saves its
    validation of every request.
    """
    results_of = _results_of(predictor)
    body = {"requestBody": {"required": True, "content": requests.request_content()}}

    @app.post(
        "/api/predict", openapi_extra=body, responses=ERRORS, response_model=PredictResponse | Results[PredictResponse]
    )
    async def predict(request: Request) -> Response:
        """The most probable labels of an image. For several images: {"results": […]}."""
        start = time.perf_counter()
        async with results_of(request) as (parsed, results):
            if sum(result.pixels.nbytes for result in results) <= requests.SMALL_BODY:
                return _predictions(predictor, parsed, results, start)
            return await asyncio.to_thread(_predictions, predictor, parsed, results, start)

    @app.post(
        "/api/explain", openapi_extra=body, responses=ERRORS, response_model=ExplainResponse | Results[ExplainResponse]
    )
    async def explain(request: Request) -> Response:
        """The attributions of the most probable label (null without torch), and the nearest class mean."""
        start = time.perf_counter()
        async with results_of(request) as (parsed, results):
            contents = [await asyncio.to_thread(_explanation, predictor, one) for one in results]
            return await asyncio.to_thread(_respond, parsed, contents, start)

    if collect is not None:
        saving: dict[int | str, Any] = {507: {"model": requests.ErrorResponse, "description": "cannot be saved"}}

        @app.post(
            "/api/collect", openapi_extra=body, responses=ERRORS | saving, response_model=requests.CollectResponse
        )
        async def save(request: Request) -> Response:
            """Save an image, as it was sent, in the folder of the class ``label``."""
            async with results_of(request) as (parsed, _):  # only an image that can be decoded is saved
                path = await save_request(collect, predictor.classes, parsed)
                return _json({"saved": str(path.relative_to(collect))})


def _respond(parsed: ParsedRequest, contents: list[dict[str, Any]], start: float) -> Response:
    """The response to one image or several. start: the ``perf_counter`` when the request arrived"""
    for content in contents:
        content["ms"] = round(1000 * (time.perf_counter() - start), 2)
    return _json({"results": contents} if parsed.several else contents[0])


def _predict_batch(predictor: Predictor, batch: Sequence[np.ndarray]) -> list[ImageResult | Exception]:
    """The results of a batch of prepared images, uint8 [c, h, w] each."""
    said = predictor.answers(np.stack(batch))
    results: list[ImageResult | Exception] = []
    for i, (pixels, probabilities) in enumerate(zip(batch, said.probabilities, strict=True)):
        labels = None if said.sets is None else labels_of(said.sets[i], probabilities, predictor.classes)
        results.append(ImageResult(pixels, probabilities, labels, said.reasons[i] or None))
    return results


def _predictions(predictor: Predictor, parsed: ParsedRequest, results: list[ImageResult], start: float) -> Response:
    return _respond(parsed, [_prediction(predictor, result, parsed.top_k) for result in results], start)


def _prediction(predictor: Predictor, result: ImageResult, top_k: int) -> dict[str, Any]:
    """A ``PredictResponse`` without ``ms``."""
    best = np.argsort(-result.probabilities, kind="stable")[:top_k].tolist()
    return {
        "label": predictor.classes[int(result.probabilities.argmax())],
        "set": result.set,
        "predictions": [{"label": predictor.classes[i], "score": float(result.probabilities[i])} for i in best],
        "rejected": result.rejected,
        "reason": result.reason,
        "seen": _png_url(result.pixels),
        "model": predictor.name,
    }


def _explanation(predictor: Predictor, result: ImageResult) -> dict[str, Any]:
    """An ``ExplainResponse`` without ``ms``."""
    label = int(result.probabilities.argmax())  # that of NaN, if there is one
    if not math.isfinite(result.probabilities[label]):
        raise HTTPError(500, NOT_PREDICTED)
    content: dict[str, Any] = {
        "label": predictor.classes[label],
        "rejected": result.rejected,
        "reason": result.reason,
        "seen": _png_url(result.pixels),
        "contributions": None,
        "nearest": None,
        "ideal": None,
        "model": predictor.name,
    }
    if predictor.attributions is not None:
        found = predictor.attributions(result.pixels, label)
        content |= {"contributions": heat(found.values).address, "start": found.start, "logit": found.logit}
    if predictor.class_means is not None:
        distances = ((predictor.class_means.astype(np.float32) - result.pixels) ** 2).mean(axis=(1, 2, 3))
        nearest = int(distances.argmin())
        content |= {"nearest": predictor.classes[nearest], "ideal": _png_url(predictor.class_means[nearest])}
    return content


def _png_url(pixels: np.ndarray) -> str:
    """Prepared pixels, uint8 [c, h, w], as a data URL."""
    return data_url(encode_png(pixels, compress_level=1 if pixels.nbytes > UNCOMPRESSED_BYTES else 0))


def _json(content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A response. Raises HTTPError for NaN, which JSON does not have."""
    try:
        text = json.dumps(content, allow_nan=False)
    except ValueError:
        raise HTTPError(500, NOT_PREDICTED) from None
    return Response(text, status, headers, "application/json")
