"""The HTTP interface of a live page: the page, a stream of events, and the controls of the one who steers."""

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict

from underhood.display.pages import read_page
from underhood.live.hub import NOTHING, Hub, as_json
from underhood.training.config import MAX_LR

PAGE = Path(__file__).parent / "page" / "live.html"
POLL = 0.25  # seconds between two looks for news: as often as a training has any
POLLS_PER_CHECK = 4  # whether the reader is still there
SILENCE = 10.0  # seconds after which a comment is sent, so that a reader who is gone is noticed


class Control(BaseModel):
    """A request of the one who steers. key: the reader's own, or the token."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["pause", "resume", "step", "epoch", "stop", "lr", "image"]
    key: str
    value: float | None = None  # of lr: the highest learning rate; of image: its index


def make_app(hub: Hub) -> FastAPI:
    """The application of the page of a training."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page = read_page(PAGE)
    app.state.pages = (page,)

    @app.head("/", include_in_schema=False)
    @app.get("/")
    async def _page() -> Response:
        return HTMLResponse(page, headers={"Cache-Control": "no-store"})

    @app.get("/api/events")
    async def _events(request: Request, token: str = "") -> Response:
        site = request.headers.get("sec-fetch-site", "none")
        if site not in (
            "same-origin",
            "none",
        ):  # another page must not come first: it would keep everybody from steering
            return JSONResponse({"detail": "requests from pages of other origins are refused"}, 403)
        return StreamingResponse(_stream(hub, request, token), 200, {"Cache-Control": "no-store"}, "text/event-stream")

    @app.post("/api/control")
    async def _control(control: Control) -> Response:
        if not hub.steers(control.key):
            return JSONResponse({"detail": _not_yours(hub)}, 403)
        wrong = _wrong_value(control)
        if wrong:
            return JSONResponse({"detail": wrong}, 422)
        if not hub.ask({"action": control.action, "value": control.value}):
            return JSONResponse({"detail": "too many requests wait: try again in a second"}, 503)
        return JSONResponse({"accepted": control.action})

    return app


def _not_yours(hub: Hub) -> str:
    return "only who has the token steers" if hub.token else "somebody else steers: the first page that was opened"


def _wrong_value(control: Control) -> str:
    """What is wrong with a control's value; empty if nothing is."""
    value = control.value
    if control.action == "lr" and not (value is not None and math.isfinite(value) and 0 < value <= MAX_LR):
        return f"the learning rate must be above 0 and at most {MAX_LR:g}"
    if control.action == "image" and not (value is not None and math.isfinite(value) and value >= 0):
        return "value must be the index of an image"
    return ""


async def _stream(hub: Hub, request: Request, token: str) -> AsyncIterator[str]:
    """A reader's events, until the training ends or the reader is gone."""
    key, cursor, silent, before, polls = hub.join(), NOTHING, 0.0, None, 0
    own = token if hub.token else key
    try:
        while True:
            steers = hub.steers(own)
            text, cursor = hub.news(cursor)
            if steers != before:
                text = f"event: you\ndata: {as_json({'key': own, 'steers': steers})}\n\n{text}"
            before = steers
            silent = 0.0 if text else silent + POLL
            if text:
                yield text
            elif silent >= SILENCE:
                silent = 0.0
                yield ": nothing new\n\n"
            elif hub.ended or hub.closed:
                return
            polls += 1
            if polls % POLLS_PER_CHECK == 0 and await request.is_disconnected():
                return
            await asyncio.sleep(POLL)
    finally:
        hub.leave(key)
