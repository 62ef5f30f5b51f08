"""What a training's thread and a server's thread share: the latest of each kind of event, and what readers ask for.

A reader gets each event when it asks for news; what it missed in between is not kept. So a reader that is slow, or does
not read at all, costs nothing.
"""

import json
import math
import secrets
import threading
from collections import deque
from typing import Any

MOST_POINTS = 2000  # of the curve; with more, two neighbours become their mean
MOST_REQUESTS = 100  # that wait to be done
ORDER = ("waiting", "start", "images", "epochs", "frame", "state")  # in which a page needs them
Cursor = tuple[dict[str, int], int, int]  # versions by kind, generation and length of the curve
NOTHING: Cursor = ({}, -1, 0)


class Hub:
    """Events for any number of readers, and requests of the reader who steers: the first one, or who has the token."""

    def __init__(self, token: str | None = None):
        self.token = token
        self.requests: deque[dict[str, Any]] = deque()
        self.changed = threading.Condition()  # notified of requests, and of readers that come
        self.closed = False
        self._lock = threading.Lock()
        self._readers: dict[str, None] = {}  # their keys, in the order in which they came
        self._latest: dict[str, tuple[int, str]] = {}  # kind → version, JSON
        self._points: list[list[float]] = []  # of the curve: step, loss, lr
        self.stride = 1  # steps of a point
        self._waiting: list[list[float]] = []  # points of steps that are fewer
        self._generation = 0  # of the curve: raised where points become fewer

    def emit(self, kind: str, content: dict[str, Any]) -> None:
        """Publish an event: the curve's points are added, everything else replaces what was there of its kind."""
        if kind == "curve":
            with self._lock:
                self._add(content["points"])
            return
        text = as_json(content)
        with self._lock:
            version, before = self._latest.get(kind, (0, ""))
            if text != before:
                self._latest[kind] = version + 1, text

    def _add(self, points: list[list[float]]) -> None:
        """Add points, as means of ``stride`` steps; where there are too many, the stride doubles."""
        self._waiting += points
        whole = len(self._waiting) // self.stride * self.stride
        for at in range(0, whole, self.stride):
            self._points.append(_mean(self._waiting[at : at + self.stride]))
        del self._waiting[:whole]
        while len(self._points) >= MOST_POINTS:
            self._points = [_mean(self._points[at : at + 2]) for at in range(0, len(self._points), 2)]
            self.stride, self._generation = 2 * self.stride, self._generation + 1

    def news(self, cursor: Cursor) -> tuple[str, Cursor]:
        """What is new since a cursor, as server-sent events, and the next cursor."""
        versions, generation, length = cursor
        with self._lock:
            fresh = {kind: one for kind, one in self._latest.items() if one[0] != versions.get(kind)}
            whole = generation != self._generation
            points = self._points[0 if whole else length :]
            now = {kind: version for kind, (version, _) in self._latest.items()}, self._generation, len(self._points)
        order = [kind for kind in ORDER if kind in fresh] + [kind for kind in fresh if kind not in (*ORDER, "end")]
        events = [(kind, fresh[kind][1]) for kind in order]
        if points:
            events.append(("curve", as_json({"points": points, "whole": whole})))
        events += [("end", fresh["end"][1])] if "end" in fresh else []
        return "".join(f"event: {kind}\ndata: {text}\n\n" for kind, text in events), now

    @property
    def points(self) -> list[list[float]]:
        """The curve: step, loss and learning rate of each point."""
        with self._lock:
            return list(self._points)

    @property
    def ended(self) -> bool:
        """Whether the last event was published."""
        return "end" in self._latest

    def join(self) -> str:
        """A new reader's key."""
        key = secrets.token_urlsafe(12)
        with self.changed:
            self._readers[key] = None
            self.changed.notify_all()
        return key

    def leave(self, key: str) -> None:
        """A reader is gone."""
        with self.changed:
            self._readers.pop(key, None)

    def readers(self) -> int:
        """How many readers there are."""
        return len(self._readers)

    def steers(self, key: str) -> bool:
        """Whether the requests of this key are done: the token, where there is one; else the first reader's."""
        if self.token is not None:
            return secrets.compare_digest(key.encode(), self.token.encode())
        with self.changed:
            return next(iter(self._readers), None) == key

    def ask(self, request: dict[str, Any]) -> bool:
        """Let the training's thread do something after its step. False where too much is waiting already."""
        with self.changed:
            if len(self.requests) >= MOST_REQUESTS:
                return False
            self.requests.append(request)
            self.changed.notify_all()
            return True


def _mean(points: list[list[float]]) -> list[float]:
    """Points of the curve as one: the last one's step and learning rate, the mean of the losses."""
    loss = sum(point[1] for point in points) / len(points)
    return [points[-1][0], float(f"{loss:.5g}"), points[-1][2]]


def as_json(content: Any) -> str:
    """JSON, with null for NaN and infinity: a training that goes wrong must be seen, too."""
    try:
        return json.dumps(content, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(content), allow_nan=False, separators=(",", ":"))


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
