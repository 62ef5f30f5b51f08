"""Requests that arrive together are predicted together, and too many are sent away."""

import asyncio
import time
from pathlib import Path

import httpx
import numpy as np

from underhood import Predictor, Preparation
from underhood.serving.app import make_app
from underhood.serving.batching import Batcher, Overloaded


def test_what_arrives_together_is_predicted_together() -> None:
    sizes: list[int] = []

    def work(items: list[int]) -> list[int | Exception]:
        sizes.append(len(items))
        time.sleep(0.05)
        return [ValueError("odd") if item == 3 else 10 * item for item in items]

    async def ask() -> list[object]:
        batcher: Batcher[int, int] = Batcher(work, most=8)  # type: ignore[arg-type]
        return await asyncio.gather(*(batcher.ask([i]) for i in range(20)), return_exceptions=True)

    answers = asyncio.run(ask())
    assert sizes == [8, 8, 4]
    assert [answer for i, answer in enumerate(answers) if i != 3] == [[10 * i] for i in range(20) if i != 3]
    assert isinstance(answers[3], ValueError)


def test_too_many_at_once_are_told_when_to_come_again() -> None:
    predictor = Predictor(Path("run"), ("a", "b"), Preparation(1, 8, 8), 0.0, lambda pixels: np.zeros((len(pixels), 2)))

    async def ask() -> list[object]:
        batcher: Batcher[int, int] = Batcher(lambda items: [time.sleep(0.01) or 1 for _ in items], most=2, waiting=4)
        return await asyncio.gather(*(batcher.ask([i]) for i in range(40)), return_exceptions=True)

    answers = asyncio.run(ask())
    assert sum(isinstance(answer, Overloaded) for answer in answers) == 36
    app = make_app(predictor)

    @app.get("/busy")
    async def busy() -> None:
        raise Overloaded

    async def get() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            return await client.get("/busy")

    answer = asyncio.run(get())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
