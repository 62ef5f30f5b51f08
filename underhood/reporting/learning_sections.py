"""The sections of the report on the training: weights over its steps, images learned last, changes by hand."""

from typing import Any

import numpy as np

from underhood.analysis.interpretation import Interpretation
from underhood.core.images import Images
from underhood.display import figures
from underhood.reporting.model_sections import card
from underhood.runs.checkpoint import Run
from underhood.runs.interventions import read_interventions
from underhood.runs.snapshots import Snapshots, load_snapshots, spread_over_steps

STRIPS, UNITS, LAST = 8, 10, 10  # snapshots, units of the first layer, images: how many are shown, at most
MAX_MULTIPLY_ADDS = 5e11  # for the images learned last: about three seconds on two cores


def learning_sections(run: Run, it: Interpretation, images: Images) -> dict[str, Any]:
    """The content of these sections, for the template. images: the validation images

    Raises RunError where the run's snapshots or interventions are damaged.
    """
    snapshots = load_snapshots(run)
    strips, last = [], []  # type: list[dict[str, Any]], list[dict[str, Any]]
    if snapshots is not None:
        strips, last = _strips(run, snapshots, images), _learned_last(run, snapshots, it, images)
    changed = [one.describe() for one in read_interventions(run.path)]
    return {"weight_strips": strips, "learned_last": last, "interventions": changed}


def _strips(run: Run, snapshots: Snapshots, images: Images) -> list[dict[str, Any]]:
    """The weights of the first layer at some snapshots, each on one scale; [] where they were not trained."""
    from underhood.analysis.inference import first_weights

    found = []
    for number in spread_over_steps(snapshots.steps, STRIPS):
        snapshots.restore(run, number)
        weights = first_weights(run.model, images.pixels.shape[1:])
        assert weights is not None  # a whole network begins with pixels
        found.append((snapshots.steps[number], weights[figures.spread(len(weights), UNITS)].copy()))
    if len(found) < 2 or np.array_equal(found[0][1], found[-1][1]):
        return []
    rows = []
    for step, weights in found:
        pixels = np.stack([figures.as_pixels(one) for one in weights])  # [units, c, h, w]
        zoom = max(1, 48 // pixels.shape[2])  # small kernels are shown larger, with a gap between them
        shown = figures.strip(pixels.repeat(zoom, axis=2).repeat(zoom, axis=3), gap=4)
        rows.append({"name": f"step {step:,}", "image": shown.address, "width": shown.width, "height": shown.height})
    return rows


def _learned_last(run: Run, snapshots: Snapshots, it: Interpretation, images: Images) -> list[dict[str, Any]]:
    """The validation images that were learned last; [] where looking for them would take long."""
    from underhood.analysis.inference import multiply_adds
    from underhood.analysis.learned import learned_last

    if multiply_adds(run.model, images.pixels[0]) * len(images) * 2 > MAX_MULTIPLY_ADDS:
        return []
    found = learned_last(run, snapshots, images, LAST)
    return [
        card(images.pixels[i], it.names[i], f"{it.classes[it.labels[i]]}, from step {step:,} on") for i, step in found
    ]
