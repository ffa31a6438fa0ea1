"""Sampling-based optimisers, independent of worlds and robots: CEM, iCEM and MPPI."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Count, Decay, Positive, Share
from hwm_env.types import Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class Belief:
    """An immutable Gaussian over parameters, which a search improves."""

    mean: Float64Array
    """Mean, [D]."""
    std: Float64Array
    """Standard deviation, [D]."""
    kept: Float64Array
    """Elites that are tried again unchanged, [E, D]."""


class Search(Protocol):
    """A method that improves a belief by trying parameters."""

    @property
    def name(self) -> str:
        """Short name."""
        ...

    def begin(self, size: int, around: Float64Array | None) -> Belief:
        """Returns the initial belief about `size` parameters, near `around` [D] if that is given."""
        ...

    def sample(self, belief: Belief, count: int, rng: np.random.Generator) -> Float64Array:
        """Samples parameters to try, [count, D], in -1..1; the first is the belief's mean."""
        ...

    def update(self, belief: Belief, tried: Float64Array, worth: Float64Array) -> Belief:
        """Returns the belief after parameters [N, D] were tried, whose values are `worth` [N]."""
        ...


_FIRST_STD = 0.6
_WARM_STD = 0.35
_SMALLEST_STD = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class CEM(CheckedFields):
    """Cross-entropy method, which fits a Gaussian to the best samples in each iteration (Rubinstein 1999)."""

    name: str = "cem"
    elites: Count = 8
    """Number of samples that the Gaussian is fitted to."""
    inertia: Decay = 0.1
    """Weight of the old Gaussian."""

    def begin(self, size: int, around: Float64Array | None) -> Belief:
        """Returns the initial belief; see Search."""
        return _first_belief(size, around)

    def sample(self, belief: Belief, count: int, rng: np.random.Generator) -> Float64Array:
        """Samples parameters to try; see Search."""
        return _around(belief, rng.standard_normal((count, len(belief.mean))))

    def update(self, belief: Belief, tried: Float64Array, worth: Float64Array) -> Belief:
        """Returns the improved belief; see Search."""
        best = tried[np.argsort(-worth, kind="stable")[: self.elites]]
        mean = self.inertia * belief.mean + (1 - self.inertia) * best.mean(0)
        std = self.inertia * belief.std + (1 - self.inertia) * best.std(0)
        return replace(belief, mean=mean, std=np.maximum(std, _SMALLEST_STD))


@dataclass(frozen=True, kw_only=True, slots=True)
class ICEM(CEM):
    """Improved CEM (Pinneri et al., arXiv 2008.06389), with noise that is coloured in time and elites that are kept.

    A plan's parameters must be ordered by knot, then by control.
    """

    name: str = "icem"
    controls: Count
    """Parameters per knot."""
    keep: Share = 0.3
    """Share of the elites that are tried again."""
    exponent: float = 1.0
    """Exponent of the noise's power spectrum over the knots; 0 is white."""

    def sample(self, belief: Belief, count: int, rng: np.random.Generator) -> Float64Array:
        """Samples parameters to try; see Search."""
        knots = len(belief.mean) // self.controls
        noise = _coloured(rng.standard_normal((count, self.controls, knots)), self.exponent)
        fresh = _around(belief, noise.transpose(0, 2, 1).reshape(count, -1))
        again = belief.kept[: count - 1]
        return np.concatenate([fresh[:1], again, fresh[1 : count - len(again)]])

    def update(self, belief: Belief, tried: Float64Array, worth: Float64Array) -> Belief:
        """Returns the improved belief; see Search."""
        best = np.argsort(-worth, kind="stable")[: max(1, round(self.keep * self.elites))]
        # Not super(): a dataclass with slots is another class than the one that super() refers to.
        return replace(CEM.update(self, belief, tried, worth), kept=tried[best])


@dataclass(frozen=True, kw_only=True, slots=True)
class MPPI(CheckedFields):
    """Model predictive path integral control (Williams et al., arXiv 1707.02342); weights all samples by value."""

    name: str = "mppi"
    temperature: Positive = 0.1
    """Temperature of the weights, as a share of the difference between the best and the mean value."""
    std: Positive = 0.4
    """Standard deviation of the noise, which is constant."""

    def begin(self, size: int, around: Float64Array | None) -> Belief:
        """Returns the initial belief; see Search."""
        return replace(_first_belief(size, around), std=np.full(size, self.std))

    def sample(self, belief: Belief, count: int, rng: np.random.Generator) -> Float64Array:
        """Samples parameters to try; see Search."""
        return _around(belief, rng.standard_normal((count, len(belief.mean))))

    def update(self, belief: Belief, tried: Float64Array, worth: Float64Array) -> Belief:
        """Returns the improved belief; see Search."""
        spread = worth.max() - worth.mean()
        weights = np.exp((worth - worth.max()) / (self.temperature * spread)) if spread > 0 else np.ones_like(worth)
        return replace(belief, mean=weights @ tried / weights.sum())


def make_search(name: str, controls: Sequence[str]) -> Search:
    """Makes a search with default settings.

    Args:
        name: "cem", "icem" or "mppi".
        controls: names of the numbers that a plan moves.

    Raises:
        InvalidInputError: there is no search of this name.
    """
    if name == "cem":
        return CEM()
    if name == "icem":
        return ICEM(controls=len(controls))
    if name == "mppi":
        return MPPI()
    raise InvalidInputError(f"search must be one of cem, icem, mppi, got {name!r}")


def _first_belief(size: int, around: Float64Array | None) -> Belief:
    if around is None:
        return Belief(np.zeros(size), np.full(size, _FIRST_STD), np.empty((0, size)))
    return Belief(around, np.full(size, _WARM_STD), np.empty((0, size)))


def _around(belief: Belief, noise: Float64Array) -> Float64Array:
    """Returns parameters from noise of unit variance; the first sample has none."""
    noise[0] = 0.0
    return np.clip(belief.mean + belief.std * noise, -1.0, 1.0)


def _coloured(white: Float64Array, exponent: float) -> Float64Array:
    """Turns white noise [..., K] into noise of unit variance whose power falls with frequency."""
    count = white.shape[-1]
    if count < 2:
        return white
    scale = np.maximum(np.fft.rfftfreq(count), 1.0 / count) ** (-exponent / 2)
    # The variance of a sample is the mean power over all frequencies, of which the inner ones count twice.
    power = np.concatenate([scale, scale[1 : (count + 1) // 2]])
    coloured: Float64Array = np.fft.irfft(np.fft.rfft(white) * scale, n=count) / np.sqrt((power**2).mean())
    return coloured
