"""Trains the odometry, which learns where the base can stand, on recordings with true poses, and measures its drift."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Final, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, pad
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from hwm_env.data.format import ShardFile
from hwm_env.data.reader import Dataset
from hwm_env.fields import Count, CountOrZero, NotNegative, Positive, Seed, Share
from hwm_env.scene.odometry import SOFTNESS_M, Odometry, OdometryConfig
from hwm_env.scene.pose import compose, integrate_wheels, wheel_motions
from hwm_env.training.runs.schedule import Schedule
from hwm_env.types import FRAMES_PER_CLIP

logger = logging.getLogger(__name__)

HORIZONS_CLIPS: Final = (5, 10, 15, 20)
"""Numbers of clips after which the error of a carried pose is measured."""
OFF_M: Final = 0.05
"""A carried pose with a larger error counts as off."""

_FREE_EVERYWHERE_M: Final = 1e6
_MAX_GRADIENT_NORM: Final = 1.0
_SOFTENING_SHARE: Final = 0.7
"""Share of all steps until the border has its final sharpness."""
_REFRESH_STEPS: Final = 200
_CANDIDATES: Final = 50_000
_NEAR_BORDER_M: Final = 0.03
_NEAR_BLOCKED_M: Final = 0.1
_JUDGED_AT_ONCE: Final = 128
_Part = Annotated[float, Gt(0), Lt(1)]
"""A share above 0 and below 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OdometryTrainingConfig(Schedule):
    """The recipe of an odometry training run."""

    steps: Count = 6000
    """Optimizer steps."""
    warmup_steps: CountOrZero = 100
    """Steps of linear warm-up."""
    final_share: Share = 0.01
    """Learning rate of the last step, as a share of the peak."""
    batch_size: Annotated[Count, Ge(4)] = 1024
    """Places for each step that are known to be free or not."""
    slope_places: Annotated[Count, Ge(2)] = 512
    """Places for each step at which the slope of the clearance is trained to be one."""
    learning_rate: Positive = 5e-3
    """Peak learning rate."""
    weight_decay: NotNegative = 0.0
    """Weight decay of AdamW."""
    blocked_share: _Part = 0.25
    """Share of a batch's places at which a blocked move would have ended."""
    slope_weight: NotNegative = 1.0
    """Weight of the slope's squared error relative to the cross-entropy; it keeps walls straight between contacts."""
    first_softness_m: Positive = 0.02
    """Softness of the border of the free floor at the first step; it decreases to `SOFTNESS_M`."""
    min_move_m: Positive = 0.002
    """Frames in which the wheels request a shorter move are ignored."""
    moved_share: _Part = 0.5
    """A move counts as blocked if the base moves by less than this share of the requested move."""
    margin_m: Positive = 0.1
    """Distance of the map's bounds from the recorded places."""
    seed: Seed = 0
    """Seed of initialisation and batches."""

    def softness_at(self, step: int) -> float:
        """Returns the softness of the border at a step (counted from 0), in metres."""
        progress = min(1.0, step / (_SOFTENING_SHARE * self.steps))
        softness: float = self.first_softness_m * (SOFTNESS_M / self.first_softness_m) ** progress
        return softness


class Moves(NamedTuple):
    """Moves of one frame that the wheels requested."""

    starts_m: Tensor
    """Places of the base before the moves, float32 [N, 2]."""
    ends_m: Tensor
    """Ends of the arcs of the wheels, float32 [N, 2]."""
    blocked: Tensor
    """Whether the base did not follow, bool [N]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """Errors of carried poses some clips after a true one."""

    clips: int
    """Number of clips after the true pose."""
    recordings: int
    """Number of segments that are long enough."""
    off_share: float
    """Share of these whose error is larger than `OFF_M`."""
    mean_m: float
    """Mean error of the place."""
    p90_m: float
    """90th percentile of the error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OdometryJudgement:
    """The accuracy of an odometry."""

    learned: tuple[Drift, ...]
    """Drift with the learned floor plan for each horizon, except those that are longer than every segment."""
    wheels: tuple[Drift, ...]
    """The same for the wheels without a floor plan."""
    blocked_accuracy: float | None
    """Share of the blocked moves whose end is classified as not free; `None` without such moves."""
    free_accuracy: float | None
    """Share of the other moves whose end is classified as free; `None` without such moves."""


def train_odometry(data: Dataset, config: OdometryTrainingConfig, shape: OdometryConfig | None = None) -> Odometry:
    """Trains an odometry on poses and states only.

    Args:
        data: a split with true poses; a constant error of a few centimetres in a recording matters little.
        config: the recipe.
        shape: shape of the odometry; its bounds are replaced by those of the data.

    Returns:
        The odometry, in evaluation mode. Its floor is free everywhere if no move was blocked.

    Raises:
        DatasetError: the split has no true poses.
    """
    moves = find_moves(data, config)
    shape = _bounded(OdometryConfig() if shape is None else shape, data, config.margin_m)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        odometry = Odometry(shape)
    if moves.blocked.any():
        _fit(odometry, moves, config)
    else:
        logger.info("none of %d moves was blocked: assuming that the floor is free everywhere", len(moves.blocked))
        torch.nn.init.zeros_(odometry.third.weight)
        torch.nn.init.constant_(odometry.third.bias, _FREE_EVERYWHERE_M)
    return odometry.eval()


def judge_odometry(odometry: Odometry, data: Dataset) -> OdometryJudgement:
    """Carries the true first pose of each segment along and compares the result with the true poses.

    Raises:
        DatasetError: the split has no true poses.
    """
    recordings = [
        (poses[: HORIZONS_CLIPS[-1] * FRAMES_PER_CLIP + 1], numbers[: HORIZONS_CLIPS[-1] * FRAMES_PER_CLIP + 1])
        for poses, numbers in _recordings(data)
    ]
    learned: list[Tensor] = []
    wheels: list[Tensor] = []
    for first in range(0, len(recordings), _JUDGED_AT_ONCE):
        some = recordings[first : first + _JUDGED_AT_ONCE]
        longest = max(len(poses) for poses, _ in some)
        starts = torch.stack([poses[0] for poses, _ in some])
        # Shorter recordings are padded with wheels that stand still; errors are not measured there.
        numbers_BFA = torch.stack([pad(numbers[1:], (0, 0, 0, longest - len(numbers))) for _, numbers in some])
        for carried, errors in (
            (odometry(starts, numbers_BFA), learned),
            (integrate_wheels(starts, numbers_BFA), wheels),
        ):
            errors += [
                (path[: len(poses) - 1, :2] - poses[1:, :2]).norm(dim=1)
                for path, (poses, _) in zip(carried, some, strict=True)
            ]
    moves = find_moves(data, OdometryTrainingConfig())
    with torch.no_grad():
        right = (odometry.free_logit(moves.ends_m) < 0) == moves.blocked
    return OdometryJudgement(
        learned=_drifts(learned),
        wheels=_drifts(wheels),
        blocked_accuracy=_share(right[moves.blocked]),
        free_accuracy=_share(right[~moves.blocked]),
    )


def find_moves(data: Dataset, config: OdometryTrainingConfig) -> Moves:
    """Finds the frames in which the wheels request a move, and whether the base followed.

    Raises:
        DatasetError: the split has no true poses.
    """
    starts, ends, blocked = [], [], []
    for poses, numbers in _recordings(data):
        before = poses[:-1]
        arc_ends = compose(before, wheel_motions(numbers[1:]))[:, :2]
        requested, actual = arc_ends - before[:, :2], poses[1:, :2] - before[:, :2]
        length = requested.norm(dim=1)
        is_move = length > config.min_move_m
        starts.append(before[is_move, :2])
        ends.append(arc_ends[is_move])
        blocked.append(((requested * actual).sum(dim=1) < config.moved_share * length**2)[is_move])
    return Moves(torch.cat(starts), torch.cat(ends), torch.cat(blocked))


def _fit(odometry: Odometry, moves: Moves, config: OdometryTrainingConfig) -> None:
    """Trains on moves, some of which were blocked."""
    generator = torch.Generator().manual_seed(config.seed)

    def draw(places_m: Tensor, count: int) -> Tensor:
        return places_m[torch.randint(len(places_m), (count,), generator=generator)]

    blocked_m = moves.ends_m[moves.blocked]
    # The border is between the start of a blocked move and the place where it would have ended.
    touching_m = moves.starts_m[moves.blocked]
    free_m = torch.cat([moves.ends_m[~moves.blocked], touching_m])
    near_m = free_m
    num_blocked = max(1, round(config.blocked_share * config.batch_size))
    num_third = (config.batch_size - num_blocked) // 3
    labels = torch.ones(config.batch_size)
    labels[:num_blocked] = 0
    optimizer = torch.optim.AdamW(
        odometry.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
    )
    for step in tqdm(range(config.steps), desc="train-odometry", unit="step"):
        if step and step % _REFRESH_STEPS == 0:
            near_m = _near_border(odometry, draw(free_m, min(len(free_m), _CANDIDATES)), generator)
        known_m = torch.cat(
            [
                draw(blocked_m, num_blocked),
                draw(touching_m, num_third),
                draw(near_m, num_third),
                draw(free_m, config.batch_size - num_blocked - 2 * num_third),
            ]
        )
        anywhere = torch.rand(config.slope_places // 2, 2, generator=generator)
        around_m = draw(blocked_m, config.slope_places - len(anywhere))
        around_m = around_m + _NEAR_BLOCKED_M * torch.randn(around_m.shape, generator=generator)
        slope_m = torch.cat([odometry.low + anywhere * (odometry.high - odometry.low), around_m])
        error = binary_cross_entropy_with_logits(odometry.clearance_m(known_m) / config.softness_at(step), labels)
        loss = error + config.slope_weight * _slope_error(odometry, slope_m.clamp(odometry.low, odometry.high))
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * config.share_at(step)
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(odometry.parameters(), _MAX_GRADIENT_NORM)
        optimizer.step()


def _near_border(odometry: Odometry, places_m: Tensor, generator: torch.Generator) -> Tensor:
    """Resamples places [N, 2] with replacement, those near the border of the free floor more often."""
    with torch.no_grad():
        weights = (-odometry.clearance_m(places_m).abs() / _NEAR_BORDER_M).exp() + 1e-6
    return places_m[torch.multinomial(weights, len(places_m), replacement=True, generator=generator)]


def _slope_error(odometry: Odometry, places_m: Tensor) -> Tensor:
    """Mean squared distance of the clearance's slope from one (implicit geometric regularisation, arXiv 2002.10099)."""
    places_m = places_m.requires_grad_()
    (slope,) = torch.autograd.grad(odometry.clearance_m(places_m).sum(), places_m, create_graph=True)
    error: Tensor = (slope.norm(dim=1) - 1).square().mean()
    return error


def _bounded(shape: OdometryConfig, data: Dataset, margin_m: Positive) -> OdometryConfig:
    """Returns the shape with the bounds of the recorded places and a margin."""
    lows, highs = zip(
        *((poses[:, :2].amin(dim=0), poses[:, :2].amax(dim=0)) for poses, _ in _recordings(data)), strict=True
    )
    low, high = torch.stack(lows).amin(dim=0) - margin_m, torch.stack(highs).amax(dim=0) + margin_m
    return replace(shape, low_m=(low[0].item(), low[1].item()), high_m=(high[0].item(), high[1].item()))


def _recordings(data: Dataset) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the true poses [N, 3] and action numbers [N, 25] of each segment of a shard."""
    data.require(ShardFile.POSES)
    for shard in data.shards:
        assert shard.poses is not None
        edges = np.flatnonzero(np.diff(shard.segments)) + 1
        yield from zip(
            map(torch.from_numpy, np.split(shard.poses.copy(), edges)),
            map(torch.from_numpy, np.split(shard.states.copy(), edges)),
            strict=True,
        )


def _drifts(errors_m: list[Tensor]) -> tuple[Drift, ...]:
    """Returns the drift at each horizon from the errors of each recording [frames after the first]."""
    drifts = []
    for clips in HORIZONS_CLIPS:
        frame = clips * FRAMES_PER_CLIP - 1
        at_frame = torch.stack([errors[frame] for errors in errors_m if len(errors) > frame] or [torch.empty(0)])
        if at_frame.numel():
            drifts.append(
                Drift(
                    clips=clips,
                    recordings=len(at_frame),
                    off_share=(at_frame > OFF_M).float().mean().item(),
                    mean_m=at_frame.mean().item(),
                    p90_m=at_frame.quantile(0.9).item(),
                )
            )
    return tuple(drifts)


def _share(right: Tensor) -> float | None:
    return right.float().mean().item() if len(right) else None
