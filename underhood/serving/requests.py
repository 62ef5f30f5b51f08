"""The bodies of requests and responses. A request holds image files: a raw image, a multipart form, or JSON.

Images are not decoded here. The models of responses are for the documentation at /docs only.
"""

import asyncio
import base64
import binascii
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from underhood.serving.batching import Overloaded

TIMEOUT = 30.0  # seconds that a client has to send a request
MAX_BYTES = 20_000_000  # of a request's body
MAX_BYTES_IN_FLIGHT = 128_000_000  # of the bodies of all requests that are being received or worked on
SMALL_BODY = 65_536  # bytes: up to here a body is not counted, and parsed without a thread
MAX_IMAGES = 64  # per request
MAX_ITEMS = MAX_IMAGES  # of a list or an object in JSON
MAX_JSON_VALUES = 250_000  # of a body, by its commas and brackets: Python takes 30 times the memory of [[],[],…]
MAX_FIELD_BYTES = 65_536  # of a form's field that is not a file
Item = TypeVar("Item")

logging.getLogger("python_multipart").setLevel(logging.ERROR)  # the response says what is wrong with a form


class HTTPError(Exception):
    """Ends a request with an HTTP status and one line of detail."""

    def __init__(self, status: int, detail: str):
        super().__init__(detail)
        self.status, self.detail = status, detail


def _limit(value: Any) -> Any:
    """Refuse what is too long before pydantic checks, and reports, each of its items."""
    if isinstance(value, (dict, list)) and len(value) > MAX_ITEMS:
        raise ValueError
    return value


# A description in Parameters and PredictRequest completes "… must be" in an error's detail.
class Parameters(BaseModel):
    """top_k: how many labels to return; steps: which steps of the digit preparation to apply, all by default."""

    model_config = ConfigDict(strict=True)  # true is not 1, and "5" is not 5

    top_k: int = Field(default=5, ge=1, le=10_000, description="an integer from 1 to 10,000")
    steps: Annotated[dict[str, bool] | None, BeforeValidator(_limit)] = Field(
        default=None, description="an object of true and false by name of step"
    )


class PredictRequest(BaseModel):
    """Images as JSON. label is for /api/collect only: the class to save the image in."""

    model_config = ConfigDict(strict=True)

    inputs: str | Annotated[list[str], BeforeValidator(_limit), Field(min_length=1, max_length=MAX_IMAGES)] = Field(
        description=f"a base64 string or data URL of an image, or a list of 1 to {MAX_IMAGES} of them"
    )
    parameters: Parameters | None = Field(default=None, description="an object")
    label: str | None = Field(default=None, description="a string")


class Prediction(BaseModel):
    """A label and its probability."""

    label: str
    score: float


class PredictResponse(BaseModel):
    """The most probable labels of an image, best first.

    label: the most probable one; set: the labels that it may have, most probable first, null for a model without sets;
    rejected: whether it shows none of the classes, and the reason: ``blank``, ``distance`` (in feature space) or
    ``confidence``, else null; seen: the prepared image, a PNG as data URL; model: the run's name; ms: milliseconds that
    the request took
    """

    label: str
    set: list[str] | None
    predictions: list[Prediction]
    rejected: bool
    reason: str | None
    seen: str
    model: str
    ms: float


class ExplainResponse(BaseModel):
    """Attributions of the most probable label, and the nearest class mean. Null where the model has none.

    ``contributions``: the attributions, blue for the label and orange against it; ``ideal``: the nearest class mean
    (both PNGs as data URLs); start, logit: the label's logit for an empty image and for this one; nearest: the class
    with that mean; the rest as in PredictResponse
    """

    label: str
    rejected: bool
    reason: str | None
    seen: str
    contributions: str | None
    start: float | None = None
    logit: float | None = None
    nearest: str | None
    ideal: str | None
    model: str
    ms: float


class Results(BaseModel, Generic[Item]):
    """The response to several images, in their order."""

    results: list[Item]


class CollectResponse(BaseModel):
    """The path of a saved image, relative to the folder of --collect."""

    saved: str


class ErrorResponse(BaseModel):
    """What is wrong with a request, in one line."""

    detail: str


class ParsedRequest(NamedTuple):
    """A request in any form."""

    images: list[bytes]  # the files' contents
    several: bool = False  # whether the response is a list
    top_k: int = 5
    steps: dict[str, bool] = {}  # noqa: RUF012 (never changed)
    label: str | None = None


def request_content() -> dict[str, Any]:
    """OpenAPI's description of the bodies that ``parse_request`` reads: content type → schema."""
    json_schema = PredictRequest.model_json_schema()
    text = json.dumps({key: value for key, value in json_schema.items() if key != "$defs"})
    for name, nested in json_schema.get("$defs", {}).items():  # in place: a reference would be looked up elsewhere
        text = text.replace(json.dumps({"$ref": f"#/$defs/{name}"}), json.dumps(nested))
    file = {"type": "string", "format": "binary"}
    return {
        "application/json": {"schema": json.loads(text)},
        "image/*": {"schema": file},
        "multipart/form-data": {"schema": {"type": "object", "properties": {"file": {"type": "array", "items": file}}}},
    }


class BytesInFlight:
    """Counts the bytes of request bodies in memory."""

    def __init__(self) -> None:
        self._held = 0

    @contextmanager
    def request(self) -> Iterator[Callable[[int], None]]:
        """A function that counts bytes of one request, until the ``with`` block ends. It raises Overloaded."""
        mine = 0

        def count(length: int) -> None:
            nonlocal mine
            if self._held + length > MAX_BYTES_IN_FLIGHT:
                raise Overloaded
            self._held += length
            mine += length

        try:
            yield count
        finally:
            self._held -= mine


async def parse_request(request: Request, count: Callable[[int], None] = lambda _: None) -> ParsedRequest:
    """Read a request by its content type.

    count: called with each number of bytes that is kept in memory of a large body

    Raises HTTPError: 400, 413, 415 or 422; and what ``count`` raises.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        body = await _read_body(request, count)
        if len(body) <= SMALL_BODY:
            return await _parse_form(request.headers, body)
        return await asyncio.to_thread(asyncio.run, _parse_form(request.headers, body))
    if kind == "application/json":
        body = await _read_body(request, count)
        return parse_json(body) if len(body) <= SMALL_BODY else await asyncio.to_thread(parse_json, body)
    if kind in ("", "application/octet-stream") or kind.startswith("image/"):
        body = await _read_body(request, count)
        if not body:
            raise HTTPError(400, "the request is empty: send an image")
        return ParsedRequest([body])
    raise HTTPError(415, f"{kind} is not supported: send image/*, multipart/form-data or application/json")


async def _read_body(request: Request, count: Callable[[int], None]) -> bytes:
    """The request's bytes. Raises HTTPError as soon as there are too many."""
    _check_length(request)
    parts, length = [], 0
    try:
        async for part in request.stream():
            length += len(part)
            if length > MAX_BYTES:
                raise HTTPError(413, f"the request has more than {MAX_BYTES:,} bytes")
            if length > SMALL_BODY:
                count(len(part))
            parts.append(part)
    except ClientDisconnect:
        raise HTTPError(400, "the client disconnected") from None
    return b"".join(parts)


def _check_length(request: Request) -> None:
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and len(length) < 20 and int(length) > MAX_BYTES:
        raise HTTPError(413, f"the request has {int(length):,} bytes, more than {MAX_BYTES:,}")


async def _parse_form(headers: Headers, body: bytes) -> ParsedRequest:
    from starlette.formparsers import MultiPartException, MultiPartParser

    async def once() -> Any:
        yield body
        yield b""

    try:
        parser = MultiPartParser(
            headers, once(), max_files=MAX_IMAGES, max_fields=MAX_IMAGES, max_part_size=MAX_FIELD_BYTES
        )
        parser.spool_max_size = MAX_BYTES  # files stay in memory
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, UnicodeError) as error:
        raise HTTPError(422, f"the form cannot be read ({getattr(error, 'message', error)})") from None
    try:
        files = [value for _, value in form.multi_items() if not isinstance(value, str)]
        images = [await file.read() for file in files]
    finally:
        await form.close()
    if not images:
        raise HTTPError(422, "the form has no file")
    return ParsedRequest(images, several=len(images) > 1)


def parse_json(body: bytes) -> ParsedRequest:
    """A JSON body (``PredictRequest``). Raises HTTPError: 422."""
    if len(body) > SMALL_BODY and sum(map(body.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES:
        raise HTTPError(422, f"the JSON has more than {MAX_JSON_VALUES:,} values")
    try:
        request = PredictRequest.model_validate(json.loads(body))  # json also reads UTF-16 and names that are not UTF-8
    except ValidationError as error:
        raise HTTPError(422, _reason(error)) from None
    except (ValueError, RecursionError):
        raise HTTPError(422, "the body is not valid JSON") from None
    several = isinstance(request.inputs, list)
    texts = request.inputs if isinstance(request.inputs, list) else [request.inputs]
    parameters = request.parameters or Parameters()
    images = [_decode(text) for text in texts]
    return ParsedRequest(images, several, parameters.top_k, parameters.steps or {}, request.label)


def _reason(error: ValidationError) -> str:
    """The first field that is wrong, in one line."""
    place = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
    match place:
        case ("parameters", str(name), *_) if name in Parameters.model_fields:
            return f"parameters.{name} must be {Parameters.model_fields[name].description}"
        case (str(name), *_) if name in PredictRequest.model_fields:
            return f"{name} must be {PredictRequest.model_fields[name].description}"
    return 'the JSON must be {"inputs": base64 or a data URL, "parameters": {…}}'


def _decode(text: str) -> bytes:
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise HTTPError(422, "a data URL must be data:image/…;base64,…")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise HTTPError(422, "inputs must be base64, or a data URL of it") from None
