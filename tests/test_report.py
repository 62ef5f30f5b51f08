"""The report is one page that needs nothing else, and says what the run's files say."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from conftest import Outcome, picture
from PIL import Image

from underhood import RunError, train
from underhood.jobs import report
from underhood.models import Architecture, build_model
from underhood.training.learner import Learner
from underhood.training.loader import DataLoaders
from underhood.training.watch import watch

Command = Callable[..., Outcome]


class Page(HTMLParser):
    """Its text, the addresses that it loads, and whether every tag is closed."""

    EMPTY = frozenset({"meta", "img", "br"})

    def __init__(self, text: str):
        super().__init__()
        self.words, self.loads, self.open = "", [], []  # type: str, list[str], list[str]
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data + " "


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "run"
    result = train("digits", model="conv", epochs=4, out=out)
    assert result["report"] == str(out / "report.html")
    return out


def test_it_is_one_page_that_loads_nothing_and_runs_nothing(run: Path) -> None:
    text = (run / "report.html").read_text()
    page = Page(text)
    assert not page.open
    assert all(address.startswith(("data:image/", "#")) for address in page.loads)
    assert "<script" not in text
    assert "http-equiv" not in text
    assert len(text) < 1_000_000
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(svg)
        assert "#010203" not in svg


def test_it_says_what_the_files_say(run: Path) -> None:
    words = " ".join(Page((run / "report.html").read_text()).words.split())
    rows = [line.split(",") for line in (run / "predictions.csv").read_text().splitlines()[1:]]
    right = sum(row[1] == row[2] for row in rows)
    assert f"Of 359 pictures that it did not train on, the model tells {right} right." in words
    assert f"{right / 359:.2%} accuracy" in words
    worst = max((row for row in rows if row[1] != row[2]), key=lambda row: float(row[4]))
    assert f"{worst[0]} {worst[1]}, taken for {worst[2]}" in words
    for line in json.loads((run / "data.json").read_text())["notes"]:
        assert line in words
    assert "4 epochs of batches of 128 with adamw" in words


def test_written_again_it_is_the_same(run: Path, underhood: Command) -> None:
    before = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    told = underhood("report", run, "--json").json
    assert told["bytes"] == len(before)
    assert (run / "report.html").read_bytes() == before


def test_no_report_leaves_it_out(underhood: Command) -> None:
    done = underhood("train", "--model", "linear", "--epochs", 1, "--no-report", "--out", "run", "--json")
    assert "report" not in done.json
    assert not Path("run/report.html").exists()
    assert underhood("report", "run").code == 0
    assert Path("run/report.html").exists()


def test_names_that_look_like_code_are_only_names(tmp_path: Path) -> None:
    for number, name in enumerate(["<script>alert(1)<", "a & b \"quoted\" 'so'", "ünï©ode " + "long " * 30]):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(6):
            picture(10 * number + i, 30, 20, colour=True).save(tmp_path / "data" / name / f"{i}.png")
    result = train(tmp_path / "data", model="linear", epochs=1, out=tmp_path / "run")
    text = Path(result["report"]).read_text()
    assert "<script" not in text
    assert not Page(text).open
    assert "<script>alert(1)<" in Page(text).words


def test_changed_pictures_are_refused_by_name(small_folder: Path, tmp_path: Path) -> None:
    train(small_folder, model="net", epochs=1, out=tmp_path / "run")
    Image.new("L", (12, 12)).save(small_folder / "dark" / "0.png")
    with pytest.raises(RunError, match=r"dark/0.png has other pixels"):
        report(tmp_path / "run")
    with pytest.raises(RunError):
        report(tmp_path)


def test_watch_sees_what_torch_sees_and_leaves_nothing_behind() -> None:
    torch.manual_seed(0)
    model = build_model(Architecture("net", 1, 8, 8, 3))
    x, y = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8), torch.arange(40) % 3
    with torch.no_grad():
        model[2].bias[:5] = -1e6  # type: ignore[operator, index]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with watch(model) as seen:
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    hidden = torch.relu(torch.nn.functional.linear(model[0](x).flatten(1), before["2.weight"], before["2.bias"]))
    mean, deviation, zeros = seen.activations["3"][0].tolist()
    assert mean == pytest.approx(hidden.mean().item(), rel=1e-5)
    assert deviation == pytest.approx(hidden.std(correction=0).item(), rel=1e-5)
    assert zeros == pytest.approx((hidden == 0).float().mean().item())
    assert seen.dead() == {"3": [0, 1, 2, 3, 4]}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert seen.gradients[name][0].item() == pytest.approx(parameter.grad.norm().item(), rel=1e-5)
        by_hand = ((parameter - before[name]).norm() / before[name].norm()).item()
        assert seen.updates[name][0].item() == pytest.approx(by_hand, rel=1e-4)
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(not parameter._post_accumulate_grad_hooks for parameter in model.parameters())


def test_watch_is_removed_by_an_error_too_and_changes_no_training(digits: object) -> None:
    model = build_model(Architecture("linear", 1, 8, 8, 10))
    with pytest.raises(ZeroDivisionError), watch(model):
        raise ZeroDivisionError
    assert not any(module._forward_hooks for module in model.modules())

    def weights(watched: bool) -> np.ndarray:
        torch.manual_seed(3)
        learn = Learner(DataLoaders.from_dataset(digits, 64), build_model(Architecture("net", 1, 8, 8, 10)))  # type: ignore[arg-type]
        if watched:
            with watch(learn.model, every=5) as seen:
                list(learn.steps(1, 0.01))
            assert len(seen.gradients["1.weight" if "1.weight" in seen.gradients else "2.weight"]) == 23 // 5
        else:
            list(learn.steps(1, 0.01))
        return torch.cat([p.detach().flatten() for p in learn.model.parameters()]).numpy()

    assert (weights(True) == weights(False)).all()
