"""The books' figures: the random numbers behind them, their comparison, the long job, and ``reproduce``."""

import numpy as np
import pytest
import torch

from underhood.books import chapter4_training, elixir, figure, ranged
from underhood.jobs.reproduce import reproduce
from underhood.scratch import backprop


@pytest.mark.parametrize(
    ("key", "counters", "words"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_passes_the_published_test_vectors(key, counters, words):
    """The vectors published with Random123, for 2 × 32 bits and 20 rounds."""
    scrambled = elixir.threefry(np.array(key, np.uint32), *(np.array([c], np.uint32) for c in counters))
    assert tuple(int(word[0]) for word in scrambled) == words


def test_a_key_is_two_words_and_splits_into_two_other_keys():
    key = elixir.random_key(1234)
    assert key.tolist() == [0, 1234]
    assert elixir.random_key(2**32 + 7).tolist() == [1, 7]
    first, second = elixir.split_key(key)
    assert len({tuple(k.tolist()) for k in (key, first, second)}) == 3


def test_equal_keys_draw_equal_normal_numbers_of_the_requested_std():
    numbers, next_key = elixir.normal(elixir.random_key(1), 3.0, 0.5, (100, 101))
    again, _ = elixir.normal(elixir.random_key(1), 3.0, 0.5, (100, 101))
    others, _ = elixir.normal(next_key, 3.0, 0.5, (100, 101))
    assert np.array_equal(numbers, again)
    assert not np.array_equal(numbers, others)
    assert numbers.mean() == pytest.approx(3, abs=0.02)
    assert numbers.std() == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize(
    ("book", "here", "verdict"),
    [
        ("0.5000", 0.50004, "equal"),
        ("0.5000", 0.50006, "differs"),
        ("-0.0025", -0.002539, "equal"),
        ("6.", 6.0, "equal"),
        ("6131", 6131, "equal"),
        ("6131", 6131.0, "differs"),
        ("6131", 6132, "differs"),
        ("25823.8086", 25823.8089, "equal"),
        ("25823.8086", 25823.9, "differs"),
        ("0.4912068545818329", 0.49120685, "equal"),
        ("1 2 3", [1, 2], "differs"),
        ("1 2  3 4", [[1, 2], [3, 4]], "equal"),
        ("True False", torch.tensor([True, False]), "equal"),
        ("True False", torch.tensor([True, True]), "differs"),
        ("torch.LongTensor", "torch.FloatTensor", "differs"),
    ],
)
def test_every_printed_digit_is_compared(book, here, verdict):
    assert figure("book", "section", "what", book, here).verdict == verdict


def test_a_figure_is_nested_like_the_computed_value():
    row = figure("book", "section", "what", "1 2 3.50 4", [[1, 2], [3.499, 4]])
    assert row.book == [[1, 2], [3.5, 4]]
    assert row.here == [[1, 2], [3.499, 4]]


def test_rounding_of_float32_is_in_range_where_it_is_allowed():
    assert figure("b", "s", "w", "0.170281", 0.170290, rounding=2e-5).verdict == "in range"
    assert figure("b", "s", "w", "0.170281", 0.170281, rounding=2e-5).verdict == "equal"
    assert figure("b", "s", "w", "0.170281", 0.170310, rounding=2e-5).verdict == "differs"


def test_ranges_are_widened_by_exactly_the_given_width():
    assert ranged("b", "s", "w", "0.9696", 0.960, 0.968, widened=0.002).verdict == "in range"
    assert ranged("b", "s", "w", "0.9696", 0.960, 0.967, widened=0.002).verdict == "differs"
    assert ranged("b", "s", "w", "1 5", [0, 4], [2, 6]).verdict == "in range"
    assert ranged("b", "s", "w", "1 7", [0, 4], [2, 6]).verdict == "differs"


def test_the_range_over_file_orders_contains_every_order_and_both_ends_are_reached():
    class Sample:
        valid_3, valid_7 = torch.zeros(1010), torch.zeros(1028)
        valid_y = torch.tensor([1] * 1010 + [0] * 1028).unsqueeze(1)

    generator = torch.Generator().manual_seed(0)
    right = torch.rand(2038, 1, generator=generator) < 0.9
    Sample.valid_x = torch.where(right == (Sample.valid_y == 1), 1.0, -1.0)  # the "model" reads the answer
    low, high = chapter4_training.validated(lambda x: x, Sample)
    sevens = right[1010:, 0]
    means = []
    for order in (torch.argsort(sevens.int()), torch.argsort(-sevens.int()), torch.randperm(1028, generator=generator)):
        shuffled = torch.cat([right[:1010, 0], sevens[order]]).double()
        means.append(round(torch.stack([batch.mean() for batch in shuffled.split(256)]).mean().item(), 4))
    assert means[0] == pytest.approx(max(low, high), abs=1e-4)
    assert means[1] == pytest.approx(min(low, high), abs=1e-4)
    assert low <= means[2] <= high


@pytest.fixture
def small_job(digits):
    """The digits in the form of chapter 11: raw pixels, some of which are 0 in every training image."""
    x = digits.train.pixels.reshape(len(digits.train), -1).astype(np.float32)
    assert (x == 0).all(axis=0).any()
    w1, w2 = backprop.initialize_weights((65, 30), (31, 10))
    return digits, x, backprop.one_hot_encode(digits.train.labels), w1, w2


@pytest.mark.parametrize("onednn", [True, False])
def test_the_gradients_of_the_long_job_are_those_by_hand(small_job, onednn, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: onednn)
    monkeypatch.setattr(elixir, "IMAGES_PER_BLOCK", 400)  # with a short last block
    digits, x, y, w1, w2 = small_job
    job = elixir.Job(digits)
    loss, gradients = job.gradients(job.weights(w1, w2))
    y_hat, h = backprop.forward(x, w1, w2)
    w1_gradient, w2_gradient = backprop.back(x, y, y_hat, w2, h)
    assert loss == pytest.approx(backprop.loss(y, y_hat), rel=1e-6)
    for ours, by_hand in (
        (gradients.hidden, w1_gradient[1:][job.used].T),
        (gradients.hidden_bias, w1_gradient[0]),
        (gradients.out, w2_gradient[1:].T),
        (gradients.out_bias, w2_gradient[0]),
    ):
        assert np.abs(ours.numpy() - by_hand).max() <= 1e-5 * np.abs(by_hand).max()
    unused = np.setdiff1d(np.arange(64), job.used)
    assert (w1_gradient[1:][unused] == 0).all()


def test_the_long_job_reports_the_same_as_backprop_train(small_job):
    digits, x, y, w1, w2 = small_job
    x_test = digits.valid.pixels.reshape(len(digits.valid), -1).astype(np.float32)
    plain = [row for row, _, _ in backprop.train(x, y, x_test, digits.valid.labels, 30, 20, 0.01, (w1, w2))]
    fast = list(elixir.iterations(elixir.Job(digits), w1, w2, 0.01, 20))
    assert [row.iteration for row in fast] == list(range(20))
    assert np.allclose([row.loss for row in fast], [row.loss for row in plain], rtol=1e-5)
    assert [row.accuracy for row in fast] == pytest.approx([row.accuracy for row in plain], abs=2 / 359)


def test_every_figure_of_the_books_is_reproduced(mnist, underhood):
    before = torch.get_rng_state()
    done = underhood("reproduce", "--json")
    assert torch.equal(torch.get_rng_state(), before)
    assert done.code == 0
    rows = done.json["rows"]
    assert all(set(row) == {"source", "section", "what", "book", "here", "verdict"} for row in rows)
    verdicts = [row["verdict"] for row in rows]
    assert len(rows) >= 45
    assert verdicts.count("equal") >= 35
    assert verdicts.count("differs") == 0
    assert done.json["equal"] == verdicts.count("equal")
    by_what = {row["what"]: row for row in rows}
    assert by_what["accuracy: 3s, 7s, mean"]["here"] == pytest.approx([0.9168, 0.9854, 0.9511], abs=5e-5)
    assert by_what["iteration 4: loss"]["here"] == pytest.approx(2.2333567, rel=1e-6)
    assert by_what["iteration 4: accuracy in %"]["here"] == pytest.approx(34.72, abs=0.0101)
    assert by_what["the last accuracy"]["book"] == 0.982826292514801


def test_a_figure_that_differs_is_shown_and_an_error(mnist, monkeypatch, underhood):
    monkeypatch.setattr(elixir, "FIRST_ITERATIONS", (("2.2787163257598877", "13.85"),))
    monkeypatch.setattr("underhood.books.chapter4.rows", lambda sample: [])
    monkeypatch.setattr("underhood.books.chapter4_training.rows", lambda sample: [])
    done = underhood("reproduce")
    assert done.code == 1
    [line] = [line for line in done.out.splitlines() if "differs" in line]
    assert line.split()[-4:] == ["in", "%", "13.85", "13.8"]
    assert done.out.splitlines()[-1] == "4 figures: 3 equal, 0 in range, 1 differ"


def test_ctrl_c_in_the_long_job_reports_the_last_iteration(mnist, monkeypatch, underhood):
    def three_then_ctrl_c(*_):
        for iteration in range(3):
            yield backprop.Report(iteration, float(elixir.FIRST_ITERATIONS[iteration][0]), 0.138)
        raise KeyboardInterrupt

    monkeypatch.setattr(elixir, "iterations", three_then_ctrl_c)
    monkeypatch.setattr("underhood.books.chapter4.rows", lambda sample: [])
    monkeypatch.setattr("underhood.books.chapter4_training.rows", lambda sample: [])
    done = underhood("reproduce", "--full", "--json")
    assert done.code == 130
    assert done.json["interrupted"].startswith("Iteration 2, Loss: 2.2557082")
    assert "error: interrupted; reached: Iteration 2" in done.err
    assert len(done.json["rows"]) == 12


def test_the_last_iterations_are_compared_within_their_tolerance(digits):
    report = backprop.Report(3499, 0.13983 + 9e-5, 0.9421 + 2e-4)
    assert elixir.last_iteration(report).verdict == "in range"
    assert elixir.last_iteration(report._replace(loss=0.13983 + 2e-4)).verdict == "differs"
    assert elixir.last_iteration(report._replace(accuracy=0.9425)).verdict == "differs"


def test_reproduce_without_mnist_says_what_is_missing(monkeypatch, tmp_path):
    from underhood.core.errors import DataError
    from underhood.data import named

    monkeypatch.delenv("UNDERHOOD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(named.MIRRORS, "mnist", ())
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        reproduce()
