"""Where points of the scene land in the picture, computed without rendering."""

import numpy as np

from bfs_platform.tabletop.description import Camera, Light


def project(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Picture coordinates [N, 2] of world `points` [N, 3]: x right, y down, the frame is [0, 1]². Points must be in front."""
    origin = np.array(camera.origin)
    forward = np.array(camera.target) - origin
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    seen = (points - origin) @ np.stack([right, down, forward], axis=1)
    return 0.5 + seen[:, :2] / seen[:, 2:] / (2 * np.tan(np.radians(camera.fov_deg) / 2))


def extent(points: np.ndarray, camera: Camera) -> float:
    """The longer side of the box around the projected `points`, as a fraction of the frame."""
    return float(np.ptp(project(points, camera), axis=0).max())


def shadow(points: np.ndarray, light: Light) -> np.ndarray:
    """The points [N, 3] of the table where the light's centre is hidden by `points` [N, 3]."""
    source = np.array(light.position)
    return points + (points - source) * (points[:, 2:] / np.maximum(source[2] - points[:, 2:], 0.5))


def fraction_inside(points: np.ndarray, camera: Camera, margin: float) -> float:
    """The share of `points` [N, 3] that lands in the frame, at least `margin` (a fraction of it) from its border."""
    places = project(points, camera)
    return float(np.mean(np.all((places > margin) & (places < 1 - margin), axis=1)))
