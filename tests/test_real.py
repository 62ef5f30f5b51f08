"""The accuracies on real data that the README states."""

from collections.abc import Callable

import pytest
from conftest import Outcome

from underhood.core.images import Dataset

Command = Callable[..., Outcome]


@pytest.mark.slow
def test_conv_reaches_0987_on_mnist_in_one_epoch(mnist: Dataset, underhood: Command) -> None:
    result = underhood("train", "mnist", "--model", "conv", "--epochs", 1, "--json").json
    assert result["valid_accuracy"] >= 0.987
    assert result["baseline_accuracy"] == 0.8203


def test_linear_reaches_0965_on_threes_and_sevens(mnist: Dataset, underhood: Command) -> None:
    result = underhood("train", "mnist-3v7", "--model", "linear", "--epochs", 20, "--json").json
    assert result["valid_accuracy"] >= 0.965
    measured = underhood("evaluate", result["run"], "--json").json
    assert (measured["images"], measured["accuracy"]) == (2038, result["valid_accuracy"])
