"""Training steps with ``watch_layers(model)`` against the same steps without it: the goal is under 10 % more time."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median

from measure import in_turn, report

from underhood import Architecture, DataLoaders, Learner, build_model, read
from underhood.training.layer_stats import watch_layers

GOAL = 1.10
N = 7


def main() -> int:
    data = read("mnist", limit=12_000)
    ratios = {}
    for model in ("net", "conv", "vgg"):
        learn = Learner(DataLoaders.from_dataset(data, 128), build_model(Architecture(model, 1, 28, 28, 10)))

        def steps(watched: bool, learn: Learner = learn) -> Callable[[], None]:
            def take() -> None:
                with watch_layers(learn.model) if watched else nullcontext():
                    for _ in learn.steps(1, 0.001):
                        pass

            return take

        seconds = in_turn(N, without=steps(False), watched=steps(True))
        pairs = zip(seconds["watched"], seconds["without"], strict=True)
        ratios[model] = (median(one / other for one, other in pairs), GOAL)
    return report(N, ratios)


if __name__ == "__main__":
    sys.exit(main())
