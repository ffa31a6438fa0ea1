"""Localisation by synthesis: the pose that makes recorded clips likeliest under the scene model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import torch
from torch import Tensor

from hwm_env.fields import CheckedFields, Count
from hwm_env.scene.model import CLIPS_AT_ONCE, KEYFRAMES, SceneModel
from hwm_env.scene.pose import compose, integrate_wheels, relative, wrap_angle
from hwm_env.types import FRAMES_PER_CLIP, POSE_DIM

APART_M: Final = 0.5
"""Beginnings that are nearer than this..."""
APART_RAD: Final = 0.4
"""... and whose headings differ by less than this count as one."""
_SHIFTS: Final = (0.02, 0.02, 0.01)
"""Of the finite differences: ahead (m), to the left (m) and in heading (rad)."""
_LARGEST_STEP: Final = (0.3, 0.3, 0.2)
"""What one step moves at most, in the same units."""
_SMALLEST_STEP: Final = (0.002, 0.002, 0.001)
"""A search has arrived where a step would move less than this."""
_FIRST_DAMPING: Final = 0.03
_EVIDENCE: Final = 0.02
"""Weight of a token's evidence in the covariance: the errors of neighbouring tokens go together
(docs/experiments.md)."""
_ROOM_STD: Final = (3.0, 3.0, 1.8)
"""Of a base that may be anywhere in a room (m, m, rad): where the clips tell nothing, the covariance says so."""


class MotionModel(Protocol):
    """Where the wheels bring the base, such as an Odometry."""

    def __call__(self, pose: Tensor, numbers_BFA: Tensor, /) -> Tensor:
        """Returns the poses [B, F, 3] at F frames after a pose [B, 3]."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class LocaliserConfig(CheckedFields):
    """How a pose is found."""

    refined: Count = 1
    """Beginnings that are refined: the likeliest of all that are given, no two of them alike."""
    coarse_steps: Count = 3
    """Steps of Fisher scoring on a few of the clips, fewer where the search has arrived."""
    coarse_clips: Count = 3
    """Clips that those look at, evenly spread, the newest among them."""
    fine_steps: Count = 1
    """Steps on all clips, from the likeliest of what the coarse steps have found."""


class Localisation(NamedTuple):
    """Where B histories end."""

    poses: Tensor
    """Of the base at the last frame, float32 [B, 3], yaw in [-pi, pi)."""
    covariances: Tensor
    """Of x (m), y (m) and yaw (rad) in the room's frame, float32 [B, 3, 3]."""
    losses: Tensor
    """Negative log-likelihood of the clips there, float32 [B], nats a token."""
    paths: Tensor
    """Of the base at all frames, float32 [B, T, 17, 3], yaw not wrapped."""


@torch.no_grad()
def localise(
    scene: SceneModel,
    motion: MotionModel,
    tokens_BTLHW: Tensor,
    actions_BTFA: Tensor,
    beginnings_BN: Tensor,
    config: LocaliserConfig | None = None,
) -> Localisation:
    """Finds the pose at the end of each history.

    The likeliest beginnings are refined by Fisher scoring: derivatives of the logits by finite differences, with
    respect to a motion of the whole path, whose shape is what the wheels say.

    Args:
        scene: draws tokens from poses.
        motion: draws poses from wheels.
        tokens_BTLHW: T clips, int [B, T, 3, H, W].
        actions_BTFA: their actions, float [B, T, 17, 25].
        beginnings_BN: N candidates of the pose at the last frame, float [B, N, 3].
        config: how many steps of what size.
    """
    config = config or LocaliserConfig()
    few = _evenly_spread(tokens_BTLHW.shape[1], config.coarse_clips)
    everything = list(range(tokens_BTLHW.shape[1]))
    batch, num = len(beginnings_BN), config.refined
    losses = score_ends(scene, motion, tokens_BTLHW, actions_BTFA, beginnings_BN, few[-1:])
    chosen = [spread_out(ends[loss.argsort()], num) for ends, loss in zip(beginnings_BN, losses, strict=True)]
    tokens, actions = (part.repeat_interleave(num, dim=0) for part in (tokens_BTLHW, actions_BTFA))
    paths = _Paths.ending_at(torch.cat(chosen), motion, actions)
    coarse = _refined(scene, motion, paths, tokens, few, config.coarse_steps)
    rows = torch.arange(batch, device=losses.device) * num + coarse.losses.view(batch, num).argmin(dim=1)
    fine = _refined(scene, motion, coarse.paths.select(rows), tokens_BTLHW, everything, config.fine_steps)
    ends = torch.cat([fine.paths.ends[:, :2], wrap_angle(fine.paths.ends[:, 2:])], dim=1)
    anywhere = ends.new_tensor(_ROOM_STD).pow(-2).diag()
    in_base_frame = torch.linalg.inv(_EVIDENCE * fine.information + anywhere)
    turn = _turned(ends[:, 2])
    return Localisation(ends, turn @ in_base_frame @ turn.mT, fine.losses, fine.paths.by_clip)


@torch.no_grad()
def paths_ending_at(ends: Tensor, motion: MotionModel, actions_BTFA: Tensor) -> Tensor:
    """Returns where the base was if histories ended at these poses.

    The wheels are turned back in an empty room, then forward past its obstacles; what comes out is moved as one.

    Args:
        ends: poses at the last frame, float [B, 3].
        motion: draws poses from wheels.
        actions_BTFA: of T clips, float [B, T, 17, 25].

    Returns:
        Poses at all frames, float [B, T, 17, 3], yaw not wrapped; NaN where the end is.
    """
    return _Paths.ending_at(ends, motion, actions_BTFA).by_clip


@torch.no_grad()
def first_step(scene: SceneModel, path_BF: Tensor, actions_BFA: Tensor, tokens_BLHW: Tensor) -> Tensor:
    """Returns where one step of Fisher scoring leads from the path along which a clip was taken.

    Args:
        scene: draws tokens from poses.
        path_BF: poses of the clip's frames, float [B, 17, 3].
        actions_BFA: its actions, float [B, 17, 25].
        tokens_BLHW: its tokens, int [B, 3, H, W].

    Returns:
        float [B, 3]: ahead (m), to the left (m), turned (rad), at most 0.3, 0.3 and 0.2.
    """
    paths, seen = _Paths(actions_BFA[:, None], path_BF[:, 0], path_BF), tokens_BLHW[:, None]
    logits = _logits(scene, paths, [0])
    gradient, information = _derivatives(scene, paths, logits, seen, [0])
    return _step(gradient, information, torch.full((len(seen), 1, 1), _FIRST_DAMPING, device=seen.device))


@torch.no_grad()
def score_ends(
    scene: SceneModel,
    motion: MotionModel,
    tokens_BTLHW: Tensor,
    actions_BTFA: Tensor,
    ends_BN: Tensor,
    clips: Sequence[int],
) -> Tensor:
    """Returns the losses of some clips if the path ended at each of N poses [B, N, 3]: float [B, N], nats a token."""
    batch, num = ends_BN.shape[:2]
    tokens, actions = (part.repeat_interleave(num, dim=0) for part in (tokens_BTLHW, actions_BTFA))
    paths = _Paths.ending_at(ends_BN.flatten(0, 1), motion, actions)
    return _losses(scene, paths, tokens, clips).view(batch, num)


def spread_out(ordered_N: Tensor, count: int) -> Tensor:
    """Returns the first `count` of poses [N, 3] of which no two are alike; the first ones again if too few."""
    chosen: list[Tensor] = []
    for pose in ordered_N:
        if len(chosen) == count:
            break
        if not any(_alike(pose, other) for other in chosen):
            chosen.append(pose)
    return torch.stack([chosen[index % len(chosen)] for index in range(count)])


def _alike(pose: Tensor, other: Tensor) -> bool:
    motion = relative(pose, other)
    return bool(motion[:2].norm() < APART_M and motion[2].abs() < APART_RAD)


@dataclass(frozen=True, slots=True)
class _Paths:
    """Where the base was in B histories of T clips."""

    actions: Tensor
    """float [B, T, 17, 25]."""
    starts: Tensor
    """Before the first frame, float [B, 3]."""
    poses: Tensor
    """float [B, T * 17, 3]."""

    @property
    def ends(self) -> Tensor:
        """At the last frame, [B, 3]."""
        return self.poses[:, -1]

    @property
    def by_clip(self) -> Tensor:
        """At all frames, [B, T, 17, 3]."""
        poses: Tensor = self.poses.unflatten(1, (-1, FRAMES_PER_CLIP))
        return poses

    @classmethod
    def ending_at(cls, ends: Tensor, motion: MotionModel, actions_BTFA: Tensor) -> "_Paths":
        """Returns the paths that end at these poses, see `paths_ending_at`."""
        numbers, origin = actions_BTFA.flatten(1, 2), torch.zeros_like(ends)
        starts = compose(ends, relative(integrate_wheels(origin, numbers)[:, -1], origin))
        paths = cls(actions_BTFA, starts, motion(starts, numbers))
        return paths._rebased(ends)

    def moved(self, change: Tensor) -> "_Paths":
        """Returns the paths as wholes after a motion [B, 3] of their last pose in its own frame."""
        return self._rebased(compose(self.ends, change))

    def replayed(self, motion: MotionModel) -> "_Paths":
        """Returns the paths that begin where these begin and meet the obstacles that are there."""
        return _Paths(self.actions, self.starts, motion(self.starts, self.actions.flatten(1, 2)))

    @classmethod
    def join(cls, batches: "Sequence[_Paths]") -> "_Paths":
        """Returns one batch of several."""
        parts = ((paths.actions, paths.starts, paths.poses) for paths in batches)
        return cls(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def select(self, rows: Tensor) -> "_Paths":
        """Returns the paths of these rows."""
        return _Paths(self.actions[rows], self.starts[rows], self.poses[rows])

    def where(self, chosen_B: Tensor, other: "_Paths") -> "_Paths":
        """Returns these paths where chosen, the other ones elsewhere."""
        chosen = chosen_B[:, None]
        return _Paths(
            self.actions,
            torch.where(chosen, self.starts, other.starts),
            torch.where(chosen[..., None], self.poses, other.poses),
        )

    def _rebased(self, ends: Tensor) -> "_Paths":
        starts = compose(ends, relative(self.ends, self.starts))
        return _Paths(self.actions, starts, compose(ends[:, None], relative(self.ends[:, None], self.poses)))


class _Refined(NamedTuple):
    """What B searches have come to."""

    paths: _Paths
    losses: Tensor
    """float [B], nats a token."""
    information: Tensor
    """Fisher's about a motion of the last pose in its own frame, before the last step, float [B, 3, 3]."""


def _refined(
    scene: SceneModel, motion: MotionModel, paths: _Paths, tokens: Tensor, clips: Sequence[int], steps: int
) -> _Refined:
    """Takes steps of Fisher scoring; one that makes the clips less likely is not taken, and the next one is smaller."""
    damping = torch.full((len(tokens), 1, 1), _FIRST_DAMPING, device=tokens.device)
    smallest, seen = paths.starts.new_tensor(_SMALLEST_STEP), tokens[:, list(clips)]
    logits = _logits(scene, paths, clips)
    losses = _loss(scene, logits, seen)
    information = paths.starts.new_empty(len(tokens), POSE_DIM, POSE_DIM)
    for step in range(steps):
        gradient, information = _derivatives(scene, paths, logits, seen, clips)
        change = _step(gradient, information, damping)
        if step > 0 and (change.abs() < smallest).all():
            break
        tried = paths.moved(change).replayed(motion)
        logits_tried = _logits(scene, tried, clips)
        losses_tried = _loss(scene, logits_tried, seen)
        better = losses_tried < losses
        paths, losses = tried.where(better, paths), torch.where(better, losses_tried, losses)
        logits = torch.where(better.view(-1, *[1] * (logits.ndim - 1)), logits_tried, logits)
        damping = torch.where(better[:, None, None], damping * 0.3, damping * 10)
    return _Refined(paths, losses, information)


def _step(gradient: Tensor, information: Tensor, damping: Tensor) -> Tensor:
    """Returns the damped step of Fisher scoring [B, 3], shortened where it is long."""
    scale = information.diagonal(dim1=1, dim2=2).diag_embed()
    identity = torch.eye(POSE_DIM, device=gradient.device)
    change = torch.linalg.solve(information + damping * scale + 1e-6 * identity, gradient)
    excess = (change.abs() / change.new_tensor(_LARGEST_STEP)).amax(dim=1, keepdim=True)
    limited: Tensor = change / excess.clamp(min=1.0)
    return limited


def _derivatives(
    scene: SceneModel, paths: _Paths, logits: Tensor, seen: Tensor, clips: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Returns the derivatives of B log-likelihoods, as functions of a motion of the last pose in its own frame.

    Args:
        scene: draws tokens from poses.
        paths: where the derivatives are taken.
        logits: what is drawn there, [B, n, 3, H, W, levels].
        seen: the tokens of the n clips, int [B, n, 3, H, W].
        clips: their indices.

    Returns:
        Gradient [B, 3] and Fisher information [B, 3, 3], of the sum over tokens.
    """
    shifts = paths.starts.new_tensor(_SHIFTS)
    moved = _Paths.join([paths.moved(one.expand_as(paths.starts)) for one in torch.diag(shifts)])
    shifted = _logits(scene, moved, clips).unflatten(0, (POSE_DIM, len(logits)))
    digits = scene.head.fsq.codes_to_digits(seen)
    gradient = logits.new_zeros(len(logits), POSE_DIM)
    information = logits.new_zeros(len(logits), POSE_DIM, POSE_DIM)
    for index, part in enumerate(scene.head.split(torch.cat([logits[None], shifted]))):
        probabilities = part[0].softmax(dim=-1).flatten(1, -2)
        slopes = (part[1:] - part[0]).flatten(2, -2) / shifts.view(-1, 1, 1, 1)
        mean = (probabilities * slopes).sum(dim=-1)
        of_digit = slopes.gather(-1, digits[..., index].flatten(1)[None, ..., None].expand(POSE_DIM, -1, -1, -1))
        gradient += (of_digit.squeeze(-1) - mean).sum(dim=-1).t()
        centred = slopes - mean[..., None]
        information += torch.einsum("ibsn,jbsn->bij", centred * probabilities, centred)
    return gradient, information


def _losses(scene: SceneModel, paths: _Paths, tokens: Tensor, clips: Sequence[int]) -> Tensor:
    """Returns the mean loss of some clips, float [B], nats a token."""
    return _loss(scene, _logits(scene, paths, clips), tokens[:, list(clips)])


def _loss(scene: SceneModel, logits: Tensor, seen: Tensor) -> Tensor:
    return scene.head.cross_entropy(logits, seen).flatten(1).mean(dim=1)


def _logits(scene: SceneModel, paths: _Paths, clips: Sequence[int]) -> Tensor:
    """Returns digit logits of some clips, [B, n, 3, H, W, levels]."""
    frames = list(KEYFRAMES)
    poses = paths.by_clip[:, list(clips)][:, :, frames]
    numbers = paths.actions[:, list(clips)][:, :, frames]
    parts = [
        scene(some_poses, some_numbers)
        for some_poses, some_numbers in zip(
            poses.flatten(0, 1).split(CLIPS_AT_ONCE), numbers.flatten(0, 1).split(CLIPS_AT_ONCE), strict=True
        )
    ]
    logits: Tensor = torch.cat(parts).unflatten(0, poses.shape[:2])
    return logits


def _evenly_spread(total: int, count: int) -> list[int]:
    """Returns up to `count` of the indices below `total`, the last one among them."""
    count = min(count, total)
    return [round((index + 1) * total / count) - 1 for index in range(count)]


def _turned(yaw: Tensor) -> Tensor:
    """Returns what turns x and y of the base's frame into the room's and leaves yaw, [B, 3, 3]."""
    cos, sin, zero, one = yaw.cos(), yaw.sin(), torch.zeros_like(yaw), torch.ones_like(yaw)
    matrices: Tensor = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=-1).unflatten(-1, (3, 3))
    return matrices
