"""Results of jobs as text: functions from a job's result to the lines that the command line prints."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from underhood.analysis.predictions import set_text
from underhood.data.files import csv_text, printable, short_list


def shown(result: Any, as_text: Callable[[Any], str]) -> str:
    """A job's result as text. Names are ``printable``, except in CSV for another program, which needs the exact ones.

    as_text: one of the functions below
    """
    exact = as_text is predictions_csv and not sys.stdout.isatty()
    return as_text(result if exact else printable_texts(result))


def printable_texts(value: Any) -> Any:
    """A job's result in which every text is ``printable``: dictionaries and lists, at any depth."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable_texts(key): printable_texts(item) for key, item in value.items()}
    return [printable_texts(item) for item in value] if isinstance(value, (list, tuple)) else value


def percent(fraction: float, interval: Sequence[float] | None = None) -> str:
    """0.9871 as ``98.71 %``, followed by its interval if there is one."""
    text = f"{fraction:.2%}".replace("%", " %")
    return text + (f" ({interval[0]:.2%} to {interval[1]:.2%})".replace("%", " %") if interval else "")


def summary(result: dict[str, Any]) -> str:
    """The last lines of ``train``: accuracies, threshold, time, paths."""
    if result.get("finished"):
        return f"{result['run']} is finished: there is nothing left to do"
    lines = [f"accuracy            {percent(result['valid_accuracy'], result['interval'])}"]
    if "test_accuracy" in result:
        lines.append(f"on the test part    {percent(result['test_accuracy'])}")
    lines.append(f"balanced accuracy   {percent(result['balanced_accuracy'])}")
    if validated := result.get("folds"):
        lines.append(f"cross-validated     {_cross_validated(validated)}")
    lines.append(f"pixel similarity    {percent(result['baseline_accuracy'])}")
    if result["set_coverage"] is not None:
        labels = f"{result['set_size']:.2f} labels in a set"
        lines.append(f"class in its set    {percent(result['set_coverage'])}, with {labels}")
        lines.append(f"rejected            {percent(result['rejected'])}")
    lines.append(f"trained in          {result['seconds']:.1f} s")
    if "report" in result:
        lines.append(f"report              {result['report']}")
    lines.append(f"run                 {result['run']}")
    return "\n".join(lines)


def _cross_validated(folds: dict[str, Any]) -> str:
    """The accuracy of a cross-validation, its interval, and of what."""
    of = f"{folds['images']:,} images" + (f" in {folds['groups']:,} groups" if folds["groups"] else "")
    return f"{percent(folds['accuracy'], folds['interval'])}, {folds['count']} folds of {of}"


def ladder_table(result: dict[str, Any]) -> str:
    """The models of ``ladder``, one line each, and the learning curve of the most accurate one."""
    lines = [
        f"{'model':<12}{'accuracy':>10}   {'95 % interval':<20}"
        f"{'fixed':>7}{'broken':>8}{'p':>9}{'parameters':>12}{'seconds':>9}"
    ]
    for rung in result["rungs"]:
        low, high = (percent(end) for end in rung["interval"])
        fixed, broken = ("–" if rung[key] is None else rung[key] for key in ("fixed", "broken"))
        p = "–" if rung["p_value"] is None else f"{rung['p_value']:.2g}"
        lines.append(
            f"{rung['model']:<12}{percent(rung['valid_accuracy']):>10}   {f'{low} to {high}':<20}"
            f"{fixed:>7}{broken:>8}{p:>9}{rung['parameters']:>12,}{rung['seconds']:>9.1f}"
        )
    lines += [
        f"{rung['model']:<12}cross-validated: {_cross_validated(rung['folds'])}"
        for rung in result["rungs"]
        if rung.get("folds")
    ]
    if curve := result["learning_curve"]:
        found = (f"{percent(one['valid_accuracy'])} with {one['images']:,} images" for one in curve["points"])
        lines += [f"{curve['model']}: {', '.join(found)}", curve["sentence"]]
    return "\n".join(lines)


def lr_report(result: dict[str, Any]) -> str:
    """The suggestion of ``lr-find``, and the path of its figure."""
    found = "none" if result["suggestion"] is None else f"{result['suggestion']:.2g}"
    return f"{result['verdict']}\nsuggested --lr      {found}\ncurve               {result['figure']}"


def evaluation_table(result: dict[str, Any]) -> str:
    """The accuracy of each class, lowest first, and of all images, for ``evaluate``."""
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


def predictions_table(result: dict[str, Any]) -> str:
    """The rows of ``predict``: label, probability, path, and what else it may be, or why it is rejected."""
    width = max((len(row["label"]) for row in result["predictions"]), default=0)
    return "\n".join(
        f"{row['label']:<{width}}  {row['score']:.4f}  {row['path']}{_doubt(row)}" for row in result["predictions"]
    )


def _doubt(row: dict[str, Any]) -> str:
    """What a prediction says beside its label: that there is more than one, or that there is none."""
    if row["rejected"]:
        return f"  (rejected: {row['reason']})"
    return f"  (one of {', '.join(row['set'])})" if row["set"] and len(row["set"]) > 1 else ""


def predictions_csv(result: dict[str, Any]) -> str:
    """The rows of ``predict`` as CSV with a header: path, label, score, rejected, set (``cat|dog``), reason."""
    header = ["path", "label", "score", "rejected"]
    rows = (
        [*(row[name] for name in header), set_text(row["set"] or []), row["reason"] or ""]
        for row in result["predictions"]
    )
    return csv_text([*header, "set", "reason"], rows).rstrip("\n")


def certificate(result: dict[str, Any]) -> str:
    """What ``export`` wrote, and how well it agrees with the model."""
    agree = (
        f"{result['agreement']:.2%} of labels agree on {result['images']:,} images, {result['sets_agree']:.2%} of "
        f"prediction sets, {result['rejections_agree']:.2%} of rejections"
    )
    return f"wrote {result['onnx']}\n{agree}, probabilities within {result['largest_difference']:.1e}"


def reproduction_table(result: dict[str, Any]) -> str:
    """The figures of ``reproduce``, by book and section, and how many of them agree."""
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
    """A figure on one line; of many numbers, the first ``most`` and the last."""
    texts = [f"{cell:.7g}" if isinstance(cell, float) else str(cell) for cell in flat_cells(value)]
    return " ".join(texts if len(texts) <= most + 1 else [*texts[:most], "…", texts[-1]])


def span(value: Any) -> str:
    """A range [low, high] as text; of lists of numbers, the last. Anything else as ``shortened`` writes it."""
    if not isinstance(value, list) or len(value) != 2 or isinstance(value[0], list) != isinstance(value[1], list):
        return shortened(value)
    low, high = (flat_cells(end) for end in value)
    return ("… " if len(low) > 1 else "") + f"{low[-1]:.6g} to {high[-1]:.6g}"


def flat_cells(value: Any) -> list[Any]:
    """Nested lists as one list."""
    return [cell for item in value for cell in flat_cells(item)] if isinstance(value, list) else [value]


def differences_table(result: dict[str, Any], most: int = 10) -> str:
    """The differences that ``rerun`` found, one line each, with the first ``most`` changed images."""
    images = [row["now"] for row in result["differs"] if row["what"] == "data"]
    lines = [f"data       {line}" for line in images[:most]]
    if len(images) > most:
        lines.append(f"data       {len(images) - most:,} more")
    lines += [
        f"{row['what']:<10} {row['name']}: {row['before']} → {row['now']}"
        for row in result["differs"]
        if row["what"] != "data"
    ]
    verdict = "weights, metrics and predictions are equal, byte for byte" if result["same"] else "the results differ"
    return "\n".join([*lines, f"{verdict}: {result['original']} and {result['run']}"])


def comparison_table(result: dict[str, Any], most: int = 5) -> str:
    """Runs compared with the first, and the first ``most`` images on which they differ."""
    width = max(len(run["run"]) for run in result["runs"])
    lines = [f"{'run':<{width}}  {'accuracy':>9}   {'95 % interval':<20}{'fixed':>7}{'broken':>8}{'p':>9}  verdict"]
    for run in result["runs"]:
        low, high = (percent(end) for end in run["interval"])
        line = f"{run['run']:<{width}}  {percent(run['accuracy']):>9}   {f'{low} to {high}':<20}"
        if "p" in run:
            line += f"{len(run['fixed']):>7}{len(run['broken']):>8}{run['p']:>9.2g}  {run['verdict']}"
        lines.append(line.rstrip())
    for run in result["runs"][1:]:
        lines += [
            f"{what} by {run['run']}: {short_list(run[what], most, ', ')}" for what in ("fixed", "broken") if run[what]
        ]
    return "\n".join([*lines, f"on the same {result['images']:,} images; p: McNemar's exact test against the first"])


def exploration(result: dict[str, Any]) -> str:
    """Where the page is, and what was checked."""
    checked = "not checked: there is no Chromium here to compare its predictions with torch's"
    if result["certified"]:
        same = f"the same label for {result['agree']:,} of {result['images']:,} validation images"
        if result["sets_agree"] is not None:
            same += f", the same set for {result['sets_agree']:,}"
        same += f", the same rejections for {result['rejections_agree']:,}"
        checked = f"checked in {result['browser']}: {same}, probabilities within {result['max_difference']:.1e}"
    return f"wrote {result['explore']} ({result['bytes'] / 1e6:.2f} MB; open it in any browser)\n{checked}"
