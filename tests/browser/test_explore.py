"""``explore.html`` in Chromium, opened as a file: what it computes is what Python computes."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pages
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import Browser, BrowserContext, Page, expect

from underhood import read, train
from underhood.analysis.calibration import softmax
from underhood.analysis.inference import answers_of, features, logits_and_distances
from underhood.jobs.explore import explore
from underhood.preparation import Preparation, prepare_image
from underhood.runs.calibration import Calibration
from underhood.runs.checkpoint import Run, load_run
from underhood.runs.snapshots import load_snapshots

SEVEN = [(0.25, 0.2), (0.75, 0.2), (0.62, 0.45), (0.5, 0.7), (0.45, 0.88)]


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("explore") / "digits"
    train("digits", model="conv", epochs=6, out=out, report=False)
    assert explore(out)["certified"]
    return load_run(out)


@pytest.fixture(scope="module")
def photos_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Colour images, which are scaled and padded."""
    folder, rng = tmp_path_factory.mktemp("explore"), np.random.default_rng(0)
    for label in ("red", "green", "blue"):
        (folder / "data" / label).mkdir(parents=True)
        for number in range(20):
            noise = rng.integers(0, 120, (30, 40, 3))
            noise[..., ("red", "green", "blue").index(label)] += 100
            Image.fromarray(noise.astype(np.uint8)).save(folder / "data" / label / f"{number}.png")
    train(folder / "data", model="conv", size=32, epochs=2, out=folder / "run", report=False)
    assert explore(folder / "run")["certified"]
    return load_run(folder / "run")


def opened(context: BrowserContext, run: Run) -> Page:
    """The page of a run, from its file. Whatever it writes to the console or asks the network for is an error."""
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda one: problems.append(one.url) if one.url.startswith(("http", "ws")) else None)
    page.goto((run.path / "explore.html").as_uri())
    expect(page.locator("html")).to_have_attribute("data-ready", "true")
    page.problems = problems  # type: ignore[attr-defined]
    return page


@pytest.fixture(params=["desk", "phone, dark"])
def page(request: pytest.FixtureRequest, browser: Browser, digits_run: Run) -> Iterator[Page]:
    if request.param == "desk":
        context = browser.new_context(viewport={"width": 1280, "height": 900})
    else:
        context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, color_scheme="dark")
    with context:
        page = opened(context, digits_run)
        yield page
        assert page.problems == []  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def shared_page(browser: Browser, digits_run: Run) -> Iterator[Page]:
    """A page that several tests use, one after the other."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = opened(context, digits_run)
        yield page
        assert page.problems == []  # type: ignore[attr-defined]


@pytest.fixture
def desk(shared_page: Page) -> Page:
    """The shared page, with the trained network."""
    shared_page.evaluate("() => { stop(); goTo(snapshots.length - 1); }")
    return shared_page


def draw(page: Page, points: list[tuple[float, float]]) -> None:
    page.click("#clear")
    page.locator("#canvas").scroll_into_view_if_needed()
    pages.draw(page, points, steps=4)
    page.wait_for_timeout(300)


def show_everything(page: Page) -> None:
    page.evaluate("() => { for (const view of views) view.visible = true; renderVisible(); }")


def pixels_of(page: Page) -> np.ndarray:
    """The pixels that the network gets, float32 [c, h, w]."""
    shape, data = page.evaluate("[state.pixels.shape, Array.from(state.pixels.data)]")
    return np.array(data, np.float32).reshape(shape)


def outputs_of(page: Page) -> list[np.ndarray]:
    found = page.evaluate("state.outputs.map((out) => [out.shape, Array.from(out.data)])")
    return [np.array(data, np.float32).reshape(shape) for shape, data in found]


def torch_outputs(run: Run, pixels: np.ndarray) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    hooks = [
        layer.register_forward_hook(lambda _, x, out: found.append(out[0].numpy())) for layer in run.model.children()
    ]
    with torch.inference_mode():
        run.model(torch.from_numpy(pixels)[None])
    for hook in hooks:
        hook.remove()
    return found


def expect_label(page: Page, label: str) -> None:
    """The most probable label, once the page has computed it: it does so before it draws its next frame."""
    for _ in range(100):
        if page.evaluate("classes[state.said.best]") == label:
            return
        page.wait_for_timeout(50)
    assert page.evaluate("classes[state.said.best]") == label


def test_drawing_predicts_and_shows_each_step_of_the_preparation(page: Page) -> None:
    expect(page.locator("#bars li")).to_have_count(10)  # it begins with an example
    draw(page, SEVEN)
    expect(page.locator("#result")).to_contain_text("7")
    expect_label(page, "7")
    for step in ("your image", "polarity", "crop", "stroke", "antialias", "centre"):
        expect(page.locator("#preparationsteps")).to_contain_text(step)
    assert page.locator("#preparationsteps canvas").count() == 6
    expect(page.locator("#certificate")).to_contain_text("the same label as PyTorch for all 359 validation images")
    page.click("#undo")
    expect(page.locator("#answer")).to_contain_text("Draw a digit")
    page.click("#example")
    expect(page.locator("#answer")).not_to_contain_text("Draw")


def test_the_keyboard_draws(desk: Page) -> None:
    desk.click("#clear")
    desk.focus("#canvas")
    desk.keyboard.press("Space")
    for _ in range(20):
        desk.keyboard.press("ArrowDown")
    desk.keyboard.press("Space")
    expect(desk.locator("#answer")).not_to_contain_text("Draw a digit")
    expect_label(desk, "1")
    desk.keyboard.press("u")
    expect(desk.locator("#answer")).to_contain_text("Draw a digit")


def test_feature_maps_of_an_uploaded_image_equal_torch_s(
    browser: Browser, digits_run: Run, photos_run: Run, tmp_path: Path
) -> None:
    sheet = Image.new("L", (120, 120), "white")
    sheet.paste("black", (52, 20, 64, 100))
    photo = Image.fromarray(np.random.default_rng(3).integers(0, 256, (57, 83, 3), dtype=np.uint8))
    for run, image in ((digits_run, sheet), (photos_run, photo)):
        image.save(tmp_path / "image.png")
        with browser.new_context() as context:
            page = opened(context, run)
            page.set_input_files("#file", tmp_path / "image.png")
            expect(page.locator("#preparationsteps")).to_contain_text("your image")
            pixels = prepare_image(tmp_path / "image.png", run.preparation)
            assert (pixels_of(page) == pixels).all()
            found, expected = outputs_of(page), torch_outputs(run, pixels)
            assert len(found) == len(expected) > 12
            assert max(float(np.abs(one - other).max()) for one, other in zip(found, expected, strict=True)) <= 1e-4
            probabilities = answers_of(run, pixels[None]).probabilities[0]
            assert page.evaluate("state.probabilities") == pytest.approx(probabilities, abs=1e-5)


def prepared(page: Page, image: Image.Image, preparation: Preparation) -> np.ndarray:
    """An image as the page prepares it, int64 [c, h, w]."""
    given = {
        "width": image.width,
        "height": image.height,
        "rgba": base64.b64encode(image.convert("RGBA").tobytes()).decode(),
    }
    wanted = preparation.as_dict() | {"tallFirst": page.evaluate("preparation.tallFirst")}
    script = """([{width, height, rgba}, wanted]) => {
        const image = imageFrom({width, height, data: bytesOf(rgba)});
        return Array.from(prepare(image, wanted).pixels.data);
    }"""
    data = page.evaluate(script, [given, wanted])
    return np.array(data, np.int64).reshape(preparation.channels, preparation.height, preparation.width)


def test_scaled_images_are_those_of_python_to_the_last_bit(desk: Page) -> None:
    rng, sizes = np.random.default_rng(1), [(40, 30), (201, 120), (28, 28), (1, 9), (54, 170), (37, 300)]
    for number, (fit, (width, height)) in enumerate(product(("pad", "crop", "stretch"), sizes)):
        bands = (1, 3, 4)[number % 4 % 3]  # grey, colour, colour with transparency
        noise = rng.integers(0, 256, (height, width, bands), dtype=np.uint8)
        image = Image.fromarray(noise[..., 0] if bands == 1 else noise)
        for preparation in (Preparation(1, 28, 28, fit), Preparation(3, 32, 48, fit)):
            assert (prepared(desk, image, preparation) == prepare_image(image, preparation)).all(), (image, preparation)


def test_drawings_in_the_digit_form_are_those_of_python(desk: Page) -> None:
    """Of all images measured so far every pixel was equal. Other processors may round a last digit otherwise."""
    rng, differing, pixels = np.random.default_rng(2), 0, 0
    for number in range(12):
        width, height = (336, 336) if number % 3 == 0 else map(int, rng.integers(60, 300, 2))
        shadow = np.linspace(120, 240, width)[None, :] + rng.normal(0, 3, (height, width))
        paper = np.clip(shadow, 0, 255) if number % 4 == 3 else np.full((height, width), 255 - 7 * (number % 2))
        image = Image.fromarray(paper.astype(np.uint8)).convert("RGB")
        line = [(float(width * rng.uniform(0.25, 0.75)), float(height * rng.uniform(0.15, 0.85))) for _ in range(5)]
        ImageDraw.Draw(image).line(line, (20, 20, 60), max(3, min(width, height) // 12), "curve")
        image = image.filter(ImageFilter.GaussianBlur(0.7))
        for side in (28, 8):
            expected = prepare_image(image, Preparation(1, side, side, "digit")).astype(int)
            differing += int((np.abs(prepared(desk, image, Preparation(1, side, side, "digit")) - expected) > 1).sum())
            pixels += expected.size
    assert differing <= 0.001 * pixels


def test_an_image_in_the_run_s_form_is_unchanged(desk: Page) -> None:
    image = read("digits").valid.pixels[3]
    assert (prepared(desk, Image.fromarray(image[0]), Preparation(1, 8, 8, "digit")) == image).all()


def test_the_gradient_equals_autograd_s(desk: Page, digits_run: Run) -> None:
    draw(desk, SEVEN)
    pixels = torch.from_numpy(pixels_of(desk))[None].requires_grad_()
    torch.nn.functional.cross_entropy(digits_run.model(pixels), torch.tensor([3])).backward()
    assert pixels.grad is not None
    expected = pixels.grad[0].numpy()
    found = desk.evaluate("Array.from(lossGradient(layersNow(), state.pixels, 3).data)")
    assert np.array(found).reshape(expected.shape) == pytest.approx(
        expected, abs=1e-6 + 1e-4 * float(np.abs(expected).max())
    )


def test_turning_the_gradient_round_makes_another_class_more_probable(desk: Page) -> None:
    draw(desk, SEVEN)
    expect(desk.locator("#roundtext")).to_contain_text("No step yet: 7")
    desk.select_option("#target", "3")
    desk.select_option("#amount", "16")
    desk.click("#onestep")
    expect(desk.locator("#roundtext")).to_contain_text("After 1 step:")
    desk.click("#tensteps")
    expect(desk.locator("#roundtext")).to_contain_text("After 11 steps: 3")
    low, high = desk.evaluate("[Math.min(...round.pixels.data), Math.max(...round.pixels.data)]")
    assert (low >= 0, high <= 255) == (True, True)
    desk.click("#resetround")
    expect(desk.locator("#roundtext")).to_contain_text("No step yet: 7")


def test_the_slider_shows_the_network_at_each_step(desk: Page, digits_run: Run) -> None:
    draw(desk, SEVEN)
    snapshots = load_snapshots(digits_run)
    assert snapshots is not None
    steps = desk.evaluate("snapshots.map((one) => one.step)")
    assert (steps[0], steps[-1], len(steps)) == (0, snapshots.steps[-1], 12)
    expect(desk.locator("#steptext")).to_have_text(f"step {steps[-1]:,}")
    desk.focus("#step")
    desk.keyboard.press("Home")
    expect(desk.locator("#steptext")).to_have_text(f"step 0 of {steps[-1]:,}")
    at_first = desk.evaluate("state.probabilities")
    assert max(at_first) < 0.5
    other = load_run(digits_run.path)
    snapshots.restore(other, 0)
    logits, _ = logits_and_distances(other.model, pixels_of(desk)[None].astype(np.uint8), Calibration())
    assert at_first == pytest.approx(softmax(logits, other.calibration.temperature)[0], abs=2e-3)
    expect(desk.locator("#moments button")).to_have_count(12)
    expect(desk.locator("#distance")).to_be_hidden()
    expect(desk.locator("#marks")).to_be_hidden()
    expect(desk.locator("#meaning")).to_contain_text("belong to the weights at the end of the training")
    desk.locator("#moments button").nth(11).click()
    expect(desk.locator("#distance")).to_be_visible()
    expect_label(desk, "7")
    desk.click("#play")
    expect(desk.locator("#steptext")).to_contain_text("step 0 of")
    expect(desk.locator("#steptext")).to_contain_text(f"step {steps[1]} of")
    desk.click("#play")
    expect(desk.locator("#play")).to_have_text("Play")


def show_pixels(page: Page, pixels: np.ndarray) -> None:
    """Put an image in the run's form into the page, uint8 [c, h, w]."""
    page.evaluate("(data) => showExample(tensor(shape, Float32Array.from(data)))", pixels.ravel().tolist())
    page.wait_for_function(
        "(data) => data.every((value, i) => value === state.pixels.data[i])", arg=pixels.ravel().tolist()
    )


WORDS = {
    "blank": "None of these: the image is blank",
    "distance": "None of these: unlike anything it was trained on",
    "confidence": "None of these: no label is probable enough",
}


def test_the_answer_is_python_s_label_set_or_rejection_in_words(browser: Browser, digits_run: Run) -> None:
    """With limits in the middle of what is predicted, so that there is some of each kind."""
    pixels, trained = read("digits").valid.pixels[:200].copy(), digits_run.calibration
    pixels[0] = 7
    _, distances = logits_and_distances(digits_run.model, pixels, trained)
    assert distances is not None
    probabilities = answers_of(digits_run, pixels).probabilities
    threshold = float(np.quantile(probabilities.max(axis=1), 0.2)) + 1e-5
    limits = tuple((np.quantile(probabilities, 0.8, axis=0) + 1e-5).tolist())
    limit = float(np.quantile(distances, 0.8)) + 1e-5
    changed = replace(trained, threshold=threshold, limits=limits, distance_limit=limit)
    said = answers_of(replace(digits_run, calibration=changed), pixels)
    assert said.sets is not None
    plain, sizes = ~said.rejected, said.sets.sum(axis=1)
    rows = [said.reasons.index(reason) for reason in WORDS]
    rows += [int(np.flatnonzero(plain & (sizes == size))[0]) for size in (1, 2)]
    with browser.new_context() as context:
        page = opened(context, digits_run)
        given = {"threshold": threshold, "limits": limits, "distance_limit": limit}
        page.evaluate("(given) => Object.assign(calibration, given)", given)
        for row in rows:
            show_pixels(page, pixels[row])
            labels = [digits_run.classes[i] for i in np.argsort(-probabilities[row]) if said.sets[row, i]]
            single = labels[0] if len(labels) == 1 else f"One of {', '.join(labels)}"
            expect(page.locator("#answer")).to_have_text(WORDS.get(said.reasons[row], single))
            assert page.evaluate("state.said.distance") == pytest.approx(float(distances[row]), abs=1e-5)
            marked = page.locator("#bars li.target span:first-child").all_inner_texts()
            assert sorted(filter(None, marked)) == (sorted(labels) if plain[row] else [])
            if plain[row]:
                expect(page.locator("#meaning")).to_contain_text("hold the right class for 95 % of new images")
            if said.reasons[row] == "blank":
                expect(page.locator("#distance")).to_be_hidden()
            else:
                place = f"{max(0, distances[row]):.3f}, {'beyond' if distances[row] > limit else 'within'} the limit"
                expect(page.locator("#distancetext")).to_contain_text(place)
        assert page.problems == []  # type: ignore[attr-defined]


def test_the_softmax_table_divides_by_the_temperature(desk: Page, digits_run: Run) -> None:
    show_pixels(desk, read("digits").valid.pixels[3])
    temperature = digits_run.calibration.temperature
    expect(desk.locator("#temperaturetext")).to_contain_text(f"divided by {temperature:.2f}, the temperature")
    cells = desk.locator("#softmaxsum tbody tr").first.locator("td").all_inner_texts()
    logit, divided = (float(text.replace("−", "-")) for text in cells[:2])
    assert divided == pytest.approx(logit / temperature, abs=0.11)
    assert cells[3] == f"{100 * desk.evaluate('Math.max(...state.probabilities)'):.1f} %"
    expect(desk.locator("#softmaxsum .total b")).to_have_text(cells[3])


def arithmetic(page: Page, index: int) -> dict[str, Any]:
    """What is shown below a layer: the tables' numbers, the maps' sums, and the result."""
    numbers = "(nodes) => nodes.map((node) => Number(node.dataset.value))"
    section = page.locator(f"#layer{index}")
    tables = section.locator(".terms table").all()
    return {
        "tables": [np.array(table.locator("td").evaluate_all(numbers)) for table in tables],
        "shares": section.locator(".shares button").evaluate_all(numbers),
        "total": section.locator(".total b").evaluate_all(numbers)[0],
    }


def test_the_arithmetic_of_a_unit_adds_up_to_its_value(page: Page) -> None:
    draw(page, SEVEN)
    show_everything(page)
    kinds = page.evaluate("views.map((view) => view.type)")
    outputs = outputs_of(page)
    first, second = (i for i, kind in enumerate(kinds[:6]) if kind == "conv2d")
    canvas = page.locator(f"#layer{first} canvas.maps")
    canvas.scroll_into_view_if_needed()
    cell, step = page.evaluate(f"[views[{first}].grid.cellX, views[{first}].grid.stepX]")
    place = {"x": 1 + step + 3.5 * cell, "y": 1 + 4.5 * cell}  # the second map, row 4, column 3, counted from 0
    (canvas.tap if page.viewport_size["width"] < 500 else canvas.hover)(position=place)  # type: ignore[index]
    expect(page.locator(f"#layer{first} h4")).to_have_text("Map 2, row 5, column 4")
    shown = arithmetic(page, first)
    patch, kernel, products = shown["tables"]
    assert products == pytest.approx(patch * kernel, abs=1e-6)
    assert products.sum() == pytest.approx(shown["total"], abs=1e-5)
    assert shown["total"] == pytest.approx(float(outputs[first][1, 4, 3]), abs=1e-6)

    canvas.focus()
    for key in ("ArrowRight", "ArrowDown", "PageDown"):
        page.keyboard.press(key)
    expect(page.locator(f"#layer{first} h4")).to_have_text("Map 3, row 6, column 5")
    assert arithmetic(page, first)["total"] == pytest.approx(float(outputs[first][2, 5, 4]), abs=1e-6)

    shown = arithmetic(page, second)
    assert len(shown["shares"]) == 16
    assert sum(shown["shares"]) == pytest.approx(shown["total"], abs=1e-4)
    assert shown["total"] == pytest.approx(float(outputs[second].max()), abs=1e-6)
    page.locator(f"#layer{second} .shares button").nth(2).click()
    assert arithmetic(page, second)["tables"][2].sum() == pytest.approx(shown["shares"][2], abs=1e-5)

    for index, kind in enumerate(kinds):
        if kind in ("batchNorm", "relu", "maxPool", "averagePool", "normalize", "flatten", "linear"):
            best = outputs[index].max()
            assert arithmetic(page, index)["total"] == pytest.approx(float(best), abs=1e-6), kind


def test_a_kernel_slides_over_its_map(desk: Page) -> None:
    show_everything(desk)
    desk.locator("#layer1").get_by_role("button", name="Watch it slide").click()
    heading = desk.locator("#layer1 h4")
    expect(heading).to_contain_text("row 1, column")
    expect(heading).to_contain_text("row 3, column")
    desk.locator("#layer1").get_by_role("button", name="Stop").click()
    stopped = heading.inner_text()
    desk.wait_for_timeout(400)
    assert heading.inner_text() == stopped


def test_the_confusion_matrix_shows_images_that_can_be_looked_into(desk: Page, digits_run: Run) -> None:
    valid = read("digits").valid
    predicted = answers_of(digits_run, valid.pixels).probabilities.argmax(axis=1)
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (valid.labels, predicted), 1)
    counts = desk.evaluate("page.valid.counts")
    assert counts == [[label, other, expected[label, other]] for label, other in np.argwhere(expected).tolist()]
    assert desk.locator("#matrixtable td").all_inner_texts() == [str(number or "·") for number in expected.ravel()]
    cell = desk.get_by_role("button", name=f"{expected[4, 4]} of 4 predicted as 4")
    cell.focus()
    expect(desk.locator("#celltext")).to_contain_text("4, predicted correctly")
    desk.locator("#cellimages button").first.click()
    expect_label(desk, "4")
    pixels = pixels_of(desk).astype(np.uint8)
    assert any((pixels == one).all() for one in valid.pixels[valid.labels == 4])


def test_nearest_training_images_are_those_of_the_model_s_features(desk: Page, digits_run: Run) -> None:
    dataset = read("digits")
    desk.locator("#neighbours").scroll_into_view_if_needed()
    expect(desk.locator("#nearest button")).to_have_count(10, timeout=30_000)
    expect(desk.locator("#means button")).to_have_count(10)
    found = desk.evaluate(
        """neighbours.nearest(state.pixels, 3).map(
            ({index, distance}) => [Array.from(neighbours.images.pixels(index).data), distance])"""
    )
    own = features(digits_run.model, pixels_of(desk)[None].astype(np.uint8))
    distances = torch.cdist(own, features(digits_run.model, dataset.train.pixels))[0].numpy()
    assert desk.evaluate("neighbours.images.length") == len(dataset.train)
    assert [distance for _, distance in found] == pytest.approx(np.sort(distances)[:3], rel=1e-3, abs=1e-3)
    assert (np.array(found[0][0]) == dataset.train.pixels[distances.argmin()].ravel()).all()


def test_nothing_is_wider_than_the_page_and_axe_finds_nothing_serious(page: Page) -> None:
    draw(page, SEVEN)
    show_everything(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
    assert page.evaluate("getComputedStyle(canvas).touchAction") == "none"


def test_a_page_for_photographs_takes_images_and_says_when_there_is_no_camera(
    browser: Browser, photos_run: Run, tmp_path: Path
) -> None:
    with browser.new_context(viewport={"width": 390, "height": 800}) as context:
        page = opened(context, photos_run)
        expect(page.locator("#undo")).to_be_hidden()
        page.click("#camera")
        expect(page.locator("#hint")).to_contain_text("No camera:")
        Image.new("RGB", (80, 20), (250, 20, 20)).save(tmp_path / "red.png")
        page.set_input_files("#file", tmp_path / "red.png")
        expect(page.locator("#preparationsteps")).to_contain_text("the colour of the border")
        (tmp_path / "broken.png").write_bytes(b"no image")
        page.set_input_files("#file", tmp_path / "broken.png")
        expect(page.locator("#hint")).to_contain_text("cannot be read")
        show_everything(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.problems == []  # type: ignore[attr-defined]


def test_a_run_without_snapshots_says_how_to_get_them(browser: Browser, tmp_path: Path) -> None:
    train("digits", model="net", epochs=1, limit=300, out=tmp_path / "run", report=False)
    (tmp_path / "run" / "snapshots.safetensors").unlink(missing_ok=True)
    assert explore(tmp_path / "run")["snapshots"] == []
    with browser.new_context() as context:
        page = opened(context, load_run(tmp_path / "run"))
        expect(page.locator("#step")).to_be_hidden()
        expect(page.locator("#historytext")).to_contain_text("--no-snapshots")
        show_everything(page)
        expect(page.locator("#layer2 canvas.maps")).to_be_visible()
        assert page.problems == []  # type: ignore[attr-defined]
