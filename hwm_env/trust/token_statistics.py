"""Statistics of the training data's tokens, and how far a clip's tokens leave them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from hwm_env.data.format import ShardFile
from hwm_env.data.reader import Dataset
from hwm_env.data.segments import clip_is_whole
from hwm_env.errors import CheckpointError, DatasetError, InvalidInputError
from hwm_env.tokenizers.fsq import FSQ
from hwm_env.types import FRAMES_PER_CLIP, LATENTS_PER_CLIP, Float32Array, Int32Array

MOST_CLIPS: Final = 8192
"""Most clips of a data set that are used, evenly spread; more would change little."""
_MOST_COMPONENTS: Final = 64
_COARSE_SIDE: Final = 8
"""Larger grids are averaged to this many rows and columns, to keep checkpoints small."""
_CLIPS_AT_ONCE: Final = 512
_SMALLEST_VARIANCE: Final = 1e-6
_SMALLEST_DEVIATION: Final = 1e-3
"""Smallest unit of measurement, for data that are all alike."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TokenStatistics:
    """Principal components of the digit values of the training data's clips.

    A clip can leave the training data in two ways: along the components, and in the rest, which the components do not
    explain. The larger of the two distances, in standard deviations, is its drift.
    """

    fsq_levels: tuple[int, ...]
    """Levels of each digit of a token."""
    grid_size: tuple[int, int]
    """Rows and columns of the token grid."""
    mean: Tensor
    """float32 [P]: mean values, P = 3 * digits * rows * columns, at most 8 rows and 8 columns."""
    components: Tensor
    """float16 [R, P]: orthonormal directions of largest variance."""
    variances: Tensor
    """float32 [R + 1]: variance along each component, and along any other direction."""
    typical: Tensor
    """float32 [2, 2]: mean and standard deviation over clips of the logarithms of the two distances."""
    worse: Tensor
    """float32 [2]: mean and standard deviation of the larger distance, after each is normalised by `typical`."""

    def __post_init__(self) -> None:
        """Raises CheckpointError if the parts do not fit each other."""
        if len(self.grid_size) != 2 or not self.fsq_levels or min(self.grid_size) < 1 or min(self.fsq_levels) < 2:
            raise CheckpointError(
                f"token statistics: expected FSQ levels and two sides of a grid, got {self.fsq_levels} and "
                f"{self.grid_size}"
            )
        rows, columns = (min(side, _COARSE_SIDE) for side in self.grid_size)
        size, rank = LATENTS_PER_CLIP * len(self.fsq_levels) * rows * columns, len(self.components)
        for name, shape, dtype in (
            ("mean", (size,), torch.float32),
            ("components", (rank, size), torch.float16),
            ("variances", (rank + 1,), torch.float32),
            ("typical", (2, 2), torch.float32),
            ("worse", (2,), torch.float32),
        ):
            tensor = getattr(self, name)
            if tuple(tensor.shape) != shape or tensor.dtype != dtype or not tensor.isfinite().all():
                raise CheckpointError(
                    f"token statistics: expected {name} as finite {dtype} numbers of shape {shape}, got {tensor.dtype} "
                    f"{tuple(tensor.shape)}"
                )
        if min(self.variances.min(), self.typical[1].min(), self.worse[1]) <= 0:
            raise CheckpointError("token statistics: expected positive variances and deviations")

    @classmethod
    def from_tokens(cls, tokens: Tensor | Int32Array, fsq_levels: Sequence[int]) -> "TokenStatistics":
        """Computes the statistics of clips.

        Args:
            tokens: int [N, 3, H, W], N at least 2, each in [0, V).
            fsq_levels: levels of each digit of a token.

        Raises:
            InvalidInputError: there are too few clips, or they have another shape.
        """
        clips, levels = _as_tensor(tokens), tuple(fsq_levels)
        if clips.ndim != 4 or clips.shape[1] != LATENTS_PER_CLIP or len(clips) < 2:
            raise InvalidInputError(f"tokens must have shape (N, 3, H, W), N at least 2, got {tuple(clips.shape)}")
        values = torch.cat([_coarse_values(part, levels) for part in clips.split(_CLIPS_AT_ONCE)])
        mean = values.mean(dim=0)
        # The eigenvalues come in ascending order.
        eigenvalues, directions = torch.linalg.eigh(torch.cov((values - mean).T.double()).view(len(mean), len(mean)))
        rank = min(_MOST_COMPONENTS, len(mean))
        rest = eigenvalues[:-rank].mean() if rank < len(mean) else eigenvalues[:1].mean()
        variances = torch.cat([eigenvalues[-rank:], rest[None]]).clamp(min=_SMALLEST_VARIANCE).float()
        components = directions[:, -rank:].T.contiguous().half()
        typical = _mean_and_deviation(_log_distances(values - mean, components, variances))
        return cls(
            fsq_levels=levels,
            grid_size=(clips.shape[2], clips.shape[3]),
            mean=mean,
            components=components,
            variances=variances,
            typical=typical,
            worse=_mean_and_deviation(_worse(values - mean, components, variances, typical)),
        )

    @classmethod
    def from_dataset(cls, dataset: Dataset, fsq_levels: Sequence[int]) -> "TokenStatistics":
        """Computes the statistics of evenly spread clips of a data set, 8192 at most.

        Args:
            dataset: a data set with tokens.
            fsq_levels: levels of each digit of a token.

        Raises:
            DatasetError: the data set has no tokens, or fewer than two whole clips.
        """
        dataset.require(ShardFile.TOKENS)
        places = [
            (index, clip)
            for index, shard in enumerate(dataset.shards)
            for clip in np.flatnonzero(clip_is_whole(shard.segments[: shard.num_clips * FRAMES_PER_CLIP])).tolist()
        ]
        if len(places) < 2:
            raise DatasetError(f"{dataset.directory} has {len(places)} whole clips; expected at least 2")
        chosen = np.unique(np.linspace(0, len(places) - 1, MOST_CLIPS).round().astype(np.int64)).tolist()
        tokens = []
        for index, clip in (places[place] for place in chosen):
            of_shard = dataset.shards[index].tokens
            assert of_shard is not None, f"shard {index} has no tokens"
            tokens.append(of_shard[clip])
        return cls.from_tokens(np.stack(tokens), fsq_levels)

    def drift(self, tokens: Tensor | Int32Array) -> Float32Array:
        """Returns how far clips leave the training data.

        Args:
            tokens: int [B, 3, H, W], each in [0, V).

        Returns:
            float32 [B]: over recorded clips, mean 0 and standard deviation 1. Negative: more typical than most. A row's
            drift is the same to the bit in any batch.

        Raises:
            InvalidInputError: the tokens have another shape.
        """
        clips = _as_tensor(tokens)
        if clips.ndim != 4 or tuple(clips.shape[1:]) != (LATENTS_PER_CLIP, *self.grid_size):
            raise InvalidInputError(
                f"tokens must have shape (B, {LATENTS_PER_CLIP}, {self.grid_size[0]}, {self.grid_size[1]}), got "
                f"{tuple(clips.shape)}"
            )
        centred = _coarse_values(clips, self.fsq_levels) - self.mean
        mean, deviation = self.worse
        worse = _worse(centred, self.components, self.variances, self.typical)
        drift: Float32Array = ((worse - mean) / deviation).numpy()
        return drift


def _as_tensor(tokens: Tensor | Int32Array) -> Tensor:
    """Returns tokens as a CPU tensor; arrays are copied, since those of data sets are read-only."""
    return tokens.cpu() if isinstance(tokens, Tensor) else torch.from_numpy(np.array(tokens))


def _coarse_values(clips: Tensor, levels: Sequence[int]) -> Tensor:
    """Returns the digit values of tokens int [N, 3, H, W], averaged to at most 8 rows and columns: float32 [N, P]."""
    fsq = FSQ(levels)
    values = rearrange(fsq.digits_to_values(fsq.codes_to_digits(clips)), "b l h w n -> b (l n) h w")
    rows, columns = (min(side, _COARSE_SIDE) for side in clips.shape[2:])
    return adaptive_avg_pool2d(values, (rows, columns)).flatten(1)


def _log_distances(centred: Tensor, components: Tensor, variances: Tensor) -> Tensor:
    """Returns the logarithms of the mean squares along the components and of the rest: float32 [N, P] to [N, 2]."""
    # Row by row, so that a row's numbers do not depend on the others.
    directions = components.float().T
    along = torch.cat([row @ directions for row in centred.split(1)])
    rest = centred.square().sum(dim=1) - along.square().sum(dim=1)
    rest = rest / max(1, centred.shape[1] - len(components)) / variances[-1]
    squares = torch.stack([(along.square() / variances[:-1]).mean(dim=1), rest], dim=1)
    return squares.clamp(min=_SMALLEST_VARIANCE).log()


def _worse(centred: Tensor, components: Tensor, variances: Tensor, typical: Tensor) -> Tensor:
    """Returns the larger of the two distances, each normalised by `typical`: float32 [N, P] to [N]."""
    mean, deviation = typical
    worse: Tensor = ((_log_distances(centred, components, variances) - mean) / deviation).amax(dim=1)
    return worse


def _mean_and_deviation(numbers: Tensor) -> Tensor:
    """Returns mean and standard deviation over the first axis: [N, ...] to [2, ...]."""
    return torch.stack([numbers.mean(dim=0), numbers.std(dim=0).clamp(min=_SMALLEST_DEVIATION)])
