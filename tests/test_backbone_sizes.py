"""A backbone on images of several sizes, square and not: export with certificate, serving, attributions, neighbours."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from conftest import fill
from PIL import Image
from sklearn.datasets import load_sample_images

from underhood import Predictor, export, train
from underhood.analysis.attributions import TOLERANCE, integrated_gradients
from underhood.analysis.inference import nearest_images
from underhood.core.images import Images
from underhood.core.models import Architecture
from underhood.data.read import load_data
from underhood.data.split import digest
from underhood.jobs.export import ExportResult
from underhood.preparation import Preparation
from underhood.pretrained import create_model
from underhood.runs.checkpoint import Run, load_run, save_weights
from underhood.serving.server import served_answers

pytestmark = pytest.mark.slow  # an export takes seconds

SIZES = [(32, 32), (65, 65), (64, 96), (224, 224)]  # height, width: 65 is padded evenly, the others are not
CLASSES = "flower", "temple"


class Sized(NamedTuple):
    """A run on images of one size, and its certificate."""

    run: Run
    images: Images  # all of the data's training images
    certificate: ExportResult


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pieces each of two photographs, 96 × 96 pixels to 224 × 160."""
    root, rng = tmp_path_factory.mktemp("sizes") / "photographs", np.random.default_rng(0)
    for name, photograph in zip(reversed(CLASSES), load_sample_images().images, strict=True):
        for i in range(10):
            width, height, left, top = rng.integers([96, 96, 0, 0], [224, 160, 400, 260])
            piece = np.ascontiguousarray(photograph[top : top + height, left : left + width])
            fill(root, {f"{name}/{i}.png": Image.fromarray(piece)})
    return root


@pytest.fixture(scope="module")
def trained(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 64 × 64 pixels, whose weights suit all sizes."""
    out = tmp_path_factory.mktemp("sizes") / "run"
    return Path(train(photographs, model="efficientnet_lite0", size=64, epochs=10, report=False, out=out)["run"])


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: "{}x{}".format(*size))
def sized(
    request: pytest.FixtureRequest, trained: Path, photographs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Sized:
    """The run with its images prepared at another size, exported."""
    height, width = request.param
    folder, earlier = tmp_path_factory.mktemp("sizes") / "run", load_run(trained)
    shutil.copytree(trained, folder)
    preparation, architecture = (one(earlier, height, width) for one in (_preparation, _architecture))
    network = create_model(architecture)
    network.load_state_dict(earlier.model.state_dict())
    save_weights(folder, network, architecture, earlier.classes, preparation, earlier.threshold, earlier.pretrained)
    dataset = load_data(photographs, preparation=preparation).dataset
    record = json.loads((folder / "data.json").read_text())
    record["sha256"]["valid"] = digest(dataset.valid)  # the same images, at this size
    (folder / "data.json").write_text(json.dumps(record))
    return Sized(load_run(folder), dataset.train, export(folder))


def _preparation(run: Run, height: int, width: int) -> Preparation:
    return Preparation(3, height, width, run.preparation.fit)


def _architecture(run: Run, height: int, width: int) -> Architecture:
    return Architecture("efficientnet_lite0", 3, height, width, len(run.classes))


def test_the_certificate_and_onnx_runtime_agree_with_torch(sized: Sized) -> None:
    assert sized.certificate["agreement"] == 1
    assert 0 < sized.certificate["largest_difference"] < 1e-4  # 0 would be that of a network that says nothing
    pixels = sized.images.pixels
    with torch.inference_mode():
        logits = sized.run.model(torch.from_numpy(pixels)) / sized.run.calibration.temperature
        expected = logits.softmax(dim=1).numpy()
    assert np.ptp(expected[:, 0]) > 0.05  # the images differ
    exported = Predictor.load(sized.certificate["onnx"])
    for count in (1, 3, len(pixels)):
        np.testing.assert_allclose(exported.probabilities(pixels[:count]), expected[:count], atol=1e-4)


def test_same_padding_is_exported_as_the_convolutions_own(sized: Sized) -> None:
    """No operator that pads is left, which the check of a file would refuse; the odd pixel is at the bottom right."""
    nodes = onnx.load(sized.certificate["onnx"]).graph.node
    assert "Pad" not in {node.op_type for node in nodes}
    strided = [node for node in nodes for one in node.attribute if one.name == "strides" and list(one.ints) == [2, 2]]
    pads = [tuple(one.ints) for node in strided for one in node.attribute if one.name == "pads"]  # top, left, bottom, …
    expected, sides = [], [sized.run.architecture.height, sized.run.architecture.width]
    for kernel in (3, 3, 5, 3, 5):  # of the stem and of the stages that halve the image
        needed = [(-(-side // 2) - 1) * 2 + kernel - side for side in sides]
        expected.append((*(each // 2 for each in needed), *(each - each // 2 for each in needed)))
        sides = [-(-side // 2) for side in sides]
    assert pads == expected


def test_a_server_with_and_without_torch_gives_the_same_probabilities(sized: Sized) -> None:
    pixels = sized.images.pixels[::5]
    with_torch, without = (Predictor.load(path) for path in (sized.run.path, sized.certificate["onnx"]))
    expected = with_torch.probabilities(pixels)
    for predictor in (with_torch, without):
        np.testing.assert_allclose(served_answers(predictor, pixels).probabilities, expected, atol=1e-4)


def test_the_exported_file_needs_no_torch(sized: Sized, photographs: Path) -> None:
    file = photographs / "flower/0.png"
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'sklearn', 'safetensors', 'onnx']));"
        f"sys.argv = ['underhood', 'predict', {sized.certificate['onnx']!r}, {str(file)!r}, '--json'];"
        "from underhood.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["predictions"]
    labels, probabilities = Predictor.load(sized.run.path).predict([file])
    assert row["label"] == labels[0]
    assert row["score"] == pytest.approx(probabilities.max(), abs=1e-4)


def test_attributions_add_up_to_the_logit_in_few_steps(sized: Sized) -> None:
    model, pixels = sized.run.model, sized.images.pixels
    computed: list[int] = []  # images in each forward pass
    hook = model.get_submodule("global_pool").register_forward_pre_hook(lambda _, x: computed.append(len(x[0])))
    try:
        found = integrated_gradients(model, pixels[0], 0)
    finally:
        hook.remove()
    assert found.values.shape == pixels.shape[1:]
    with torch.inference_mode():
        assert found.logit == pytest.approx(float(model(torch.from_numpy(pixels[:1]))[0, 0]), abs=1e-3)
    if pixels.shape[2:] == (224, 224):
        assert sum(computed) <= 2 + 32  # seconds on a processor
        assert abs(found.missing) < 0.2 * abs(found.logit - found.start)
    else:
        assert abs(found.missing) <= TOLERANCE * abs(found.logit - found.start)


def test_the_nearest_training_images_are_those_with_the_nearest_features(sized: Sized) -> None:
    model, images = sized.run.model, sized.images
    with torch.inference_mode():
        features = model[:-1](torch.from_numpy(images.pixels)).double().numpy()  # [n, 1280]
    distances = np.linalg.norm(features[:, None] - features[None], axis=2)
    nearest = nearest_images(model, images.pixels, images, np.arange(len(images)), 3)
    assert (nearest[:, 0] == np.arange(len(images))).all()  # itself
    expected = np.sort(distances, axis=1)[:, :3]
    np.testing.assert_allclose(np.take_along_axis(distances, nearest, axis=1), expected, atol=1e-3)
    assert (images.labels[nearest[:, 1:]] == images.labels[:, None]).mean() > 0.6
