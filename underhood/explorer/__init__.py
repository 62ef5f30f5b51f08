"""``explore.html``: one file to look inside a run's network, in any browser, without a server.

The page has the weights, the network as JavaScript (``network.js``), what is said of its outputs (``answer.js``), the
preparation of images (``preparation.js``, ``digit.js``) and some of the run's images. Nothing in it is recorded: all
that it shows is computed in it.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from underhood.display.pages import read_page
from underhood.explorer.images import sprite, training_images, validation_images

if TYPE_CHECKING:
    from underhood.core.images import Dataset
    from underhood.explorer.certificate import Certificate
    from underhood.runs.checkpoint import Run

MAX_BYTES = 2_800_000  # of the page: images get what the network leaves
LEAST_FOR_IMAGES = 400_000  # bytes, also where the network leaves less
PAGE = Path(__file__).parent / "page.html"


def page_data(run: "Run", network: dict[str, Any], dataset: "Dataset") -> dict[str, Any]:
    """What the page knows of a run, for JSON. network: as ``export_network`` returns it

    Raises RunError where the run's predictions cannot be read.
    """
    from underhood.analysis.inference import multiply_adds
    from underhood.analysis.interpretation import Interpretation
    from underhood.explorer.answers import calibration_data, calibration_for_page
    from underhood.runs.checkpoint import load_class_means, read_metrics

    calibration = calibration_data(calibration_for_page(run.calibration))
    taken = len(json.dumps([network, calibration])) + len(read_page(PAGE).encode())
    budget = max(LEAST_FOR_IMAGES, MAX_BYTES - taken)
    means = load_class_means(run.path, run)
    valid = validation_images(dataset, Interpretation.from_run(run.path), budget // 3)
    used = sum(len(one["address"] or "") for one in valid["sprites"])
    work = multiply_adds(run.model, dataset.train.pixels[0])
    return {
        "run": run.path.resolve().name,
        "data": dataset.name,
        "model": run.architecture.model,
        "mirrored": bool(getattr(run.model, "mirrored", False)),
        "classes": list(run.classes),
        "preparation": run.preparation.as_dict() | {"tallFirst": scales_tall_images_by_columns_first()},
        "draws": bool(run.preparation.steps),
        "threshold": run.threshold,
        "calibration": calibration,
        "accuracy": read_metrics(run.path).get("accuracy"),
        "network": network,
        "means": None if means is None else {"sprites": [sprite(means, LEAST_FOR_IMAGES)]},
        "valid": valid,
        "train": training_images(dataset, budget - used - 50_000, work),
    }


def render(data: dict[str, Any], certificate: "Certificate") -> str:
    """The page's HTML. data: as ``page_data`` returns it"""
    text = json.dumps(data | {"certificate": certificate}, allow_nan=False, separators=(",", ":"))
    return read_page(PAGE).replace("{{ data }}", text.replace("<", "\\u003c"), 1)


def scales_tall_images_by_columns_first() -> bool:
    """Whether Pillow scales the columns of tall images before the rows, as from version 13 on: it rounds in between."""
    from PIL import Image

    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 20), dtype=np.uint8))
    at_once = noise.resize((10, 30), Image.Resampling.BILINEAR)
    columns_first = noise.resize((20, 30), Image.Resampling.BILINEAR).resize((10, 30), Image.Resampling.BILINEAR)
    return at_once.tobytes() == columns_first.tobytes()
