"""Chapter 11's network by hand, against torch, autograd and finite differences."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from underhood.scratch import backprop


@pytest.fixture
def small():
    """Six images of five pixels, four hidden nodes, three classes: x, y, w1, w2."""
    rng = np.random.default_rng(0)
    y = backprop.one_hot_encode(np.array([0, 1, 2, 2, 1, 0]), 3)
    return rng.normal(size=(6, 5)), y, rng.normal(size=(6, 4)), rng.normal(size=(5, 3))


def logits(width=50.0):
    return arrays(np.float32, (4, 10), elements=st.floats(-width, width, width=32))


def test_one_hot_encode_puts_a_one_in_the_labels_column():
    assert backprop.one_hot_encode(np.array([[2], [0]]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert backprop.one_hot_encode(np.arange(10)).argmax(axis=1).tolist() == list(range(10))


def test_prepend_bias_puts_ones_first():
    assert backprop.prepend_bias(np.array([[5.0, 6.0]])).tolist() == [[1, 5, 6]]


@given(logits())
def test_sigmoid_and_softmax_equal_torchs(z):
    assert np.allclose(backprop.sigmoid(z), torch.sigmoid(torch.from_numpy(z)), atol=1e-6)
    assert np.allclose(backprop.softmax(z), torch.softmax(torch.from_numpy(z), 1), atol=1e-6)


@given(logits())
def test_softmax_sums_to_one_and_is_invariant_to_a_shift(z):
    assert np.allclose(backprop.softmax(z).sum(axis=1), 1, atol=1e-5)
    assert np.allclose(backprop.softmax(z), backprop.softmax(z + np.float32(3)), atol=1e-5)


@given(arrays(np.float64, 20, elements=st.floats(-20, 20)))
def test_sigmoid_gradient_is_the_derivative(z):
    step = 1e-5
    slope = (backprop.sigmoid(z + step) - backprop.sigmoid(z - step)) / (2 * step)
    assert np.allclose(backprop.sigmoid_gradient(backprop.sigmoid(z)), slope, atol=1e-9)


@given(logits(2.0**100))
def test_softmax_and_loss_stay_finite_however_large_the_logits(z):
    y = backprop.one_hot_encode(np.arange(4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y_hat = backprop.softmax(z)
        assert np.isfinite(y_hat).all()
        assert 0 <= backprop.loss(y, y_hat) < 100


def test_raw_pixels_of_0_to_255_and_large_weights_are_safe():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (20, 784)).astype(np.float32)
    w1, w2 = backprop.initialize_weights((785, 200), (201, 10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y_hat, h = backprop.forward(x, w1 * 100, w2 * 100)
        assert np.isfinite(y_hat).all()
        assert np.isfinite(backprop.loss(backprop.one_hot_encode(np.arange(20) % 10), y_hat))
        for gradient in backprop.back(x, backprop.one_hot_encode(np.arange(20) % 10), y_hat, w2, h):
            assert np.isfinite(gradient).all()


def test_safe_softmax_and_loss_equal_the_plain_formulas():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(50, 10)) * 5
    y = backprop.one_hot_encode(rng.integers(0, 10, 50))
    plain = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    assert np.allclose(backprop.softmax(z), plain, rtol=1e-12)
    assert backprop.loss(y, backprop.softmax(z)) == pytest.approx(-np.sum(y * np.log(plain)) / 50, rel=1e-12)


def test_back_agrees_with_autograd_and_finite_differences_layer_by_layer(small):
    layers = backprop.compare_gradients(*small)
    assert [layer.name for layer in layers] == ["w2", "w2 bias", "w1", "w1 bias"]
    assert all(layer.agrees for layer in layers)
    assert max(layer.from_autograd for layer in layers) < 1e-12
    assert max(layer.from_differences for layer in layers) < 1e-8
    assert backprop.first_disagreement(layers) is None


def sign_error_in_the_difference(x, y, y_hat, w2, h):
    return backprop.back(x, -y, -y_hat, w2, h)


def sign_error_in_w1(x, y, y_hat, w2, h):
    w1_gradient, w2_gradient = backprop.back(x, y, y_hat, w2, h)
    return -w1_gradient, w2_gradient


def forgets_the_derivative_of_sigmoid(x, y, y_hat, w2, h):
    _, w2_gradient = backprop.back(x, y, y_hat, w2, h)
    return backprop.prepend_bias(x).T @ ((y_hat - y) / len(x) @ w2[1:].T), w2_gradient


def bias_from_the_wrong_side(x, y, y_hat, w2, h):
    w1_gradient, w2_gradient = backprop.back(x, y, y_hat, w2, h)
    return w1_gradient * np.where(np.arange(len(w1_gradient)) == 0, -1, 1)[:, None], w2_gradient


@pytest.mark.parametrize(
    ("mistake", "layer"),
    [
        (sign_error_in_the_difference, "w2"),
        (sign_error_in_w1, "w1"),
        (forgets_the_derivative_of_sigmoid, "w1"),
        (bias_from_the_wrong_side, "w1 bias"),
    ],
)
def test_a_planted_mistake_is_found_in_the_first_layer_that_has_it(small, mistake, layer):
    assert backprop.first_disagreement(backprop.compare_gradients(*small, back=mistake)) == layer


def test_finite_differences_restore_the_array():
    array = np.array([[1.0, 2.0], [3.0, 4.0]])
    gradient = backprop.finite_differences(lambda: float((array**2).sum()), array)
    assert np.allclose(gradient, 2 * np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert array.tolist() == [[1, 2], [3, 4]]


def test_classify_is_the_most_probable_class(small):
    x, _, w1, w2 = small
    y_hat, h = backprop.forward(x, w1, w2)
    assert backprop.classify(x, w1, w2).shape == (6, 1)
    assert backprop.classify(x, w1, w2)[:, 0].tolist() == y_hat.argmax(axis=1).tolist()
    assert h.shape == (6, 4)


def test_training_by_hand_learns_the_digits(digits):
    """A digit classifier of 32 hidden nodes by full-batch descent; its report agrees with an evaluation."""
    x, x_test = (p.pixels.reshape(len(p), -1).astype(np.float32) / 255 for p in (digits.train, digits.valid))
    y, y_test = backprop.one_hot_encode(digits.train.labels), digits.valid.labels
    rows = list(backprop.train(x, y, x_test, y_test, n_hidden_nodes=32, iterations=300, lr=2.0))
    first, (last, w1, w2) = rows[0][0], rows[-1]
    assert last.iteration == 299
    assert last.loss < first.loss / 4
    assert last.accuracy > 0.9
    assert last.accuracy == np.mean(backprop.classify(x_test, w1, w2)[:, 0] == y_test)
    assert str(last).startswith(f"Iteration 299, Loss: {last.loss:.7f}")


def test_initial_weights_are_small_and_equal_for_equal_seeds():
    w1, w2 = backprop.initialize_weights((785, 200), (201, 10))
    assert w1.std() == pytest.approx(0.01, rel=0.01)
    assert np.array_equal(w1, backprop.initialize_weights((785, 200), (201, 10))[0])
    assert (w1.shape, w2.shape) == ((785, 200), (201, 10))
