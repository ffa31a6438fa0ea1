"""Distances between the ends of two clips, for tasks without ground truth."""

from typing import Literal

import numpy as np

from hwm_env.tasks.base import TaskView
from hwm_env.types import Float32Array, UInt8Array

Space = Literal["latents", "tokens", "pixels"]
"""What is compared at the end of a clip: `latents`, the root mean square difference of the values of its last latent's
digits (0 to 2); `tokens`, the share of its last latent's tokens that differ (0 to 1); `pixels`, the root mean square
difference of its last frames, in units of the whole range (0 to 1)."""


def features(moment: TaskView, space: Space) -> Float32Array | UInt8Array:
    """Returns the part of a moment that is compared in this space."""
    if space == "pixels":
        return moment.last_frame
    values: Float32Array = moment.latents[-1]
    return values


def distance(one: Float32Array | UInt8Array, other: Float32Array | UInt8Array, space: Space) -> float:
    """Returns the distance between the features of two moments, in the units of the space."""
    difference = one.astype(np.float64) - other
    if space == "tokens":
        return float((difference != 0).any(axis=-1).mean())
    return float(np.sqrt((difference**2).mean()) / (255 if space == "pixels" else 1))
