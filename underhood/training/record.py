"""What a run was started with, read back from its folder."""

import operator
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from underhood.core.errors import RunError, UnderhoodError
from underhood.data.files import short_list
from underhood.data.groups import EACH_ALONE
from underhood.data.named import NAMES
from underhood.data.read import LoadedData, load_data
from underhood.runs import read_json
from underhood.runs.folder import changes, missing_files, read_config
from underhood.training import Reporter
from underhood.training.candidates import CANDIDATES_FILE
from underhood.training.choice import is_open
from underhood.training.config import MAX_THREADS, TrainConfig
from underhood.training.recipe import Recipe, choose_recipe, choose_tune, choose_weight_decay

if TYPE_CHECKING:
    from underhood.runs.checkpoint import Run

CHOSEN = ("model", "tune", "size", "augment", "flip")  # by a comparison, where a request leaves them open
LEFT_OPEN = {one.name for one in fields(Recipe)} - {"weight_decay"}  # in a request, where the device decides, too
OPEN = ("model", "epochs", "batch_size", "lr", "weight_decay")  # that a recipe chooses where a request leaves them open


def stored_config(folder: Path, config: dict[str, Any]) -> TrainConfig:
    """The options that a run was started with. config: its ``config.json``. Raises RunError where it is damaged.

    A run from before there were groups does not say how its images are grouped: each alone.
    """
    try:
        return TrainConfig.from_dict({"group_by": EACH_ALONE} | config)
    except (TypeError, ValueError, UnderhoodError) as error:
        raise RunError(f"{folder / 'config.json'} is damaged ({error})") from None


def stored_recipe(folder: Path, config: dict[str, Any]) -> Recipe:
    """The recipe that a run was started with, which another version might not choose. Raises RunError if damaged."""
    from underhood.core.augment import Augmentation

    try:
        known = {one.name: config[one.name] for one in fields(Recipe) if one.name in config}
        return Recipe(**known | {"augmentation": Augmentation(**known["augmentation"])})
    except (TypeError, KeyError) as error:
        raise RunError(f"{folder / 'config.json'} is damaged: its recipe does not hold ({error})") from None


def recorded_threads(folder: Path, processes: int = 1) -> int | None:
    """The number of CPU threads that a run was started with; None where it had another number of processes."""
    environment = read_json(folder, "environment.json")
    threads = environment.get("threads")
    known = type(threads) is int and 0 < threads <= MAX_THREADS and environment.get("processes") == processes
    return threads if known else None


def load_finished(folder: Path, reporter: Reporter) -> "tuple[Run, TrainConfig, LoadedData]":
    """A finished run: its model, its options, and its images, which are read again.

    Raises UnderhoodError, also where the images have changed.
    """
    from underhood.runs.checkpoint import load_run

    run, config = load_run(folder), stored_config(folder, read_config(folder))
    if missing := missing_files(folder, report=False):
        raise RunError(f"{folder} is not finished, it has no {missing[0]}: underhood train --resume {folder}")
    if str(config.data) not in NAMES and not Path(config.data).exists():
        raise RunError(f"{folder} was trained on {config.data}, which is no longer there: restore it")
    data = load_data(
        config.data, preparation=run.preparation, valid=config.valid, seed=config.seed, limit=config.limit,
        skip_bad=config.skip_bad, cache=config.cache, verify_cache=config.verify_cache,
        progress=reporter.read_progress(), bar=reporter.download, group_by=config.group_by,
    )  # fmt: skip
    changed = changes(folder, data)
    if changed:
        what = f"the images of {folder} have changed since ({short_list(changed)})"
        raise RunError(f"{what}: restore them, or train again with underhood rerun {folder}")
    return run, config, data


def _recorded_count(folder: Path) -> int:
    """The number of training images of a run. Raises RunError where its ``data.json`` does not say."""
    counts = read_json(folder, "data.json").get("counts")
    try:
        count = operator.index(sum(counts["train"].values()))  # type: ignore[index]
    except (TypeError, KeyError, AttributeError):
        count = 0
    if count < 1:
        raise RunError(f"{folder / 'data.json'} is damaged: it has no numbers of images")
    return count


def require_same_request(folder: Path, request: TrainConfig) -> None:
    """Raise RunError unless a run was started with this request."""
    config = read_config(folder)
    stored = stored_config(folder, config).as_dict() | {"group_by": None} | config
    asked = request.as_dict()
    if (folder / "data.json").exists():  # what the request leaves open is chosen from the number of images
        count = _recorded_count(folder)
        if request.from_run or (is_open(request) and (request.tune or (folder / CANDIDATES_FILE).exists())):
            asked |= {name: stored.get(name) for name in CHOSEN if asked[name] is None}
        tune = asked["tune"] or choose_tune(asked["model"], request)
        moved = {"augment": asked["augment"], "flip": asked["flip"]}
        recipe = choose_recipe(count, request.effort, asked["model"], request.epochs, tune=tune, **moved)
        recipe = replace(recipe, weight_decay=choose_weight_decay(recipe, request))
        asked |= {name: value for name, value in recipe.as_dict().items() if name in OPEN and asked[name] is None}
    for name, value in asked.items():
        left_open = value == "auto" or (value is None and name in LEFT_OPEN)
        if not left_open and stored.get(name) != value:
            raise RunError(
                f"{folder} holds a run with {name} {stored.get(name)}, not {value}: choose another folder with --out, "
                f"or continue that run with underhood train --resume {folder}"
            )
