"""Corrects recorded poses; the corrections are learned together with a map of the room (bundle adjustment).

Measured poses are seldom in one frame: each recording has its own error, a motion of the plane (SE(2)) and possibly a
slow drift. An error that all recordings share cannot be distinguished from another frame of the room and is kept.
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
"""A turn is learned as the motion of a point at this distance, so that turns and shifts are learned equally fast."""


class RecordingTimesBatch(NamedTuple):
    """When frames were recorded, as tensors; see `hwm_env.data.recordings.RecordingTimes`."""

    recordings: Tensor
    """int64 [B]."""
    times_s: Tensor
    """float32 [B, F]."""


class PoseCorrections(nn.Module):
    """A motion of the plane for each recording, and optionally a slow drift around it.

    A corrected pose is the recorded one moved in the room's frame: turned around the middle of its recording, so that
    turns and shifts do not depend on each other, then shifted. The mean of all corrections is fixed at zero, since
    otherwise map and poses could move together.
    """

    starts_s: Tensor
    middles_m: Tensor
    num_knots: Tensor
    knot_intervals_s: Tensor
    first_knots: Tensor

    def __init__(
        self, names: Sequence[str], starts_s: Tensor, middles_m: Tensor, num_knots: Tensor, knot_intervals_s: Tensor
    ) -> None:
        """Starts with corrections of zero.

        Args:
            names: names of the recordings.
            starts_s: beginning of each recording, float [R].
            middles_m: centre of each recording's turn, float [R, 2].
            num_knots: number of knots of each recording's drift, int64 [R]: at least two, or 0 for all.
            knot_intervals_s: time between two knots of each recording, float [R]; the drift is linear between them.
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
        """Starts with corrections of zero for the recordings of a data set.

        Args:
            recordings: the recordings.
            knot_interval_s: approximate time between two knots of the drift; `None` means no drift.
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
            # A recording of a single frame has no duration.
            durations_s.clamp(min=1 / FRAME_RATE_HZ) / num_steps,
        )

    @property
    def drifts(self) -> bool:
        """Whether the corrections change within a recording."""
        return self.knots.num_embeddings > 0

    def motions(self, times: RecordingTimesBatch) -> Tensor:
        """Returns the corrections at these times: shift (m) and turn (rad), float [B, F, 3]."""
        gauge = self.constants.weight.detach().mean(dim=0)
        learned = (self.constants(times.recordings) - gauge)[:, None].expand(*times.times_s.shape, 3)
        if self.drifts:
            knots, share = self._between(times)
            before, after = self.knots(knots), self.knots(knots + 1)
            learned = learned + torch.lerp(before, after, share[..., None]) - self.knots.weight.detach().mean(dim=0)
        motions: Tensor = learned / learned.new_tensor([1.0, 1.0, _YAW_LEVER_M])
        return motions

    def forward(self, poses_BF: Tensor, times: RecordingTimesBatch) -> Tensor:
        """Corrects poses float [B, F, 3] that were recorded at these times."""
        x, y, turn = self.motions(times).unbind(-1)
        middle = self.middles_m[times.recordings][:, None]
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

    def squared_steps(self, times: RecordingTimesBatch) -> Tensor:
        """Returns the squared distances between the knots around the first frames of each row: float [B] (m^2).

        A turn counts as the motion of a point at a distance of two metres.
        """
        knots, _ = self._between(RecordingTimesBatch(times.recordings, times.times_s[:, :1]))
        steps: Tensor = (self.knots(knots[:, 0] + 1) - self.knots(knots[:, 0])).square().sum(dim=-1)
        return steps

    def save(self, directory: Path) -> None:
        """Writes `pose_corrections.safetensors`."""
        tensors = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        write_bytes(directory / CORRECTIONS_FILE, serialise(tensors, {"recordings": json.dumps(self.names)}))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Loads corrections that `save` wrote.

        Raises:
            DatasetError: the file is missing or damaged.
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

    def _between(self, times: RecordingTimesBatch) -> tuple[Tensor, Tensor]:
        """Returns the last knot before each time, int64 [B, F], and the share of the way to the next, float [B, F].

        The drift is constant before the first and after the last knot.
        """
        recordings = times.recordings
        passed = (times.times_s - self.starts_s[recordings][:, None]) / self.knot_intervals_s[recordings][:, None]
        last = (self.num_knots[recordings][:, None] - 2).expand_as(passed)
        knot = passed.floor().long().clamp(min=0).minimum(last)
        return self.first_knots[recordings][:, None] + knot, (passed - knot).clamp(0, 1)


class CorrectionTrainer:
    """Trains the corrections of a data set's poses together with a model that is trained on the poses.

    Attributes:
        corrections: the corrections.
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
        """Starts with corrections of zero.

        Args:
            data: a split with poses.
            windows: its single clips.
            frames: frames of a clip whose poses are corrected.
            learning_rate: peak learning rate of Adam for the constant part, in metres for each step.
            drift_learning_rate: the same for the drift; `None` means no drift.
            knot_interval_s: approximate time between two knots of the drift.
            drift_std_m: expected change of the drift from one knot to the next.
            device: device to train on.

        Raises:
            DatasetError: the split has no poses.
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
            poses_BF: recorded poses, float [B, F, 3].
            indices: indices of the clips, int64 [B].

        Returns:
            The corrected poses, and a penalty to add to a loss in nats for each token, which keeps neighbouring knots
            similar: the negative log density of the drift as a random walk, divided by the number of tokens.
        """
        times = self._times(indices)
        penalty = torch.zeros((), device=self._device)
        if self.corrections.drifts:
            penalty = self._penalty_weight * self.corrections.squared_steps(times).mean()
        return self.corrections(poses_BF, times), penalty

    def step(self, share: float) -> None:
        """Updates the corrections with a share of the peak learning rates, and clears the gradients."""
        if share > 0:
            for group in self._optimizer.param_groups:
                group["lr"] = group["peak"] * share
            self._optimizer.step()
        self._optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of corrections and optimizer."""
        return {"corrections": self.corrections.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.corrections.load_state_dict(state["corrections"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _times(self, indices: Int64Array) -> RecordingTimesBatch:
        """Returns when the corrected frames of clips were recorded."""
        by_clip = []
        for index in indices.tolist():
            shard, clip = self._windows.locate(index)
            by_clip.append(self._recordings.times(shard, clip * FRAMES_PER_CLIP + np.array([self._frames])))
        recordings, times_s = (np.concatenate(parts) for parts in zip(*by_clip, strict=True))
        return RecordingTimesBatch(
            torch.from_numpy(recordings).to(self._device), torch.from_numpy(times_s).to(self._device)
        )


@torch.no_grad()
def with_corrected_poses(data: Dataset, corrections: PoseCorrections) -> Dataset:
    """Returns the data set with corrected poses, which are only in memory.

    Args:
        data: a data set with poses.
        corrections: corrections of its recordings, and possibly of others.

    Raises:
        DatasetError: the data set has no poses, or a recording without a correction.
    """
    recordings = Recordings(data)
    known = {name: position for position, name in enumerate(corrections.names)}
    unknown = [name for name in recordings.names if name not in known]
    if unknown:
        raise DatasetError(
            f"{data.directory}: expected recordings with learned corrections, got {len(unknown)} others, such as "
            f"{unknown[0]!r}; train a scene on these recordings"
        )
    translated = torch.tensor([known[name] for name in recordings.names])
    shards = []
    for position, shard in enumerate(data.shards):
        assert shard.poses is not None, f"shard {shard.index} has no poses"
        indices, times_s = recordings.times(position, np.arange(shard.num_frames)[:, None])
        times = RecordingTimesBatch(translated[torch.from_numpy(indices)], torch.from_numpy(times_s))
        poses = corrections(torch.from_numpy(shard.poses.copy())[:, None], times)[:, 0]
        shards.append(shard.with_poses(poses.numpy()))
    corrected = copy(data)
    corrected.shards = tuple(shards)
    return corrected


def write_corrected(data: Dataset, corrections: PoseCorrections, out: Path) -> None:
    """Writes a data set with corrected poses; everything else is copied.

    Args:
        data: a data set with poses.
        corrections: corrections of its recordings, and possibly of others.
        out: new directory.

    Raises:
        DatasetError: `out` contains a data set, or a recording has no correction.
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
    """Returns a table of zeros; a step updates only the rows that it read."""
    return nn.Embedding(rows, 3, sparse=True, _weight=torch.zeros(rows, 3))
