"""Corrections of recorded poses that are learned together with a map of the room (bundle adjustment).

Poses that somebody measured are seldom in one frame: each recording is off by a motion of the plane of its own (SE(2)),
and perhaps by a slow drift beside it. What all recordings have in common cannot be told from the room, and stays.
"""

import json
import math
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np
import safetensors
import torch
from safetensors.torch import save as serialise
from torch import Tensor, nn

from hwm_env.data.files import parse_json, write_bytes
from hwm_env.data.format import ShardFile
from hwm_env.data.reader import Dataset
from hwm_env.data.recordings import Recordings, shard_sources
from hwm_env.data.windows import ClipWindows
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError
from hwm_env.types import FRAME_RATE_HZ, FRAMES_PER_CLIP, LATENTS_PER_CLIP, Int64Array

CORRECTIONS_FILE: Final = "pose_corrections.safetensors"

_YAW_LEVER_M: Final = 2.0
"""A turn is learned as the way of a point at this distance, so that turns and shifts are learned equally fast."""


class RecordingTimesBatch(NamedTuple):
    """When frames were recorded; see `hwm_env.data.recordings.RecordingTimes`."""

    recordings: Tensor
    """int64 [B]."""
    times_s: Tensor
    """float32 [B, F]."""


class PoseCorrections(nn.Module):
    """A motion of the plane for each recording, and perhaps a slow drift around it.

    A corrected pose is the recorded one moved in the room's frame: turned around the middle of its recording, so that
    turns and shifts do not depend on each other, then shifted. The mean of all corrections is kept at zero, since map
    and poses could move together otherwise.
    """

    starts_s: Tensor
    middles_m: Tensor
    num_knots: Tensor
    knot_intervals_s: Tensor
    first_knots: Tensor

    def __init__(
        self, names: Sequence[str], starts_s: Tensor, middles_m: Tensor, num_knots: Tensor, knot_intervals_s: Tensor
    ) -> None:
        """Starts without any correction.

        Args:
            names: of the recordings.
            starts_s: when each begins, float [R].
            middles_m: what each turns around, float [R, 2].
            num_knots: of the drift of each, int64 [R]: at least two, or none anywhere.
            knot_intervals_s: how far they are apart, float [R]; the drift is linear between them.
        """
        super().__init__()
        self.names = tuple(names)
        self.register_buffer("starts_s", starts_s)
        self.register_buffer("middles_m", middles_m)
        self.register_buffer("num_knots", num_knots)
        self.register_buffer("knot_intervals_s", knot_intervals_s)
        self.register_buffer("first_knots", num_knots.cumsum(0) - num_knots, persistent=False)
        self.constants = _table(len(self.names))
        self.knots = _table(int(num_knots.sum()))

    @classmethod
    def of(cls, recordings: Recordings, knot_interval_s: float | None = None) -> Self:
        """Starts without any correction.

        Args:
            recordings: those of a data set.
            knot_interval_s: about how far knots of the drift are apart; None: there is no drift.
        """
        durations_s = torch.from_numpy(recordings.durations_s)
        num_steps = torch.ones_like(durations_s)
        if knot_interval_s is not None:
            num_steps = (durations_s / knot_interval_s).round().clamp(min=1)
        num_knots = (
            torch.zeros(len(durations_s), dtype=torch.int64) if knot_interval_s is None else num_steps.long() + 1
        )
        return cls(
            recordings.names,
            torch.from_numpy(recordings.starts_s),
            torch.from_numpy(recordings.middles_m),
            num_knots,
            # A recording of a single frame lasts no time.
            durations_s.clamp(min=1 / FRAME_RATE_HZ) / num_steps,
        )

    @property
    def drifts(self) -> bool:
        """Whether corrections change within a recording."""
        return self.knots.num_embeddings > 0

    def motions(self, moments: RecordingTimesBatch) -> Tensor:
        """Returns the corrections at some moments: shift (m) and turn (rad), float [B, F, 3]."""
        gauge = self.constants.weight.detach().mean(dim=0)
        rows = (self.constants(moments.recordings) - gauge)[:, None].expand(*moments.times_s.shape, 3)
        if self.drifts:
            knots, share = self._between(moments)
            before, after = self.knots(knots), self.knots(knots + 1)
            rows = rows + torch.lerp(before, after, share[..., None]) - self.knots.weight.detach().mean(dim=0)
        motions: Tensor = rows / rows.new_tensor([1.0, 1.0, _YAW_LEVER_M])
        return motions

    def forward(self, poses_BF: Tensor, moments: RecordingTimesBatch) -> Tensor:
        """Corrects poses float [B, F, 3] that were recorded at these moments."""
        x, y, turn = self.motions(moments).unbind(-1)
        middle = self.middles_m[moments.recordings][:, None]
        from_middle = poses_BF[..., :2] - middle
        cos, sin = turn.cos(), turn.sin()
        return torch.stack(
            [
                middle[..., 0] + cos * from_middle[..., 0] - sin * from_middle[..., 1] + x,
                middle[..., 1] + sin * from_middle[..., 0] + cos * from_middle[..., 1] + y,
                poses_BF[..., 2] + turn,
            ],
            dim=-1,
        )

    def squared_steps(self, moments: RecordingTimesBatch) -> Tensor:
        """Returns how far the knots around the moments' first frames are apart, squared: float [B] (m^2).

        A turn counts like the way of a point at a distance of two metres.
        """
        knots, _ = self._between(RecordingTimesBatch(moments.recordings, moments.times_s[:, :1]))
        steps: Tensor = (self.knots(knots[:, 0] + 1) - self.knots(knots[:, 0])).square().sum(dim=-1)
        return steps

    def save(self, directory: Path) -> None:
        """Writes `pose_corrections.safetensors`."""
        tensors = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        write_bytes(directory / CORRECTIONS_FILE, serialise(tensors, {"recordings": json.dumps(self.names)}))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            DatasetError: the file is missing or broken.
        """
        path = directory / CORRECTIONS_FILE
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                names = parse_json(file.metadata()["recordings"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            shape = (tensors[name] for name in ("starts_s", "middles_m", "num_knots", "knot_intervals_s"))
            corrections = cls(names, *shape)
            corrections.load_state_dict(tensors)
        except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DatasetError(f"{path}: expected corrections of poses ({error}); copy the file again") from error
        return corrections

    def _between(self, moments: RecordingTimesBatch) -> tuple[Tensor, Tensor]:
        """Returns the last knot before each moment, int64 [B, F], and the share of the way to the next, float [B, F].

        There is no further drift outside of the knots.
        """
        recordings = moments.recordings
        passed = (moments.times_s - self.starts_s[recordings][:, None]) / self.knot_intervals_s[recordings][:, None]
        last = (self.num_knots[recordings][:, None] - 2).expand_as(passed)
        knot = passed.floor().long().clamp(min=0).minimum(last)
        return self.first_knots[recordings][:, None] + knot, (passed - knot).clamp(0, 1)


class CorrectionTrainer:
    """Learns the corrections of a data set's poses beside whatever is trained on them.

    Attributes:
        corrections: what is learned.
    """

    def __init__(
        self,
        data: Dataset,
        windows: ClipWindows,
        frames: Sequence[int],
        *,
        learning_rate: float,
        drift_learning_rate: float | None = None,
        knot_interval_s: float = 4.0,
        drift_std_m: float = 0.02,
        device: str | torch.device = "cpu",
    ) -> None:
        """Starts without any correction.

        Args:
            data: a split with poses.
            windows: its single clips.
            frames: those of a clip whose poses are corrected.
            learning_rate: peak of Adam for what is constant over a recording, in metres a step.
            drift_learning_rate: the same for the drift; None: there is none.
            knot_interval_s: about how far knots of the drift are apart.
            drift_std_m: how much the drift is expected to change from a knot to the next.
            device: where to train.

        Raises:
            DatasetError: the data have no poses.
        """
        assert windows.num_clips == 1, f"windows of {windows.num_clips} clips"
        self._windows = windows
        self._frames = frames
        self._recordings = Recordings(data)
        self._device = torch.device(device)
        knot_interval = None if drift_learning_rate is None else knot_interval_s
        self.corrections = PoseCorrections.of(self._recordings, knot_interval).to(self._device)
        groups: list[dict[str, Any]] = [{"params": [self.corrections.constants.weight], "peak": learning_rate}]
        if drift_learning_rate is not None:
            groups.append({"params": [self.corrections.knots.weight], "peak": drift_learning_rate})
        self._optimizer = torch.optim.SparseAdam(groups)
        num_steps = self.corrections.knots.num_embeddings - len(self._recordings.names)
        tokens = len(windows) * LATENTS_PER_CLIP * math.prod(data.metadata.token_grid)
        self._penalty_weight = num_steps / (2 * drift_std_m**2 * tokens)

    def correct(self, poses_BF: Tensor, indices: Int64Array) -> tuple[Tensor, Tensor]:
        """Corrects the poses of clips.

        Args:
            poses_BF: as they were recorded, float [B, F, 3].
            indices: of the clips, int64 [B].

        Returns:
            The corrected poses, and what to add to a loss in nats a token so that neighbouring knots stay alike: the
            negative log density of the drift as a random walk, divided among all tokens that were seen on the way.
        """
        moments = self._moments(indices)
        penalty = torch.zeros((), device=self._device)
        if self.corrections.drifts:
            penalty = self._penalty_weight * self.corrections.squared_steps(moments).mean()
        return self.corrections(poses_BF, moments), penalty

    def step(self, share: float) -> None:
        """Changes the corrections once, at a share of the peak learning rates, and forgets the gradients."""
        if share > 0:
            for group in self._optimizer.param_groups:
                group["lr"] = group["peak"] * share
            self._optimizer.step()
        self._optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Corrections and optimizer."""
        return {"corrections": self.corrections.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undoes `state_dict`."""
        self.corrections.load_state_dict(state["corrections"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _moments(self, indices: Int64Array) -> RecordingTimesBatch:
        rows = []
        for index in indices.tolist():
            shard, clip = self._windows.locate(index)
            rows.append(self._recordings.times(shard, clip * FRAMES_PER_CLIP + np.array([self._frames])))
        recordings, times_s = (np.concatenate(parts) for parts in zip(*rows, strict=True))
        return RecordingTimesBatch(
            torch.from_numpy(recordings).to(self._device), torch.from_numpy(times_s).to(self._device)
        )


@torch.no_grad()
def with_corrected_poses(data: Dataset, corrections: PoseCorrections) -> Dataset:
    """Returns the data set with corrected poses, which are in memory only.

    Args:
        data: a data set with poses.
        corrections: learned on its recordings, or on more.

    Raises:
        DatasetError: the data have no poses, or hold a recording that no correction was learned for.
    """
    recordings = Recordings(data)
    known = {name: position for position, name in enumerate(corrections.names)}
    unknown = [name for name in recordings.names if name not in known]
    if unknown:
        raise DatasetError(
            f"{data.directory}: expected recordings that corrections were learned for, got {len(unknown)} others, such "
            f"as {unknown[0]!r}"
        )
    translated = torch.tensor([known[name] for name in recordings.names])
    shards = []
    for position, shard in enumerate(data.shards):
        assert shard.poses is not None, f"shard {shard.index} has no poses"
        rows, times_s = recordings.times(position, np.arange(shard.num_frames)[:, None])
        moments = RecordingTimesBatch(translated[torch.from_numpy(rows)], torch.from_numpy(times_s))
        poses = corrections(torch.from_numpy(shard.poses.copy())[:, None], moments)[:, 0]
        shards.append(shard.with_poses(poses.numpy()))
    corrected = copy(data)
    corrected.shards = tuple(shards)
    return corrected


def write_corrected(data: Dataset, corrections: PoseCorrections, out: Path) -> None:
    """Writes a data set with corrected poses; everything else is copied.

    Args:
        data: a data set with poses.
        corrections: learned on its recordings, or on more.
        out: new directory.

    Raises:
        DatasetError: `out` holds a data set, or the recordings do not fit.
    """
    corrected = with_corrected_poses(data, corrections)
    metadata = data.metadata
    extra = dict(metadata.extra)
    if "shard_sources" in extra:
        extra["shard_sources"] = [source for source, _ in shard_sources(data)]
    writer = DatasetWriter(
        out,
        token_grid=metadata.token_grid if data.has(ShardFile.TOKENS) else None,
        image_size=metadata.image_size if data.has(ShardFile.FRAMES) else None,
        tokenizer=metadata.tokenizer,
        extra=extra,
    )
    for position, shard in enumerate(corrected.shards):
        writer.write_shard(
            position,
            states=shard.states,
            segments=shard.segments,
            tokens=shard.tokens,
            frames=shard.frames,
            poses=shard.poses,
        )
    writer.finish(len(corrected.shards))


def _table(rows: int) -> nn.Embedding:
    """A table of zeros, of which a step changes only the rows that it read."""
    return nn.Embedding(rows, 3, sparse=True, _weight=torch.zeros(rows, 3))
