"""What people see on a terminal: the table of epochs, progress, the ladder. Imported when something is to be shown."""

import atexit
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from underhood.listener import Listener

if TYPE_CHECKING:
    from rich.progress import Progress

    from underhood.training.learner import Epoch, Step

PATIENCE = 10.0  # seconds between two lines of progress where there is no terminal


class Table:
    """The table that fastai users know, a line an epoch: epoch, train_loss, valid_loss, the metrics, time."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stdout
        self._bar: Progress | None = None
        self._widths: list[int] = []

    def watch(self, steps: "Iterator[Step]") -> "Iterator[Step]":
        """The same steps, with a progress bar on a terminal."""
        if not self._stream.isatty():
            yield from steps
            return
        with progress_bar(self._stream) as self._bar:
            task = self._bar.add_task("training", total=None)
            for step in steps:
                self._bar.update(task, completed=step.number, total=step.total)
                yield step
        self._bar = None

    def row(self, epoch: "Epoch") -> None:
        """Show an epoch; the first also shows the names."""
        if not self._widths:
            names = ["epoch", "train_loss", "valid_loss", *epoch.metrics, "time"]
            self._widths = [max(10, len(name)) for name in names]
            self._line(names)
        minutes, seconds = divmod(round(epoch.seconds), 60)
        numbers = [epoch.train_loss, epoch.valid_loss, *epoch.metrics.values()]
        self._line([str(epoch.epoch), *(f"{number:.6f}" for number in numbers), f"{minutes:02}:{seconds:02}"])

    def _line(self, cells: Sequence[str]) -> None:
        write_line(
            " ".join(f"{cell:>{width}}" for cell, width in zip(cells, self._widths, strict=True)),
            self._stream,
            self._bar,
        )


class Terminal(Listener):
    """Shows what a job does: on stdout, or on stderr where stdout is kept for JSON. Warnings always go to stderr."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stdout
        self._table = Table(self._stream)
        self._bar: Progress | None = None
        self._began = self._said = time.monotonic()

    def say(self, line: str) -> None:
        write_line(line, self._stream, self._bar)

    def warn(self, line: str) -> None:
        write_line(f"warning: {line}", sys.stderr, self._bar)

    def progress(self, what: str, done: int, total: int) -> None:
        if self._stream.isatty():
            if self._bar is None:
                self._bar = progress_bar(self._stream)
                self._bar.start()
                self._bar.add_task(what, total=total)
            self._bar.update(self._bar.task_ids[0], completed=done)
            if done >= total:
                self.close()
            return
        now = time.monotonic()
        if done <= 1:
            self._began = now
        if now - self._said > PATIENCE:
            self._said = now
            left = (now - self._began) / done * (total - done)
            self.say(f"{what}: {done:,} of {total:,}, about {duration(left)} left")

    def download(self, file: str) -> "DownloadBar":
        self.say(f"downloading {file} …")
        return DownloadBar(file, self._stream)

    def watch(self, steps: "Iterator[Step]") -> "Iterator[Step]":
        self._table = Table(self._stream)
        return self._table.watch(steps)

    def row(self, epoch: "Epoch") -> None:
        self._table.row(epoch)

    def close(self) -> None:
        """Take a bar away that something cut short, so that the cursor comes back."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def write_line(line: str, stream: TextIO, bar: "Progress | None") -> None:
    """Print a line, above the bar where one is running: printed past it, it would end up behind it."""
    if bar is None:
        print(line, file=stream, flush=True)
    else:
        bar.console.print(line, markup=False, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """For instance ``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class DownloadBar:
    """A progress bar as pooch wants one: bytes, of a total that is set when it is known."""

    def __init__(self, file: str, stream: TextIO):
        self.total: float | None = None
        self._bar = progress_bar(stream)
        self._task = self._bar.add_task(file, total=None)
        self._bar.start()
        atexit.register(self._bar.stop)  # pooch does not close it when a mirror fails

    def update(self, count: int) -> None:
        self._bar.update(self._task, advance=count, total=self.total)

    def reset(self) -> None:
        self._bar.reset(self._task, total=self.total)

    def close(self) -> None:
        self._bar.stop()


def progress_bar(stream: TextIO) -> "Progress":
    """A bar that goes away when it is done, and stays away where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(file=stream), transient=True, disable=not stream.isatty())


def percent(fraction: float, interval: Sequence[float] | None = None) -> str:
    """0.9871 as ``98.71 %``, with its interval where there is one."""
    text = f"{fraction:.2%}".replace("%", " %")
    return text + (f" ({interval[0]:.2%} to {interval[1]:.2%})".replace("%", " %") if interval else "")


def summary(result: dict[str, Any]) -> str:
    """The end of ``train``, in words."""
    if result.get("finished"):
        return f"{result['run']} is finished: there is nothing left to do"
    lines = [f"accuracy            {percent(result['valid_accuracy'], result['interval'])}"]
    if "test_accuracy" in result:
        lines.append(f"on the test part    {percent(result['test_accuracy'])}")
    lines.append(f"balanced accuracy   {percent(result['balanced_accuracy'])}")
    lines.append(f"pixel similarity    {percent(result['baseline_accuracy'])}")
    lines.append(f"trained in          {result['seconds']:.1f} s")
    lines.append(f"run                 {result['run']}")
    return "\n".join(lines)


def ladder_table(result: dict[str, Any]) -> str:
    """The rungs of ``ladder``, a line each."""
    lines = [
        f"{'model':<12}{'accuracy':>10}   {'95 % interval':<20}"
        f"{'fixed':>7}{'broken':>8}{'parameters':>12}{'seconds':>9}"
    ]
    for rung in result["rungs"]:
        low, high = (percent(end) for end in rung["interval"])
        fixed, broken = ("–" if rung[key] is None else rung[key] for key in ("fixed", "broken"))
        lines.append(
            f"{rung['model']:<12}{percent(rung['valid_accuracy']):>10}   {f'{low} to {high}':<20}"
            f"{fixed:>7}{broken:>8}{rung['parameters']:>12,}{rung['seconds']:>9.1f}"
        )
    return "\n".join(lines)


def rate_report(result: dict[str, Any]) -> str:
    """What the learning-rate finder found, and where its curve is drawn."""
    found = "none" if result["suggestion"] is None else f"{result['suggestion']:.2g}"
    return f"{result['verdict']}\nsuggested --lr      {found}\ncurve               {result['figure']}"


def evaluation_table(result: dict[str, Any]) -> str:
    """The classes of ``evaluate``, worst first, and the whole."""
    width = max(len(name) for name in result["per_class"])
    worst_first = sorted(result["per_class"].items(), key=lambda item: item[1]["accuracy"])
    lines = [
        f"{name:<{width}}  {percent(row['accuracy']):>9}  {row['correct']:,} of {row['images']:,}"
        for name, row in worst_first
    ]
    whole = percent(result["accuracy"], result["interval"])
    return "\n".join(
        [
            *lines,
            f"balanced accuracy {percent(result['balanced_accuracy'])}",
            f"accuracy {whole} on {result['images']:,} images ({result['part']} of {result['data']})",
        ]
    )


def check_report(result: dict[str, Any]) -> str:
    """What ``check`` found, in words."""
    parts = ", ".join(f"{count:,} {part}" for part, count in result["parts"].items())
    sizes = list(result["sizes"].items())
    more = f" and {len(sizes) - 5} more sizes" if len(sizes) > 5 else ""
    lines = [
        f"{result['data']}: {result['images']:,} images ({parts})",
        f"sizes: {', '.join(f'{size} ({count:,})' for size, count in sizes[:5])}{more}; become {result['prepared']}",
        "classes: " + ", ".join(f"{name} ({count:,})" for name, count in result["classes"].items()),
        *result["notes"],
    ]
    for path, reason in result["reasons"].items():
        lines.append(f"unreadable: {path} {reason}")
    for kind in ("conflicts", "leaks", "duplicates"):
        for entry in result[kind]:
            where = entry.get("classes") or entry.get("parts")
            lines.append(f"{kind[:-1]}: {' = '.join(entry['paths'])}" + (f" (in {', '.join(where)})" if where else ""))
    found = sum(len(result[kind]) for kind in ("unreadable", "conflicts", "leaks", "duplicates"))
    return "\n".join([*lines, "nothing amiss" if not found else f"{found} findings"])


def predictions_table(result: dict[str, Any]) -> str:
    """The rows of ``predict``."""
    width = max((len(row["label"]) for row in result["predictions"]), default=0)
    return "\n".join(f"{row['label']:<{width}}  {row['score']:.4f}  {row['path']}" for row in result["predictions"])


def reproduction_table(result: dict[str, Any]) -> str:
    """The figures of ``reproduce``, by book and section, and how many agree."""
    rows = [
        (row, shortened(row["book"]), shortened(row["here"]) if row["verdict"] != "in range" else span(row["here"]))
        for row in result["rows"]
    ]
    width, book = max(len(row["what"]) for row, _, _ in rows), max(len(printed) for _, printed, _ in rows)
    lines: list[str] = []
    section = None
    for row, printed, here in rows:
        if (row["source"], row["section"]) != section:
            section = row["source"], row["section"]
            lines += ["", f"{row['source']}: {row['section']}", f"{'':<12}{'':<{width}}  {'book':<{book}}  here"]
        lines.append(f"  {row['verdict']:<9} {row['what']:<{width}}  {printed:<{book}}  {here}")
    counts = f"{result['equal']} equal, {result['in_range']} in range, {result['differs']} differ"
    return "\n".join([*lines, "", f"{len(result['rows'])} figures: {counts}"])


def shortened(value: Any, most: int = 3) -> str:
    """A figure on one line: the first few and the last of many numbers."""
    texts = [f"{cell:.7g}" if isinstance(cell, float) else str(cell) for cell in flat_cells(value)]
    return " ".join(texts if len(texts) <= most + 1 else [*texts[:most], "…", texts[-1]])


def span(value: Any) -> str:
    """A range [low, high], each a number or a list of numbers of which the last is shown; or a figure of its own."""
    if len(value) != 2 or isinstance(value[0], list) != isinstance(value[1], list):
        return shortened(value)
    low, high = (flat_cells(end) for end in value)
    return ("… " if len(low) > 1 else "") + f"{low[-1]:.6g} to {high[-1]:.6g}"


def flat_cells(value: Any) -> list[Any]:
    """Nested lists as one list."""
    return [cell for item in value for cell in flat_cells(item)] if isinstance(value, list) else [value]
