"""Training samples: past and future clips with their actions, in the layout that is usual for the 1X data."""

from typing import NotRequired, TypedDict, cast

import numpy as np

from hwm_env.data.reader import Dataset
from hwm_env.data.windows import ClipWindows
from hwm_env.errors import InvalidInputError
from hwm_env.types import Float32Array, Int32Array, Int64Array


class ClipSample(TypedDict):
    """One sample of P past and F future clips; a batch has a leading axis B."""

    video_past: Int32Array
    """int32 [P, 3, h, w]"""
    video_future: Int32Array
    """int32 [F, 3, h, w]"""
    actions_past: Float32Array
    """float32 [17 * P, 25]"""
    actions_future: Float32Array
    """float32 [17 * F, 25]"""
    poses_past: NotRequired[Float32Array]
    """float32 [17 * P, 3]: x (m), y (m), yaw (rad) of the base, if requested"""
    poses_future: NotRequired[Float32Array]
    """float32 [17 * F, 3], if requested"""


class ClipSamples:
    """A map-style data set of all windows of P + F clips within a segment.

    A number as index returns a sample, an array of numbers a batch. Nothing is read before it is requested, and a copy
    in another process maps the files itself, so that `torch.utils.data.DataLoader` accepts it. `read_ahead` is faster
    than the worker processes of a `DataLoader`.

    Attributes:
        dataset: the data set of the samples.
        windows: the windows of the data set, one for each sample.
        num_past_clips: P.
        with_poses: whether samples contain the poses of the base.
    """

    def __init__(
        self, dataset: Dataset, num_past_clips: int, num_future_clips: int = 1, *, with_poses: bool = False
    ) -> None:
        """Indexes the samples.

        Args:
            dataset: a data set with tokens.
            num_past_clips: P, at least 0.
            num_future_clips: F, at least 1.
            with_poses: whether samples contain the poses of the base.

        Raises:
            InvalidInputError: a number is out of range.
            DatasetError: the data set has no tokens, or no sample fits.
        """
        if num_past_clips < 0 or num_future_clips < 1:
            raise InvalidInputError(
                f"a sample needs at least 0 past and 1 future clips, got {num_past_clips} and {num_future_clips}"
            )
        self.dataset = dataset
        self.windows = ClipWindows(dataset, num_past_clips + num_future_clips)
        self.num_past_clips = num_past_clips
        self.with_poses = with_poses

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int | Int64Array) -> ClipSample:
        if isinstance(index, np.ndarray):
            return self.gather(index)
        batch = self.gather(np.array([index], dtype=np.int64))
        return cast(ClipSample, {name: cast(Float32Array, part)[0] for name, part in batch.items()})

    def gather(self, indices: Int64Array) -> ClipSample:
        """Copies a batch out of the data set.

        Args:
            indices: int64 [B], each in [0, len(self)).

        Raises:
            InvalidInputError: an index is out of range.
            DatasetError: an action is not finite; or poses were requested and are missing or not finite.
        """
        tokens, actions = self.windows.gather(indices)
        past, future = np.split(actions, [self.num_past_clips], axis=1)
        batch = len(indices)
        samples = ClipSample(
            video_past=tokens[:, : self.num_past_clips],
            video_future=tokens[:, self.num_past_clips :],
            actions_past=past.reshape(batch, -1, past.shape[-1]),
            actions_future=future.reshape(batch, -1, future.shape[-1]),
        )
        if self.with_poses:
            past, future = np.split(self.windows.gather_poses(indices), [self.num_past_clips], axis=1)
            samples["poses_past"] = past.reshape(batch, -1, past.shape[-1])
            samples["poses_future"] = future.reshape(batch, -1, future.shape[-1])
        return samples
