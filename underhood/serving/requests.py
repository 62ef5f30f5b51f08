"""What a client sends, as pictures: a raw image, a multipart form, or JSON. Nothing is decoded here."""

import base64
import binascii
import json
import logging
from typing import Any, NamedTuple

from starlette.requests import ClientDisconnect, Request

PATIENCE = 30.0  # seconds that a client may take to send its headers, and then its body
MOST_BYTES = 20_000_000  # of a request
MOST_PICTURES = 64  # in it

logging.getLogger("python_multipart").setLevel(logging.ERROR)  # what is wrong with a form, its sender is told


class Refused(Exception):
    """A request that gets no answer but this: an HTTP status and its reason."""

    def __init__(self, status: int, detail: str):
        super().__init__(detail)
        self.status, self.detail = status, detail


class Asked(NamedTuple):
    """pictures: the files' bytes; several: whether the answer is a list; the rest as ``parameters`` has it."""

    pictures: list[bytes]
    several: bool = False
    top_k: int = 5
    steps: dict[str, bool] = {}  # noqa: RUF012 (never changed)
    label: str | None = None


async def read_asked(request: Request) -> Asked:
    """Raises Refused: 400, 413, 415 or 422."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _from_form(request)
    if kind == "application/json":
        return _from_json(await _body(request))
    if kind in ("", "application/octet-stream") or kind.startswith("image/"):
        body = await _body(request)
        if not body:
            raise Refused(400, "the request is empty: send a picture")
        return Asked([body])
    raise Refused(415, f"{kind} is neither a picture, multipart/form-data nor application/json")


async def _body(request: Request) -> bytes:
    """The request's bytes, refused as soon as they are too many."""
    _refuse_long(request)
    parts, length = [], 0
    try:
        async for part in request.stream():
            length += len(part)
            if length > MOST_BYTES:
                raise Refused(413, f"more than {MOST_BYTES:,} bytes")
            parts.append(part)
    except ClientDisconnect:
        raise Refused(400, "the connection was cut") from None
    return b"".join(parts)


def _refuse_long(request: Request) -> None:
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and len(length) < 20 and int(length) > MOST_BYTES:
        raise Refused(413, f"{int(length):,} bytes are more than {MOST_BYTES:,}")


async def _from_form(request: Request) -> Asked:
    from starlette.formparsers import MultiPartException, MultiPartParser

    body = await _body(request)  # all of it is in memory, and within bounds, before it is taken apart

    async def once() -> Any:
        yield body
        yield b""

    try:
        parser = MultiPartParser(request.headers, once(), max_files=MOST_PICTURES, max_part_size=MOST_BYTES)
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, UnicodeError) as error:
        raise Refused(422, f"the form cannot be read ({getattr(error, 'message', error)})") from None
    try:
        files = [value for _, value in form.multi_items() if not isinstance(value, str)]
        pictures = [await file.read() for file in files]
    finally:
        await form.close()
    if not pictures:
        raise Refused(422, "the form holds no file")
    return Asked(pictures, several=len(pictures) > 1)


def _from_json(body: bytes) -> Asked:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(422, "this is no JSON") from None
    if not isinstance(content, dict) or "inputs" not in content:
        raise Refused(422, 'the JSON must be {"inputs": base64 or a data URL, "parameters": {…}}')
    inputs, parameters = content["inputs"], content.get("parameters") or {}
    several = isinstance(inputs, list)
    texts = inputs if several else [inputs]
    if not texts or len(texts) > MOST_PICTURES or not all(isinstance(text, str) for text in texts):
        raise Refused(422, f"inputs must be one text, or up to {MOST_PICTURES} of them")
    if not isinstance(parameters, dict):
        raise Refused(422, "parameters must be an object")
    top_k, steps, label = parameters.get("top_k", 5), parameters.get("steps") or {}, content.get("label")
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= 10_000:
        raise Refused(422, "top_k must be a whole number from 1 to 10,000")
    if not isinstance(steps, dict) or not all(isinstance(on, bool) for on in steps.values()):
        raise Refused(422, "steps must be an object of true and false")
    if label is not None and not isinstance(label, str):
        raise Refused(422, "label must be a text")
    return Asked([_decoded(text) for text in texts], several, top_k, steps, label)


def _decoded(text: str) -> bytes:
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise Refused(422, "a data URL must be data:image/…;base64,…")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(422, "inputs must be base64, or a data URL of it") from None
