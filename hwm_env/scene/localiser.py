"""Localises histories by synthesis: finds the pose that makes recorded clips likeliest under the scene model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

from hwm_env.fields import CheckedFields, Count
from hwm_env.scene.model import KEYFRAMES, SceneModel, parts_of
from hwm_env.scene.paths import MotionModel, Paths
from hwm_env.scene.pose import relative, wrap_angle
from hwm_env.types import POSE_DIM

APART_M: Final = 0.5
"""Candidates count as alike if they are nearer than this, and their yaws differ by less than `APART_RAD`."""
APART_RAD: Final = 0.4
"""See `APART_M`."""
_SHIFTS: Final = (0.02, 0.02, 0.01)
"""Shifts of the finite differences: ahead (m), to the left (m) and in yaw (rad)."""
_LARGEST_STEP: Final = (0.3, 0.3, 0.2)
"""Largest motion of one step, in the same units."""
_SMALLEST_STEP: Final = (0.002, 0.002, 0.001)
"""A search has converged if a step would move less than this."""
_FIRST_DAMPING: Final = 0.03
_EVIDENCE: Final = 0.02
"""Weight of a token's evidence in the covariance, since errors of neighbouring tokens are correlated
(docs/experiments.md)."""
_ROOM_STD: Final = (3.0, 3.0, 1.8)
"""Standard deviation of a base that may be anywhere in a room (m, m, rad), for clips without information."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocaliserConfig(CheckedFields):
    """Settings of the search for a pose."""

    refined: Count = 1
    """Number of candidates that are refined: the likeliest ones, no two of them alike."""
    coarse_steps: Count = 4
    """Steps of Fisher scoring on a few clips; fewer if the search converges."""
    coarse_clips: Count = 3
    """Number of clips for the coarse steps, evenly spread, including the newest."""
    fine_steps: Count = 1
    """Steps on all clips, from the likeliest result of the coarse steps. Where those see all clips too, it is one
    search, which ends when it has converged."""


class Localisation(NamedTuple):
    """Estimated poses at the end of B histories."""

    poses: Tensor
    """float32 [B, 3]: base poses at the last frame, yaw in [-pi, pi)."""
    covariances: Tensor
    """float32 [B, 3, 3]: covariances of x (m), y (m) and yaw (rad) in the room's frame."""
    losses: Tensor
    """float32 [B]: negative log-likelihood at these poses, nats per token; the median over the clips, since the wheels
    may have slipped in some of them."""
    paths: Tensor
    """float32 [B, T, 17, 3]: base poses at all frames, yaw not wrapped."""


@torch.no_grad()
def localise(
    scene: SceneModel,
    motion: MotionModel,
    tokens_BTLHW: Tensor,
    actions_BTFA: Tensor,
    candidates_BN: Tensor,
    config: LocaliserConfig | None = None,
    *,
    from_starts: bool = False,
) -> Localisation:
    """Estimates the pose at the end of each history.

    The likeliest candidates are refined by Fisher scoring: the logits are differentiated by finite differences with
    respect to a motion of the whole path, whose shape the wheels determine. The search minimises the geometric mean of
    the clips' losses. Thus a few clips that no such path explains, those before the wheels slipped at an obstacle,
    count little.

    Args:
        scene: renders tokens at poses.
        motion: computes poses from wheels.
        tokens_BTLHW: T clips, int [B, T, 3, H, W].
        actions_BTFA: their actions, float [B, T, 17, 25].
        candidates_BN: N candidate poses at the last frame, float [B, N, 3].
        config: settings of the search; `None`: the defaults.
        from_starts: whether the candidates are poses before the first frame. From there, paths stop at obstacles as the
            robot did; a path that is followed back from its end does not know where the wheels slipped.
    """
    config = config or LocaliserConfig()
    few = _evenly_spread(tokens_BTLHW.shape[1], config.coarse_clips)
    batch, num = len(candidates_BN), config.refined
    nearest = [0] if from_starts else few[-1:]
    if candidates_BN.shape[1] == 1:
        chosen = list(candidates_BN.expand(-1, num, -1))
    else:
        losses = score(scene, motion, tokens_BTLHW, actions_BTFA, candidates_BN, nearest, from_starts=from_starts)
        chosen = [spread_out(ends[loss.argsort()], num) for ends, loss in zip(candidates_BN, losses, strict=True)]
    tokens, actions = (part.repeat_interleave(num, dim=0) for part in (tokens_BTLHW, actions_BTFA))
    paths = (Paths.starting_at if from_starts else Paths.ending_at)(torch.cat(chosen), motion, actions)
    is_one_search = len(few) == tokens_BTLHW.shape[1]
    steps = config.coarse_steps + (config.fine_steps if is_one_search else 0)
    coarse = _refined(scene, motion, _begun(scene, paths, tokens, few), steps)
    likeliest = _joint(coarse.losses_by_clip).view(batch, num).argmin(dim=1)
    fine = best = coarse.select(torch.arange(batch, device=likeliest.device) * num + likeliest)
    if not is_one_search:
        others = [clip for clip in range(tokens_BTLHW.shape[1]) if clip not in few]
        fine = _refined(scene, motion, best.joined(_begun(scene, best.paths, tokens_BTLHW, others)), config.fine_steps)
    ends = torch.cat([fine.paths.ends[:, :2], wrap_angle(fine.paths.ends[:, 2:])], dim=1)
    anywhere = ends.new_tensor(_ROOM_STD).pow(-2).diag()
    in_base_frame = torch.linalg.inv(_EVIDENCE * fine.information + anywhere)
    turn = _turned(ends[:, 2])
    losses = fine.losses_by_clip.median(dim=1).values
    return Localisation(ends, turn @ in_base_frame @ turn.mT, losses, fine.paths.by_clip)


@torch.no_grad()
def first_step(scene: SceneModel, path_BF: Tensor, actions_BFA: Tensor, tokens_BLHW: Tensor) -> Tensor:
    """Returns the motion of one step of Fisher scoring from a clip's path.

    Args:
        scene: renders tokens at poses.
        path_BF: poses at the clip's frames, float [B, 17, 3].
        actions_BFA: its actions, float [B, 17, 25].
        tokens_BLHW: its tokens, int [B, 3, H, W].

    Returns:
        float [B, 3]: ahead (m), to the left (m) and in yaw (rad), at most 0.3, 0.3 and 0.2.
    """
    paths = Paths(actions_BFA[:, None], path_BF[:, 0], path_BF)
    search = _differentiated(scene, _begun(scene, paths, tokens_BLHW[:, None], [0]))
    gradient, information = _derivatives(scene, search)
    return _step(gradient, information, gradient.new_full((len(gradient), 1, 1), _FIRST_DAMPING))


@torch.no_grad()
def score(
    scene: SceneModel,
    motion: MotionModel,
    tokens_BTLHW: Tensor,
    actions_BTFA: Tensor,
    poses_BN: Tensor,
    clips: Sequence[int],
    *,
    from_starts: bool = False,
) -> Tensor:
    """Returns the losses of some clips for paths that end, or start, at N poses [B, N, 3]: [B, N], nats per token."""
    batch, num = poses_BN.shape[:2]
    tokens, actions = (part.repeat_interleave(num, dim=0) for part in (tokens_BTLHW, actions_BTFA))
    paths = (Paths.starting_at if from_starts else Paths.ending_at)(poses_BN.flatten(0, 1), motion, actions)
    losses = _clip_losses(scene, _logits(scene, paths, clips), tokens[:, list(clips)])
    return _joint(losses).view(batch, num)


def spread_out(ordered_N: Tensor, count: int) -> Tensor:
    """Returns the first `count` poses of [N, 3] of which no two are alike; repeats the first ones if too few."""
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


class _Search(NamedTuple):
    """B searches on n clips each."""

    clips: tuple[int, ...]
    paths: Paths
    seen: Tensor
    """int [B, n, 3, H, W]: tokens of the clips."""
    logits: Tensor
    """float [B, n, 3, H, W, levels]: the scene's logits at the paths."""
    slopes: Tensor
    """float [3, B, k, 3, H, W, levels]: slopes of the first k clips' logits, there or near; see `_differentiated`."""
    moved: Tensor
    """float [B, 3]: motion since the slopes were computed."""
    losses_by_clip: Tensor
    """float [B, n], nats per token."""
    information: Tensor
    """float [B, 3, 3]: Fisher information about a motion of the last pose in its own frame, before the last step."""

    def select(self, rows: Tensor) -> "_Search":
        """Returns some of the searches, int [n] indices."""
        paths, slopes = self.paths.select(rows), self.slopes[:, rows]
        seen, logits, moved, losses, information = (
            part[rows] for part in (self.seen, self.logits, self.moved, self.losses_by_clip, self.information)
        )
        return _Search(self.clips, paths, seen, logits, slopes, moved, losses, information)

    def joined(self, others: "_Search") -> "_Search":
        """Returns the searches with further clips at the same paths."""
        return self._replace(
            clips=self.clips + others.clips,
            seen=torch.cat([self.seen, others.seen], dim=1),
            logits=torch.cat([self.logits, others.logits], dim=1),
            losses_by_clip=torch.cat([self.losses_by_clip, others.losses_by_clip], dim=1),
        )


def _begun(scene: SceneModel, paths: Paths, tokens: Tensor, clips: Sequence[int]) -> _Search:
    """Begins searches from paths on some of the clips whose tokens are given, int [B, T, 3, H, W]."""
    logits, seen = _logits(scene, paths, clips), tokens[:, list(clips)]
    slopes, losses = logits.new_empty(POSE_DIM, len(tokens), 0, *logits.shape[2:]), _clip_losses(scene, logits, seen)
    unknown = paths.starts.new_empty(len(tokens), POSE_DIM, POSE_DIM)
    return _Search(tuple(clips), paths, seen, logits, slopes, torch.zeros_like(paths.starts), losses, unknown)


def _differentiated(scene: SceneModel, search: _Search) -> _Search:
    """Adds missing slopes; computes all anew if a path has moved further than the shifts of finite differences."""
    is_far = bool((search.moved.abs() > search.moved.new_tensor(_SHIFTS)).any())
    slopes = search.slopes[:, :, :0] if is_far else search.slopes
    known = slopes.shape[2]
    if known == len(search.clips):
        return search
    missing = _slopes(scene, search.paths, search.logits[:, known:], search.clips[known:])
    moved = search.moved if known else torch.zeros_like(search.moved)
    return search._replace(slopes=torch.cat([slopes, missing], dim=2), moved=moved)


def _refined(scene: SceneModel, motion: MotionModel, search: _Search, steps: int) -> _Search:
    """Takes steps of Fisher scoring; rejects a step that makes the clips less likely, and shortens the next one."""
    damping = search.moved.new_full((len(search.moved), 1, 1), _FIRST_DAMPING)
    smallest = search.moved.new_tensor(_SMALLEST_STEP)
    for step in range(steps):
        search = _differentiated(scene, search)
        gradient, information = _derivatives(scene, search)
        search = search._replace(information=information)
        change = _step(gradient, information, damping)
        if step > 0 and (change.abs() < smallest).all():
            break
        tried = search.paths.moved(change).replayed(motion)
        logits = _logits(scene, tried, search.clips)
        losses = _clip_losses(scene, logits, search.seen)
        better = _joint(losses) < _joint(search.losses_by_clip)
        search = search._replace(
            paths=tried.where(better, search.paths),
            moved=torch.where(better[:, None], search.moved + change, search.moved),
            logits=torch.where(better.view(-1, *[1] * (logits.ndim - 1)), logits, search.logits),
            losses_by_clip=torch.where(better[:, None], losses, search.losses_by_clip),
        )
        damping = torch.where(better[:, None, None], damping * 0.3, damping * 10)
    return search


def _step(gradient: Tensor, information: Tensor, damping: Tensor) -> Tensor:
    """Returns the damped step of Fisher scoring [B, 3], limited to the largest step."""
    scale = information.diagonal(dim1=1, dim2=2).diag_embed()
    identity = torch.eye(POSE_DIM, device=gradient.device)
    change = torch.linalg.solve(information + damping * scale + 1e-6 * identity, gradient)
    excess = (change.abs() / change.new_tensor(_LARGEST_STEP)).amax(dim=1, keepdim=True)
    limited: Tensor = change / excess.clamp(min=1.0)
    return limited


def _slopes(scene: SceneModel, paths: Paths, logits: Tensor, clips: Sequence[int]) -> Tensor:
    """Differentiates the logits of n clips with respect to a motion of the last pose in its own frame.

    Returns:
        float [3, B, n, 3, H, W, levels].
    """
    shifts = paths.starts.new_tensor(_SHIFTS)
    moved = Paths.join([paths.moved(one.expand_as(paths.starts)) for one in torch.diag(shifts)])
    shifted = _logits(scene, moved, clips).unflatten(0, (POSE_DIM, len(logits)))
    slopes: Tensor = (shifted - logits) / shifts.view(-1, *[1] * logits.ndim)
    return slopes


def _derivatives(scene: SceneModel, search: _Search) -> tuple[Tensor, Tensor]:
    """Differentiates B log-likelihoods, weighted by clip, with respect to a motion of the last pose in its own frame.

    Returns:
        Gradient [B, 3] and Fisher information [B, 3, 3] of the sum over tokens.
    """
    logits = search.logits
    digits = scene.head.fsq.codes_to_digits(search.seen)
    weights_of_tokens = _weights(search.losses_by_clip).repeat_interleave(search.seen[0, 0].numel(), dim=1)
    gradient = logits.new_zeros(len(logits), POSE_DIM)
    information = logits.new_zeros(len(logits), POSE_DIM, POSE_DIM)
    for index, (part, of_part) in enumerate(
        zip(scene.head.split(logits), scene.head.split(search.slopes), strict=True)
    ):
        probabilities, of_levels = part.softmax(dim=-1).flatten(1, -2), of_part.flatten(2, -2)
        mean = (probabilities * of_levels).sum(dim=-1)
        of_digit = of_levels.gather(-1, digits[..., index].flatten(1)[None, ..., None].expand(POSE_DIM, -1, -1, -1))
        gradient += (weights_of_tokens * (of_digit.squeeze(-1) - mean)).sum(dim=-1).t()
        centred = of_levels - mean[..., None]
        information += torch.einsum("ibsn,jbsn->bij", centred * probabilities * weights_of_tokens[..., None], centred)
    return gradient, information


def _clip_losses(scene: SceneModel, logits: Tensor, seen: Tensor) -> Tensor:
    """Returns the mean loss of each clip, float [B, n], nats per token."""
    return scene.head.cross_entropy(logits, seen).flatten(2).mean(dim=2)


def _joint(losses_by_clip: Tensor) -> Tensor:
    """Returns the geometric mean over clips, [B, n] to [B]."""
    return losses_by_clip.log().mean(dim=1).exp()


def _weights(losses_by_clip: Tensor) -> Tensor:
    """Returns the weights of the clips [B, n] in the gradient of `_joint`, relative to the likeliest clip's."""
    return losses_by_clip.amin(dim=1, keepdim=True) / losses_by_clip


def _logits(scene: SceneModel, paths: Paths, clips: Sequence[int]) -> Tensor:
    """Returns digit logits of some clips, [B, n, 3, H, W, levels]."""
    frames = list(KEYFRAMES)
    poses = paths.by_clip[:, list(clips)][:, :, frames]
    numbers = paths.actions[:, list(clips)][:, :, frames]
    parts = [scene(*part) for part in parts_of(poses.flatten(0, 1), numbers.flatten(0, 1))]
    logits: Tensor = torch.cat(parts).unflatten(0, poses.shape[:2])
    return logits


def _evenly_spread(total: int, count: int) -> list[int]:
    """Returns up to `count` of the indices below `total`, including the last one."""
    count = min(count, total)
    return [round((index + 1) * total / count) - 1 for index in range(count)]


def _turned(yaw: Tensor) -> Tensor:
    """Returns the matrices that turn x and y from the base's frame to the room's and keep yaw, [B, 3, 3]."""
    cos, sin, zero, one = yaw.cos(), yaw.sin(), torch.zeros_like(yaw), torch.ones_like(yaw)
    matrices: Tensor = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=-1).unflatten(-1, (3, 3))
    return matrices
