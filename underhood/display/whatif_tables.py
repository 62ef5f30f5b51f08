"""The result of ``whatif`` as text."""

from typing import Any

from underhood.display.tables import percent


def whatif_table(result: dict[str, Any], most: int = 20) -> str:
    """What ``whatif`` found: a sentence, the first ``most`` validation images with another answer, and the effects."""
    seconds = f"{result['trainings']} training{'s' * (result['trainings'] != 1)} in {result['seconds']:.0f} s"
    lines = [result["sentence"], *_changes(result), *_flips(result["flipped"], most)]
    if result["image"]:
        lines += ["", *_effects(result["image"], result["effects"]), "", *_noise(result["noise"])]
    elif not result["same"]:
        lines.append("any change starts the training on another path: --explain IMAGE measures what chance changes")
    return "\n".join([*lines, "", f"{seconds}; {result['out'] or 'nothing was written'}"])


def _changes(result: dict[str, Any]) -> list[str]:
    words = {
        "without": "without {from}",
        "relabel": "{from} as {to}",
        "lr": "from step {step} on, the highest learning rate is {to}; it was {from}",
    }
    lines = [f"changed     {words[row['what']].format(**row)}" for row in result["interventions"]]
    if result["image"] and result["accuracy"]["after"] is not None:
        before, after = (percent(result["accuracy"][when]) for when in ("before", "after"))
        lines.append(f"accuracy    {before} before, {after} after")
    return lines


def _flips(flipped: list[dict[str, str]], most: int) -> list[str]:
    kinds = {row["path"]: "fixed" if row["after"] == row["label"] else "broken" if row["before"] == row["label"]
             else "still wrong" for row in flipped}  # fmt: skip
    lines = [f"{kinds[row['path']]:<11} {row['path']} is {row['label']}: {row['before']} → {row['after']}"
             for row in flipped[:most]]  # fmt: skip
    return lines + ([f"{len(flipped) - most:,} more: --json lists them"] if len(flipped) > most else [])


def _effects(image: dict[str, Any], effects: list[dict[str, Any]]) -> list[str]:
    """A line for each effect: what was left out, its distance rank, the probability then, the change, the verdict."""
    label = f"is {image['label']}, " if image["label"] is not None else ""
    names = [_removed(row, effects[0]["seed"]) for row in effects]
    width = max(len(name) for name in names)
    lines = [
        f"{image['path']} {label}called {image['predicted']} with {percent(image['probability'])}",
        f"{'without':<{width}}  {'rank':>5}  {'called':<8}{'p(' + image['predicted'] + ')':>9}{'change':>9}  verdict",
    ]
    for row, name in zip(effects, names, strict=True):
        rank = "–".join(map(str, dict.fromkeys(row["ranks"]))) or "–"
        change = f"{100 * row['change']:+.2f}"
        lines.append(f"{name:<{width}}  {rank:>5}  {row['label']:<8}{percent(row['probability']):>9}{change:>9}  "
                     f"{row['verdict']}")  # fmt: skip
    return lines


def _removed(row: dict[str, Any], seed: int) -> str:
    paths = row["paths"]
    name = paths[0] if len(paths) == 1 else f"{len(paths):,} images" if paths else "(changes)"
    return name if row["seed"] == seed else f"{name}, seed {row['seed']}"


def _noise(noise: dict[str, Any]) -> list[str]:
    """What the controls give, and the range of the noise."""
    seeds = ", ".join(f"{percent(one['probability'])}" for one in noise["seeds"])
    placebo = ", ".join(f"{percent(one['probability'])} ({one['placebo']:,})" for one in noise["placebo"])
    lines = [f"noise       other seeds: {seeds}"]
    if placebo:
        lines.append(f"            without random images (how many): {placebo}")
    span = f"{percent(noise['low'])} to {percent(noise['high'])}"
    return [*lines, f"            so {span} is within noise (95 %)"]
