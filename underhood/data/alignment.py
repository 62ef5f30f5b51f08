"""Align pairs of images, and measure how well they then agree. No torch here.

Two images agree as well as one predicts the other, pixel by pixel, once it is shifted, scaled and turned to fit it. The
transformation is found by Gauss-Newton steps on the pixels (S. Baker and I. Matthews, "Lucas-Kanade 20 years on", 2004,
the inverse compositional form); brightness, contrast and sharpness may differ.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

SIDE = 32  # pixels a side of the grey images that are compared
SMALLEST = 16  # pixels a side: smaller images have too few pixels to compare
STEPS = ((1.5, 5), (0.7, 5))  # of the search: blur in pixels, and number of steps
FINE = 1.5  # pixels: what such a blur removes is fine detail
SHARPNESS = (0.0, 0.8, 1.6)  # blurs in pixels: a sharper image, blurred by a mixture of these, is as blurred as another
PAIRS = 512  # that are aligned at a time
IDENTITY = np.array([[1, 0, 0], [0, 1, 0]], np.float32)  # a transformation of x and y from −1 to 1


def grey(pixels: np.ndarray, content: np.ndarray | None = None) -> np.ndarray:
    """Small grey images, float32 [n, s, s], of uint8 [n, c, h, w]; s is at most SIDE.

    content: float [n, 2], the part of the width and of the height that is not padding; all of both by default. Padding
        is cut off, and what is left is stretched to a square.
    """
    _, channels, height, width = pixels.shape
    side = min(SIDE, max(height, width))
    weights = np.array([0.299, 0.587, 0.114] if channels == 3 else [1.0], np.float32)  # [c]
    shares = np.ones((1, 2)) if content is None else content
    kinds, which = np.unique(np.round(shares * [width, height]).astype(int), axis=0, return_inverse=True)
    which = np.broadcast_to(which.reshape(-1), len(pixels)) if content is None else which.reshape(-1)
    small = np.empty((len(pixels), side, side), np.float32)
    for number, (inner_width, inner_height) in enumerate(kinds.tolist()):
        rows, columns = _area(height, inner_height, side), _area(width, inner_width, side)
        members = np.flatnonzero(which == number)
        for start in range(0, len(members), PAIRS):
            chosen = members[start : start + PAIRS]
            flat = np.einsum("nchw,c->nhw", pixels[chosen].astype(np.float32), weights)
            small[chosen] = rows @ flat @ columns.T
    return small


def _area(length: int, inner: int, side: int) -> np.ndarray:
    """The matrix [side, length] that resamples the middle ``inner`` of ``length`` pixels by the areas they share."""
    inner = max(1, inner)
    start = (length - inner) // 2
    ends = start + np.linspace(0, inner, side + 1)
    pixel = np.arange(length)
    shared = np.minimum(ends[1:, None], pixel + 1) - np.maximum(ends[:-1, None], pixel)
    shared = np.maximum(shared, 0)
    return (shared / shared.sum(axis=1, keepdims=True)).astype(np.float32)


def grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """The places x and y of the pixels, from −1 to 1: float32 [side · side] each."""
    ticks = ((np.arange(side) + 0.5) * 2 / side - 1).astype(np.float32)
    y, x = np.meshgrid(ticks, ticks, indexing="ij")
    return x.ravel(), y.ravel()


def window(side: int) -> np.ndarray:
    """Which pixels are compared, float32 [side · side]: no corners and no edges, which turned images lack."""
    x, y = grid(side)
    return ((np.maximum(abs(x), abs(y)) < 0.92) & (np.hypot(x, y) < 1.12)).astype(np.float32)


def blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    """Images [n, h, w], blurred by this many pixels."""
    return gaussian_filter(images, (0, sigma, sigma), mode="nearest", truncate=3.0) if sigma else images


def detail(images: np.ndarray) -> np.ndarray:
    """How much fine detail grey images [n, s, s] have: its standard deviation in grey levels, float [n]."""
    stds = [np.zeros(0)]
    seen = window(images.shape[1]) > 0
    for start in range(0, len(images), PAIRS):
        some = images[start : start + PAIRS]
        stds.append((some - blurred(some, FINE)).reshape(len(some), -1)[:, seen].std(axis=1))
    return np.concatenate(stds)


def warp(images: np.ndarray, transforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, s, s] at the transformed places of their pixels: [n, s · s], and which of these lie in them, float.

    transforms: float32 [n, 2, 3], from places to places, each from −1 to 1
    """
    count, side = images.shape[:2]
    x, y = grid(side)
    places = transforms[:, :, :2] @ np.stack([x, y]) + transforms[:, :, 2:]  # [n, 2, s · s]
    inside = (np.abs(places).max(axis=1) <= 1).astype(np.float32)
    at = np.clip((places + 1) * (side / 2) - 0.5, 0, side - 1)
    low = np.minimum(at.astype(np.int32), max(0, side - 2))
    part = at - low
    flat = images.reshape(-1)
    start = low[:, 1] * side + low[:, 0] + (np.arange(count, dtype=np.int32) * side * side)[:, None]
    right, down = (1, side) if side > 1 else (0, 0)
    top = flat[start] * (1 - part[:, 0]) + flat[start + right] * part[:, 0]
    bottom = flat[start + down] * (1 - part[:, 0]) + flat[start + down + right] * part[:, 0]
    return top * (1 - part[:, 1]) + bottom * part[:, 1], inside


def align(first: np.ndarray, second: np.ndarray, start: np.ndarray, aspect: np.ndarray) -> np.ndarray:
    """The shift, scale and turn that carries places of the first images to those of the second: float32 [n, 2, 3].

    first, second: grey images, float32 [n, s, s]
    start: where the search begins, float32 [n, 2, 3]
    aspect: width over height of the images before they were stretched to squares, float [n]
    """
    transforms = start.astype(np.float32).copy()
    seen = window(first.shape[1])
    for sigma, steps in STEPS:
        reference, moving = blurred(first, sigma), blurred(second, sigma)
        slopes, inverse = _slopes(reference, seen, aspect)
        flat = reference.reshape(len(reference), -1)
        for _ in range(steps):
            warped, inside = warp(moving, transforms)
            weight = inside * seen
            residual = weight * (_fitted(flat, [warped], weight) - flat)
            change = np.einsum("nij,nj->ni", inverse, np.einsum("nip,np->ni", slopes, residual))
            transforms = _compose(transforms, change, aspect)
    return transforms


def scale_and_turn(transforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The scale, and the turn in degrees, of transformations [n, 2, 3], mirrored or not: float [n] each."""
    scale = np.sqrt(np.abs(np.linalg.det(transforms[:, :, :2].astype(float))))
    turn = np.sqrt(np.abs(transforms[:, 0, 1] * transforms[:, 1, 0])) / np.maximum(scale, 1e-6)
    return np.maximum(scale, 1e-6), np.rad2deg(np.arcsin(np.minimum(turn, 1)))


def _slopes(images: np.ndarray, seen: np.ndarray, aspect: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How pixels change with shift x, shift y, scale and turn, [n, 4, s · s], and the inverse Hessian [n, 4, 4]."""
    count, side = images.shape[:2]
    x, y = grid(side)
    down, right = (slope.reshape(count, -1) * (side / 2) for slope in np.gradient(images, axis=(1, 2)))
    wide = aspect.astype(np.float32)[:, None]
    slopes = np.stack([right, down, right * x + down * y, down * x * wide - right * y / wide], axis=1) * seen
    hessian = slopes @ slopes.transpose(0, 2, 1)
    hessian += np.eye(4, dtype=np.float32) * (1e-3 * np.trace(hessian, axis1=1, axis2=2)[:, None, None] / 4 + 1e-3)
    return slopes, np.linalg.inv(hessian)


def _compose(transforms: np.ndarray, change: np.ndarray, aspect: np.ndarray) -> np.ndarray:
    """The transformations [n, 2, 3] after the inverse of a small change [n, 4]: shift x, shift y, scale, turn."""
    change = np.clip(change, -0.25, 0.25)
    step = np.zeros((len(change), 3, 3), np.float32)
    step[:, 0, 0] = step[:, 1, 1] = 1 + change[:, 2]
    step[:, 0, 1], step[:, 1, 0] = -change[:, 3] / aspect, change[:, 3] * aspect
    step[:, :2, 2] = change[:, :2]
    step[:, 2, 2] = 1
    whole = np.concatenate([transforms, np.broadcast_to([[[0, 0, 1]]], (len(change), 1, 3))], axis=1)
    return (whole @ np.linalg.inv(step))[:, :2].astype(np.float32)


def _fitted(target: np.ndarray, regressors: list[np.ndarray], weight: np.ndarray) -> np.ndarray:
    """The least-squares fit of target [n, p] by regressors [n, p] and a constant, each pixel with its weight [n, p]."""
    columns = np.stack([*regressors, np.ones_like(target)], axis=1)  # [n, r, p]
    weighted = columns * weight[:, None]
    gram = weighted @ columns.transpose(0, 2, 1)  # [n, r, r]
    scale = np.trace(gram, axis1=1, axis2=2)[:, None, None]
    gram = gram + np.eye(gram.shape[1], dtype=np.float32) * (1e-6 * scale + 1e-6)
    slopes = np.linalg.solve(gram, weighted @ target[:, :, None])  # [n, r, 1]
    return (slopes.transpose(0, 2, 1) @ columns)[:, 0]


def agreement(first: np.ndarray, second: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    """How well images agree once they are aligned, each from 0 to 1: float [n, 3].

    The columns: all detail, fine detail, and the fraction of the first image that the second shows. The blurrier of
    two images is predicted from the sharper one and its blurred forms.

    first, second: grey images, float32 [n, s, s]; transforms: from places in the first to places in the second
    """
    count, seen = len(first), window(first.shape[1])
    warped, inside = warp(second, transforms)
    weight = inside * seen
    other = warped.reshape(first.shape)
    columns = []
    for sigma in (0.0, FINE):
        a, b = (images - blurred(images, sigma) if sigma else images for images in (first, other))
        flat_a, flat_b = ([blurred(images, blur).reshape(count, -1) for blur in SHARPNESS] for images in (a, b))
        columns.append(np.maximum(_explained(flat_a[0], flat_b, weight), _explained(flat_b[0], flat_a, weight)))
    return np.stack([*columns, weight.sum(axis=1) / max(1.0, float(seen.sum()))], axis=1)


def _explained(target: np.ndarray, regressors: list[np.ndarray], weight: np.ndarray) -> np.ndarray:
    """The fraction of the variance of target [n, p] that the regressors explain: float [n], 0 where there is none."""
    total = weight.sum(axis=1, keepdims=True) + 1e-9
    centred = target - (weight * target).sum(axis=1, keepdims=True) / total
    left = (weight * (target - _fitted(target, regressors, weight)) ** 2).sum(axis=1)
    whole = (weight * centred**2).sum(axis=1)
    return np.where(whole > 1e-3, 1 - left / np.maximum(whole, 1e-3), 0).clip(0, 1)
