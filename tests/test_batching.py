"""Requests that arrive together are predicted in one batch; too many get 503."""

import asyncio
import time
from pathlib import Path

import httpx
import numpy as np

from underhood import Predictor, Preparation
from underhood.serving.app import make_app
from underhood.serving.batching import Batcher, Overloaded


def test_requests_that_arrive_together_form_batches() -> None:
    sizes: list[int] = []

    def work(items: list[int]) -> list[int | Exception]:
        sizes.append(len(items))
        time.sleep(0.05)
        return [ValueError("odd") if item == 3 else 10 * item for item in items]

    async def submit() -> list[object]:
        batcher: Batcher[int, int] = Batcher(work, batch_size=8)  # type: ignore[arg-type]
        return await asyncio.gather(*(batcher.submit([i]) for i in range(20)), return_exceptions=True)

    answers = asyncio.run(submit())
    assert sizes == [8, 8, 4]
    assert [answer for i, answer in enumerate(answers) if i != 3] == [[10 * i] for i in range(20) if i != 3]
    assert isinstance(answers[3], ValueError)


def test_too_many_requests_get_503_with_retry_after() -> None:
    predictor = Predictor(Path("run"), ("a", "b"), Preparation(1, 8, 8), 0.0, lambda pixels: np.zeros((len(pixels), 2)))

    async def submit() -> list[object]:
        batcher: Batcher[int, int] = Batcher(
            lambda items: [time.sleep(0.01) or 1 for _ in items], batch_size=2, max_waiting=4
        )
        return await asyncio.gather(*(batcher.submit([i]) for i in range(40)), return_exceptions=True)

    answers = asyncio.run(submit())
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
