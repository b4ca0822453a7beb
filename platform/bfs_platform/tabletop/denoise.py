"""Remove Monte Carlo noise from a small picture that was rendered as several independent ones.

Non-local means with a measured variance: pixels are averaged with those whose surroundings look alike up to the noise. It is
deterministic, needs no weights, and acts the same way on the picture with and on the one without the object.
"""

import numpy as np

_REACH = 4  # search window of 9 × 9
_STRENGTH = 0.6  # tolerated distance between two surroundings, in units of their noise variance
_FLOOR = 1e-5  # variance below which there is nothing to remove: about 0.8 of 255 levels


def denoise(parts: np.ndarray) -> np.ndarray:
    """Combine `parts` [K, H, W, 3] (independent renderings, display-referred, in [0, 1]) into one clean picture [H, W, 3]."""
    parts = _without_fireflies(parts)
    mean = parts.mean(axis=0)
    variance = box3(parts.var(axis=0, ddof=1) / len(parts)) + _FLOOR
    total, weights = np.zeros_like(mean), np.zeros((*mean.shape[:2], 1))
    padded, padded_variance = _pad(mean), _pad(variance)
    height, width = mean.shape[:2]
    for dy in range(2 * _REACH + 1):
        for dx in range(2 * _REACH + 1):
            there, there_variance = padded[dy : dy + height, dx : dx + width], padded_variance[dy : dy + height, dx : dx + width]
            apart = (mean - there) ** 2 - (variance + np.minimum(variance, there_variance))
            distance = box3(apart / (_STRENGTH * (variance + there_variance))).mean(axis=-1, keepdims=True)
            weight = np.exp(-np.clip(distance, 0, 30))
            total += weight * there
            weights += weight
    return total / weights


def _without_fireflies(parts: np.ndarray) -> np.ndarray:
    """Cut what only one of the renderings saw: no part may exceed the second brightest of its pixel by more than a little."""
    second = np.sort(parts, axis=0)[-2]
    parts = np.minimum(parts, second + 0.06)
    # What several saw in one single pixel: no pixel is brighter than its brightest neighbour.
    mean = parts.mean(axis=0)
    around = np.pad(mean, ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = mean.shape[:2]
    neighbours = [around[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3) if (dy, dx) != (1, 1)]
    return parts - np.maximum(mean - np.max(neighbours, axis=0), 0)


def _pad(image: np.ndarray) -> np.ndarray:
    return np.pad(image, ((_REACH, _REACH), (_REACH, _REACH), (0, 0)), mode="reflect")


def box3(image: np.ndarray) -> np.ndarray:
    """The mean over 3 × 3 pixels of [H, W, C], borders repeated."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9.0
