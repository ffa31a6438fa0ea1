"""The robot's limbs in the picture: how near each ray passes to each of their segments."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from hwm_env.scene.camera import CameraLink, Chain

_WIDTHS_M: Final = (0.08, 0.25)
"""Distances from a ray at which a segment counts as near: a little more than an arm's radius, and three times that."""
_NEAREST_M: Final = 0.05
"""Segments nearer to the camera than this, or behind it, are not seen."""
FEATURES_OF_SEGMENT: Final = len(_WIDTHS_M) + 5
"""Features per ray and segment."""


class Limbs(nn.Module):
    """Chains of joints that the camera sees, for example the arm from the base to a hand. Has no weights.

    A limb's segments are the straight lines between the origins of its links. Segments shared with the camera's chain
    are left out, since the camera is mounted on them.

    Args:
        limbs: chains from the base to the end of each limb.
        camera: chain from the base to the camera.
    """

    def __init__(self, limbs: Sequence[Sequence[CameraLink]], camera: Sequence[CameraLink]) -> None:
        super().__init__()
        self._chains = nn.ModuleList(Chain(limb) for limb in limbs)
        self._joints = tuple(_own_joints(limb, camera) for limb in limbs)

    @property
    def num_features(self) -> int:
        """Number of features per ray (D)."""
        return FEATURES_OF_SEGMENT * sum(max(0, len(joints) - 1) for joints in self._joints)

    def forward(self, numbers_A: Tensor, place: Tensor, rotation: Tensor, rays_SR: Tensor) -> Tensor:
        """Returns how each ray sees each segment.

        Args:
            numbers_A: the robot's numbers, float [..., 25].
            place: place of the camera in the frame of the base (m), [..., 3].
            rotation: rotation of the camera in the frame of the base, [..., 3, 3].
            rays_SR: unit vectors in the camera's frame, [S, R, 3].

        Returns:
            float [..., S, R, D]. For each segment: how near the ray passes to it, 0 to 1, on two scales; how far its
            nearest point is to the left of and above the ray (tangents), and ahead (m); and the segment's direction,
            left and up. All are 0 if the segment is far from the ray or behind the camera.
        """
        parts = [numbers_A.new_zeros(*numbers_A.shape[:-1], *rays_SR.shape[:-1], 0)]
        for chain, joints in zip(self._chains, self._joints, strict=True):
            if len(joints) > 1:
                frames = chain(numbers_A)
                points = torch.stack([frames[index][0] for index in joints], dim=-2)
                in_camera = (points - place[..., None, :]) @ rotation
                parts.append(_segments_seen(in_camera[..., :-1, :], in_camera[..., 1:, :], rays_SR))
        return torch.cat(parts, dim=-1)


def _own_joints(limb: Sequence[CameraLink], camera: Sequence[CameraLink]) -> tuple[int, ...]:
    """Returns the links of a limb with a place of their own, after the links shared with the camera's chain."""
    shared = 0
    while shared < min(len(limb), len(camera)) and limb[shared] == camera[shared]:
        shared += 1
    return tuple(index for index in range(shared, len(limb)) if any(limb[index].offset_m) or limb[index].slides)


def _segments_seen(starts: Tensor, ends: Tensor, rays_SR: Tensor) -> Tensor:
    """Returns each ray's features of N segments in the camera's frame: [..., N, 3] twice to [..., S, R, N * D]."""
    rays = rays_SR[..., None, :]
    starts, along = starts[..., None, None, :, :], (ends - starts)[..., None, None, :, :]
    start_offset, along_offset = _perpendicular(starts, rays), _perpendicular(along, rays)
    share = -(start_offset * along_offset).sum(-1, keepdim=True) / _squared(along_offset)
    share = share.clamp(0, 1)
    offset = start_offset + share * along_offset
    depth = ((starts + share * along) * rays).sum(-1)
    squared_distance = offset.square().sum(-1)
    near = [(depth > _NEAREST_M) * torch.exp(-squared_distance / width**2) for width in _WIDTHS_M]
    depth = depth.clamp(min=_NEAREST_M)
    direction = along / _squared(along).sqrt()
    where = [offset[..., 1] / depth, offset[..., 2] / depth, depth, direction[..., 1], direction[..., 2]]
    return torch.stack([*near, *(near[-1] * value for value in where)], dim=-1).flatten(-2)


def _perpendicular(vectors: Tensor, rays: Tensor) -> Tensor:
    """Returns the part of vectors [..., 3] that is perpendicular to unit vectors."""
    return vectors - (vectors * rays).sum(-1, keepdim=True) * rays


def _squared(vectors: Tensor) -> Tensor:
    """Returns the squared lengths [..., 1] of vectors, never 0."""
    return vectors.square().sum(-1, keepdim=True).clamp(min=1e-6)
