"""``underhood serve`` against a plain FastAPI handler that predicts one image at a time, and lower bounds.

28-pixel PNGs; server and client are separate processes. In turn: an empty handler, one that only decodes, the plain
one, ours, exported or not; each at 1 and at 200 connections. Goals: at 200 connections at least 1.5 × the requests per
second of the plain one, at 1 not fewer; no error; p50 under 5 ms at 1; constant memory. SECONDS=60 measures a
minute for each at 200.
"""

import asyncio
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

SECONDS = float(os.environ.get("SECONDS", 10))
TURNS = 3


def plain(kind: str, run: str, port: int) -> None:
    """The servers that ours is compared to: the obvious FastAPI code."""
    import io

    import torch
    import uvicorn
    from fastapi import FastAPI, Request

    from underhood.preparation import prepare_image
    from underhood.runs.checkpoint import load_run

    loaded, app = load_run(Path(run)), FastAPI()

    @app.post("/api/predict")
    async def predict(request: Request) -> dict:
        body = await request.body()
        if kind == "empty":
            return {}
        pixels = prepare_image(io.BytesIO(body), loaded.preparation)
        if kind == "decode":
            return {"size": pixels.shape[2]}
        with torch.inference_mode():
            probabilities = loaded.model(torch.from_numpy(pixels[None])).softmax(dim=1)[0]
        best = probabilities.topk(5)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return {"predictions": [{"label": loaded.classes[i], "score": score} for i, score in pairs]}

    uvicorn.run(app, port=port, log_level="warning", access_log=False)


def ours(kind: str, run: str, port: int) -> None:
    from underhood.jobs.serve import serve

    serve(run if kind == "ours" else f"{run}-not-exported", port=port)


async def load(port: int, images: list[bytes], connections: int, seconds: float) -> dict[str, float]:
    """Send the next request on each connection after its response. Returns rate, p50 and p99 in ms, errors."""
    requests = [
        b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n%s"
        % (len(one), one)
        for one in images
    ]
    took: list[float] = []
    errors = 0
    end = time.perf_counter() + seconds

    async def connect(number: int) -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (start := time.perf_counter()) < end:
            writer.write(requests[number % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            errors += b" 200 " not in head[:16]
            took.append(time.perf_counter() - start)
            number += 1
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(connect(37 * i) for i in range(connections)))
    rate = len(took) / (time.perf_counter() - start)
    ranked = sorted(took)
    return {
        "rate": rate,
        "p50": 1000 * ranked[len(ranked) // 2],
        "p99": 1000 * ranked[-len(ranked) // 100],
        "errors": errors,
    }


def digit_pngs() -> list[bytes]:
    """The first 500 validation images of MNIST, as PNG files."""
    import io

    from PIL import Image

    from underhood import read

    images = []
    for pixels in read("mnist").valid.pixels[:500]:
        file = io.BytesIO()
        Image.fromarray(pixels[0]).save(file, "PNG")
        images.append(file.getvalue())
    return images


def memory(pid: int) -> float:
    """The resident memory of a process, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> int:
    import uvloop

    from underhood import export, train

    images = digit_pngs()
    context = multiprocessing.get_context("spawn")
    found: dict[str, dict[int, list[dict[str, float]]]] = {}
    grown = []
    with tempfile.TemporaryDirectory() as place:
        run = train("mnist", epochs=1, out=Path(place) / "run", report=False)["run"]
        shutil.copytree(run, f"{run}-not-exported")
        export(run)
        servers = {}
        for number, (name, serve) in enumerate(
            {"empty": plain, "decode": plain, "plain": plain, "ours": ours, "ours_not_exported": ours}.items()
        ):
            process = context.Process(target=serve, args=(name, run, 8230 + number))
            process.start()
            servers[name] = process, 8230 + number
        time.sleep(8)
        for turn in range(TURNS + 1):  # the first does not count
            for name, (process, port) in servers.items():
                for connections in (1, 200):
                    seconds = SECONDS if turn and connections > 1 else 3
                    before = memory(process.pid or 0)
                    one = uvloop.run(load(port, images, connections, seconds))
                    if turn:
                        found.setdefault(name, {}).setdefault(connections, []).append(one)
                        if name == "ours":
                            grown.append(memory(process.pid or 0) - before)
        for process, _ in servers.values():
            process.terminate()
            process.join()
    rates = {
        f"{name}_{n}": round(statistics.mean(one["rate"] for one in all_of))
        for name, by in found.items()
        for n, all_of in by.items()
    }
    ratios = {
        n: statistics.mean(a["rate"] / b["rate"] for a, b in zip(found["ours"][n], found["plain"][n], strict=True))
        for n in (1, 200)
    }
    p50 = {f"p50_ms_{n}": round(statistics.mean(one["p50"] for one in found["ours"][n]), 2) for n in (1, 200)}
    errors = sum(one["errors"] for by in found["ours"].values() for one in by)
    met = ratios[200] >= 1.5 and ratios[1] >= 1 and p50["p50_ms_1"] < 5 and not errors and max(grown) < 20
    said = {"n": TURNS, "seconds": SECONDS, **rates, **p50, "errors": errors, "grown_mb": round(max(grown), 1)}
    print(json.dumps({**said, "ratio_1": round(ratios[1], 2), "ratio_200": round(ratios[200], 2), "met": met}))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
