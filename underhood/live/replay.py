"""``replay``: the page of a training that is over, made from its snapshots: any step, two of them side by side."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse, JSONResponse

from underhood.analysis.learned import Learned, Trained, trained_part
from underhood.core.errors import RunError
from underhood.core.images import Images
from underhood.display.pages import read_page
from underhood.live.frames import WATCHED, Subject, confusion, frame, spread_over_classes
from underhood.live.hub import as_json
from underhood.runs import read_json, read_rows
from underhood.runs.checkpoint import Run
from underhood.runs.folder import read_config
from underhood.runs.snapshots import Snapshots

PAGE = Path(__file__).parent / "page" / "replay.html"
MOST_POINTS = 1000  # of the curve
MOST_ROWS = 120  # of the table of images, of each kind


class Replay:
    """A run's network at its snapshots, on its validation images. Frames are computed when they are asked for."""

    def __init__(self, run: Run, snapshots: Snapshots, images: Images):
        self.run, self.snapshots, self.images = run, snapshots, images
        self.part: Trained = trained_part(run, snapshots, images)
        self.subject = Subject(self.part.model, self.part.inputs, images.labels, images.pixels, images.classes)
        self.predicted = np.full((len(snapshots), len(images)), -1)  # filled in by ``predict_all``
        self.done = 0  # snapshots whose predictions are known
        self._lock = threading.Lock()  # there is one model

    def frame(self, number: int, chosen: int, watched: list[int]) -> dict[str, Any]:
        """What is shown of one snapshot. chosen, watched: indices of images."""
        with self._lock:
            self.part.restore(self.snapshots, number)
            shown, _ = frame(self.subject, watched, chosen)
        predicted = self.predicted[number]
        known = predicted >= 0
        shown |= {"step": self.snapshots.steps[number], "known": int(known.sum())}
        shown["right"] = int((predicted[known] == self.images.labels[known]).sum())
        if len(self.images.classes) <= 40:
            shown["confusion"] = confusion(self.images.labels, predicted, len(self.images.classes))
        return shown

    def predict_all(self, stop: threading.Event) -> None:
        """Predict all images with each snapshot, the last first, until done or ``stop`` is set."""
        for number in reversed(range(len(self.snapshots))):
            if stop.is_set():
                return
            with self._lock:
                self.part.restore(self.snapshots, number)
                self.predicted[number] = self.part.predict()
            self.done += 1

    def learned(self) -> dict[str, Any]:
        """When each image was learned, and which were forgotten, as far as it is known."""
        content: dict[str, Any] = {"done": self.done, "total": len(self.snapshots)}
        if self.done < len(self.snapshots):
            return content
        found = Learned(self.snapshots.steps, self.predicted, self.images.labels)
        at, forgotten, right = found.learned_at(), found.forgotten(), found.right
        last = np.argsort(-at, kind="stable")[:MOST_ROWS]
        groups = {
            "last": last[at[last] >= 0].tolist(),
            "never": np.flatnonzero(at < 0)[:MOST_ROWS].tolist(),
            "forgotten": [i for i in np.argsort(-forgotten, kind="stable")[:MOST_ROWS].tolist() if forgotten[i]],
        }
        rows = {
            i: {"name": self.images.names[i], "at": int(at[i]), "forgotten": int(forgotten[i]),
                "predicted": self.predicted[:, i].tolist()}
            for i in dict.fromkeys(one for group in groups.values() for one in group)
        }  # fmt: skip
        counts = {
            "learned": int((at >= 0).sum()),
            "never": int((at < 0).sum()),
            "forgotten": int((forgotten > 0).sum()),
        }
        return content | {"groups": groups, "rows": rows, "counts": counts, "curve": right.mean(axis=1).tolist()}

    def facts(self) -> dict[str, Any]:
        """What the page needs to know at first."""
        folder = self.run.path
        batch, counts = read_config(folder).get("batch_size"), read_json(folder, "data.json").get("counts", {})
        images = sum(counts.get("train", {}).values())
        steps = _numbers(folder / "steps.csv")
        metrics = _numbers(folder / "metrics.csv")
        columns = [name for name in (metrics[0] if metrics else {}) if name != "epoch"]
        total = int(steps[-1]["step"]) if steps else self.snapshots.steps[-1]
        shown = steps[:: max(1, len(steps) // MOST_POINTS)]
        return {
            "title": f"{self.run.architecture.model}: {folder.resolve().name}",
            "run": str(folder),
            "classes": list(self.images.classes),
            "labels": self.images.labels.tolist(),
            "images": len(self.images),
            "total": total,
            "epoch_steps": max(1, -(-images // batch)) if isinstance(batch, int) and batch > 0 else total,
            "steps": list(self.snapshots.steps),
            "watched": spread_over_classes(self.images.labels, WATCHED),
            "points": [[row["step"], row["train_loss"], row["lr"]] for row in shown],
            "epochs": {"columns": columns, "first": 0, "rows": [[row[name] for name in columns] for row in metrics]},
        }


def _json(content: dict[str, Any]) -> Response:
    """A response in ASCII: names of files may be no text in UTF-8."""
    return Response(as_json(content), media_type="application/json")


def _numbers(path: Path) -> list[dict[str, float]]:
    """The rows of one of the run's tables of numbers. Raises RunError."""
    try:
        return [{name: float(text) for name, text in row.items()} for row in read_rows(path)]
    except (ValueError, TypeError) as error:
        raise RunError(f"{path} is damaged or cannot be read ({error})") from None


def make_replay_app(replay: Replay) -> FastAPI:
    """The application of the page. It reads only: nothing can be changed through it."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page, facts, count = read_page(PAGE), replay.facts(), len(replay.images)
    app.state.pages = (page,)

    @app.head("/", include_in_schema=False)
    @app.get("/")
    async def _page() -> Response:
        return HTMLResponse(page, headers={"Cache-Control": "no-store"})

    @app.get("/api/replay")
    async def _facts() -> Response:
        return _json(facts)

    @app.get("/api/learned")
    async def _learned() -> Response:
        return _json(await asyncio.to_thread(replay.learned))

    @app.get("/api/image/{row}")
    async def _image(row: int) -> Response:
        if not 0 <= row < count:
            return JSONResponse({"detail": f"there are {count} images"}, 404)
        return _json({"image": replay.subject.image(row)})

    @app.get("/api/frame/{number}")
    async def _frame(number: int, chosen: int = 0, watched: str = "") -> Response:
        try:
            rows = [int(one) for one in watched.split(",") if one] or facts["watched"]
        except ValueError:
            rows = []
        if not 0 <= number < len(replay.snapshots) or not rows or not all(0 <= row < count for row in (chosen, *rows)):
            return JSONResponse({"detail": "there is no such snapshot or image"}, 404)
        return _json(await asyncio.to_thread(replay.frame, number, chosen, rows[:WATCHED]))

    return app
