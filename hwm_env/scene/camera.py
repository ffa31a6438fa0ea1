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
        self.chain = Chain(links)

    def forward(self, numbers_A: Tensor) -> tuple[Tensor, Tensor]:
        """Returns place (m) and rotation in the frame of the base: [..., 25] to [..., 3] and [..., 3, 3]."""
        end: tuple[Tensor, Tensor] = self.chain(numbers_A)[-1]
        return end


class Chain(nn.Module):
    """A chain of links from the base. Has no weights.

    Args:
        links: the links, beginning at the base.
    """

    offsets_m: Tensor
    rotations: Tensor
    axes: Tensor
    turning: Tensor
    crosses: Tensor
    squared_crosses: Tensor
    identity: Tensor

    def __init__(self, links: Sequence[CameraLink]) -> None:
        super().__init__()
        self.links = tuple(links)
        axes = torch.tensor([link.axis for link in self.links]).view(-1, 3)
        turns = {
            index: ACTION_NAMES.index(link.number)
            for index, link in enumerate(self.links)
            if link.number is not None and not link.slides
        }
        self._turns = list(turns)
        crosses = _cross_product_matrix(normalize(axes[self._turns], dim=-1))
        constants = {
            "offsets_m": torch.tensor([link.offset_m for link in self.links]).view(-1, 3),
            "rotations": torch.tensor([link.rotation for link in self.links]).view(-1, 3, 3),
            "axes": axes,
            "turning": torch.tensor(list(turns.values()), dtype=torch.int64),
            "crosses": crosses,
            "squared_crosses": crosses @ crosses,
            "identity": torch.eye(3),
        }
        for name, constant in constants.items():
            self.register_buffer(name, constant, persistent=False)

    def forward(self, numbers_A: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Returns place (m) and rotation of every link in the frame of the base, after the link's joint.

        Args:
            numbers_A: the robot's numbers, float [..., 25].

        Returns:
            [..., 3] and [..., 3, 3] for each link.
        """
        constants = (self.offsets_m, self.rotations, self.axes, self.identity)
        offsets_m, rotations, axes, identity = (constant.to(numbers_A.dtype) for constant in constants)
        place = numbers_A.new_zeros(*numbers_A.shape[:-1], 3)
        rotation = identity.expand(*numbers_A.shape[:-1], 3, 3)
        turns = dict(zip(self._turns, self._turned(numbers_A).unbind(-3), strict=True))
        frames = []
        for index, link in enumerate(self.links):
            if any(link.offset_m):
                place = place + rotation @ offsets_m[index]
            if link.rotation != IDENTITY:
                rotation = rotation @ rotations[index]
            if index in turns:
                rotation = rotation @ turns[index]
            elif link.number is not None:
                value = numbers_A[..., ACTION_NAMES.index(link.number)]
                place = place + (rotation @ axes[index]) * value[..., None]
            frames.append((place, rotation))
        return frames

    def _turned(self, numbers_A: Tensor) -> Tensor:
        """Returns the rotations around the axes of the J links that turn: [..., 25] to [..., J, 3, 3] (Rodrigues)."""
        angles_rad = numbers_A.index_select(-1, self.turning)
        sin, cos = angles_rad.sin()[..., None, None], angles_rad.cos()[..., None, None]
        turned: Tensor = self.identity + sin * self.crosses + (1 - cos) * self.squared_crosses
        return turned


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


def _cross_product_matrix(vector: Tensor) -> Tensor:
    """Returns the matrices [..., 3, 3] that multiply like the cross product with vectors [..., 3]."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    matrices: Tensor = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    return matrices
