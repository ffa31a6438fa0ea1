"""Learns from recordings with true poses where the base can stand, and judges poses that are carried along."""

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

from hwm_env.data.reader import Dataset
from hwm_env.errors import DatasetError
from hwm_env.fields import Count, CountOrZero, NotNegative, Positive, Seed, Share
from hwm_env.scene.odometry import SOFTNESS_M, Odometry, OdometryConfig
from hwm_env.scene.pose import compose, integrate_wheels, wheel_motions
from hwm_env.training.schedule import Schedule
from hwm_env.types import FRAMES_PER_CLIP

logger = logging.getLogger(__name__)

HORIZONS_CLIPS: Final = (5, 10, 15, 20)
"""After how many clips a carried pose is judged."""
OFF_M: Final = 0.05
"""A pose with a larger error counts as off."""

_FREE_EVERYWHERE_M: Final = 1e6
_MAX_GRADIENT_NORM: Final = 1.0
_SOFTENING_SHARE: Final = 0.7
"""Of all steps, until the border is as sharp as it will be used."""
_REFRESH_STEPS: Final = 200
_CANDIDATES: Final = 50_000
_NEAR_BORDER_M: Final = 0.03
_NEAR_BLOCKED_M: Final = 0.1
_JUDGED_AT_ONCE: Final = 128
_Part = Annotated[float, Gt(0), Lt(1)]
"""Neither nothing nor all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OdometryTrainingConfig(Schedule):
    """Recipe of an odometry training run."""

    steps: Count = 6000
    """Optimizer steps."""
    warmup_steps: CountOrZero = 100
    """Steps of linear warm-up."""
    final_share: Share = 0.01
    """Learning rate of the last step, as a share of the peak."""
    batch_size: Annotated[Count, Ge(4)] = 1024
    """Places a step that are known to be free or not."""
    slope_places: Annotated[Count, Ge(2)] = 512
    """Places a step at which the slope of the clearance is held at one."""
    learning_rate: Positive = 5e-3
    """Peak of the schedule."""
    weight_decay: NotNegative = 0.0
    """AdamW's."""
    blocked_share: _Part = 0.25
    """Of the places of a batch, those where a blocked move would have ended."""
    slope_weight: NotNegative = 1.0
    """Of the squared error of the slope, beside the cross-entropy; it keeps walls straight between two contacts."""
    first_softness_m: Positive = 0.02
    """How soft the border of the free floor is at the first step; it shrinks to `SOFTNESS_M`."""
    min_move_m: Positive = 0.002
    """The wheels must ask for more than this in a frame for it to tell anything."""
    moved_share: _Part = 0.5
    """Of the motion that the wheels ask for: with less of it, a move counts as blocked."""
    margin_m: Positive = 0.1
    """The map's bounds are those of the recorded places and this much more."""
    seed: Seed = 0
    """Of initialisation and batches."""

    def softness_at(self, step: int) -> float:
        """How soft the border is at a step (counted from 0), in metres."""
        progress = min(1.0, step / (_SOFTENING_SHARE * self.steps))
        softness: float = self.first_softness_m * (SOFTNESS_M / self.first_softness_m) ** progress
        return softness


class Moves(NamedTuple):
    """Moves of one frame that the wheels asked for."""

    starts_m: Tensor
    """Where the base stood before, float32 [N, 2]."""
    ends_m: Tensor
    """Where the arc of the wheels ends, float32 [N, 2]."""
    blocked: Tensor
    """Whether the base did not follow, bool [N]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """Errors of carried poses some time after a true one."""

    clips: int
    """How many clips later."""
    recordings: int
    """Segments that are long enough."""
    off_share: float
    """Of these, how many are off by more than `OFF_M`."""
    mean_m: float
    """Mean error of the place."""
    p90_m: float
    """Nine in ten have a smaller error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OdometryJudgement:
    """How well an odometry carries poses along."""

    learned: tuple[Drift, ...]
    """With the learned floor plan, by horizon; without those that no segment is long enough for."""
    wheels: tuple[Drift, ...]
    """The same for the wheels alone."""
    blocked_accuracy: float | None
    """Share of the blocked moves whose end is judged as not free; None without any."""
    free_accuracy: float | None
    """Share of the other moves whose end is judged as free; None without any."""


def train_odometry(data: Dataset, config: OdometryTrainingConfig, shape: OdometryConfig | None = None) -> Odometry:
    """Trains an odometry on poses and states alone.

    Args:
        data: a split with true poses; an error of a few centimetres that is constant over a recording does little harm.
        config: the recipe.
        shape: of the odometry; its bounds are replaced by those of the data.

    Returns:
        The odometry, in evaluation mode. It is free everywhere if no move was blocked.

    Raises:
        DatasetError: the data have no true poses.
    """
    moves = find_moves(data, config)
    shape = _bounded(OdometryConfig() if shape is None else shape, data, config.margin_m)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        odometry = Odometry(shape)
    if moves.blocked.any():
        _fit(odometry, moves, config)
    else:
        logger.info("none of %d moves was blocked: the floor is taken as free everywhere", len(moves.blocked))
        torch.nn.init.zeros_(odometry.third.weight)
        torch.nn.init.constant_(odometry.third.bias, _FREE_EVERYWHERE_M)
    return odometry.eval()


def judge_odometry(odometry: Odometry, data: Dataset) -> OdometryJudgement:
    """Carries the true first pose of each segment along and compares what comes with the true poses.

    Raises:
        DatasetError: the data have no true poses.
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
        # Wheels that stand still carry a pose on past the end of its recording, where nothing is judged.
        numbers_BFA = torch.stack([pad(numbers[1:], (0, 0, 0, longest - len(numbers))) for _, numbers in some])
        for carried, errors in (
            (odometry(starts, numbers_BFA), learned),
            (integrate_wheels(starts, numbers_BFA), wheels),
        ):
            errors += [
                (row[: len(poses) - 1, :2] - poses[1:, :2]).norm(dim=1)
                for row, (poses, _) in zip(carried, some, strict=True)
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
    """Finds the frames whose wheels ask for a move, and whether the base followed.

    Raises:
        DatasetError: the data have no true poses.
    """
    starts, ends, blocked = [], [], []
    for poses, numbers in _recordings(data):
        before = poses[:-1]
        arc_ends = compose(before, wheel_motions(numbers[1:]))[:, :2]
        asked, happened = arc_ends - before[:, :2], poses[1:, :2] - before[:, :2]
        length = asked.norm(dim=1)
        tells = length > config.min_move_m
        starts.append(before[tells, :2])
        ends.append(arc_ends[tells])
        blocked.append(((asked * happened).sum(dim=1) < config.moved_share * length**2)[tells])
    return Moves(torch.cat(starts), torch.cat(ends), torch.cat(blocked))


def _fit(odometry: Odometry, moves: Moves, config: OdometryTrainingConfig) -> None:
    """Trains on moves of which some were blocked."""
    generator = torch.Generator().manual_seed(config.seed)

    def draw(places_m: Tensor, count: int) -> Tensor:
        return places_m[torch.randint(len(places_m), (count,), generator=generator)]

    blocked_m = moves.ends_m[moves.blocked]
    # The border lies within one step: between where a blocked move begins and where it would have ended.
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
    """Draws places [N, 2] anew, with replacement, those near the border of the free floor more often."""
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
    """The shape with the bounds of the recorded places."""
    lows, highs = zip(
        *((poses[:, :2].amin(dim=0), poses[:, :2].amax(dim=0)) for poses, _ in _recordings(data)), strict=True
    )
    low, high = torch.stack(lows).amin(dim=0) - margin_m, torch.stack(highs).amax(dim=0) + margin_m
    return replace(shape, low_m=(low[0].item(), low[1].item()), high_m=(high[0].item(), high[1].item()))


def _recordings(data: Dataset) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields true poses [N, 3] and numbers [N, 25] of each segment of a shard."""
    for shard in data.shards:
        if shard.poses is None:
            raise DatasetError(
                f"{data.directory} has no true poses, which an odometry is trained and judged with; "
                "record the reference world with: hwm-env collect"
            )
        edges = np.flatnonzero(np.diff(shard.segments)) + 1
        yield from zip(
            map(torch.from_numpy, np.split(shard.poses.copy(), edges)),
            map(torch.from_numpy, np.split(shard.states.copy(), edges)),
            strict=True,
        )


def _drifts(errors_m: list[Tensor]) -> tuple[Drift, ...]:
    """Drifts from the errors of each recording [frames after the first]."""
    drifts = []
    for clips in HORIZONS_CLIPS:
        frame = clips * FRAMES_PER_CLIP - 1
        at = torch.stack([row[frame] for row in errors_m if len(row) > frame] or [torch.empty(0)])
        if at.numel():
            drifts.append(
                Drift(
                    clips=clips,
                    recordings=len(at),
                    off_share=(at > OFF_M).float().mean().item(),
                    mean_m=at.mean().item(),
                    p90_m=at.quantile(0.9).item(),
                )
            )
    return tuple(drifts)


def _share(right: Tensor) -> float | None:
    return right.float().mean().item() if len(right) else None
