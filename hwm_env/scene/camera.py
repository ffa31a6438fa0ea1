"""The camera: computes its place and rotation in the frame of the base from the robot's 25 numbers.

A camera looks along its x axis; y points to the left of the picture, z up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import torch
from annotated_types import Len
from torch import Tensor, nn
from torch.nn.functional import normalize, silu

from hwm_env.fields import ActionName, CheckedFields
from hwm_env.types import ACTION_DIM, ACTION_NAMES

IDENTITY: Final = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class CameraLink(CheckedFields):
    """A link of a chain from the base: a fixed displacement, then at most one joint."""

    offset_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Origin of the link in the previous link's frame."""
    rotation: Annotated[tuple[float, ...], Len(9, 9)] = IDENTITY
    """Rotation of the link's frame in the previous link's frame: nine numbers, row by row."""
    number: ActionName | None = None
    """Name of the number (`hwm_env.types.ACTION_NAMES`) that moves the joint; `None`: no joint."""
    axis: tuple[float, float, float] = (0.0, 0.0, 1.0)
    """Axis of the joint, a unit vector in the link's frame."""
    slides: bool = False
    """Whether the joint slides along the axis (m) instead of turning around it (rad)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CameraDescription:
    """A camera as a robot description defines it."""

    links: tuple[CameraLink, ...]
    """Links from the base to the camera; the last link's frame is the camera's."""
    field_of_view_deg: float | None = None
    """Vertical field of view; `None` if undefined, or for a camera without perspective."""


class KinematicCamera(nn.Module):
    """A camera at the end of a known chain of joints. Has no weights.

    Args:
        links: links from the base to the camera; the last link's frame is the camera's.
    """

    def __init__(self, links: Sequence[CameraLink]) -> None:
        super().__init__()
        self.links = tuple(links)

    def forward(self, numbers_A: Tensor) -> tuple[Tensor, Tensor]:
        """Returns place (m) and rotation in the frame of the base: [..., 25] to [..., 3] and [..., 3, 3]."""
        return frames_along(self.links, numbers_A)[-1]


def frames_along(links: Sequence[CameraLink], numbers_A: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Returns place (m) and rotation of every link in the frame of the base, after the link's joint.

    Args:
        links: links of a chain from the base.
        numbers_A: the robot's numbers, float [..., 25].

    Returns:
        [..., 3] and [..., 3, 3] for each link.
    """
    place = numbers_A.new_zeros(*numbers_A.shape[:-1], 3)
    rotation = torch.eye(3, dtype=numbers_A.dtype, device=numbers_A.device).expand(*numbers_A.shape[:-1], 3, 3)
    frames = []
    for link in links:
        place = place + rotation @ place.new_tensor(link.offset_m)
        rotation = rotation @ rotation.new_tensor(link.rotation).view(3, 3)
        if link.number is not None:
            value = numbers_A[..., ACTION_NAMES.index(link.number)]
            axis = rotation.new_tensor(link.axis)
            if link.slides:
                place = place + (rotation @ axis) * value[..., None]
            else:
                rotation = rotation @ _turned_around(axis, value)
        frames.append((place, rotation))
    return frames


class LearnedCamera(nn.Module):
    """A camera whose place and rotation are learned functions of the 25 numbers, for robots without a description.

    Before training, it is `height_m` above the middle of the base and looks straight ahead.

    Args:
        hidden: channels of the hidden layer.
        height_m: initial height.
    """

    number_mean: Tensor
    number_std: Tensor

    def __init__(self, hidden: int = 64, height_m: float = 1.2) -> None:
        super().__init__()
        self.register_buffer("number_mean", torch.zeros(ACTION_DIM))
        self.register_buffer("number_std", torch.ones(ACTION_DIM))
        self.first = nn.Linear(ACTION_DIM, hidden)
        self.second = nn.Linear(hidden, 6)
        nn.init.zeros_(self.second.weight)
        self.second.bias.data.copy_(torch.tensor([0.0, 0.0, height_m, 0.0, 0.0, 0.0]))

    def forward(self, numbers_A: Tensor) -> tuple[Tensor, Tensor]:
        """Returns place (m) and rotation in the frame of the base: [..., 25] to [..., 3] and [..., 3, 3]."""
        outputs = self.second(silu(self.first((numbers_A - self.number_mean) / self.number_std))).float()
        place, turn = outputs[..., :3], outputs[..., 3:]
        rotation: Tensor = torch.linalg.matrix_exp(_cross_product_matrix(turn))
        return place, rotation


def _turned_around(axis: Tensor, angle_rad: Tensor) -> Tensor:
    """Returns rotations around an axis [3] by angles [...]: [..., 3, 3] (Rodrigues)."""
    cross = _cross_product_matrix(normalize(axis, dim=0))
    sin, cos = angle_rad.sin()[..., None, None], angle_rad.cos()[..., None, None]
    turned: Tensor = torch.eye(3, dtype=axis.dtype, device=axis.device) + sin * cross + (1 - cos) * (cross @ cross)
    return turned


def _cross_product_matrix(vector: Tensor) -> Tensor:
    """Returns the matrices [..., 3, 3] that multiply like the cross product with vectors [..., 3]."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    matrices: Tensor = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    return matrices
