"""Sampling optimisers: CEM, iCEM and MPPI, which know nothing about worlds or robots."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Count, Decay, Positive, Share
from hwm_env.types import Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class Belief:
    """Where good parameters are thought to be. Immutable."""

    mean: Float64Array
    """[D]."""
    std: Float64Array
    """[D]."""
    kept: Float64Array
    """Parameters that are tried again as they are, [E, D]."""


class Search(Protocol):
    """One way to get from tried parameters to better ones."""

    @property
    def name(self) -> str:
        """Short name."""
        ...

    def begin(self, size: int, around: Float64Array | None) -> Belief:
        """What is believed before anything is tried: nothing, or that parameters near `around` [D] are good."""
        ...

    def sample(self, belief: Belief, count: int, rng: np.random.Generator) -> Float64Array:
        """Parameters to try, [count, D], in -1..1; the first is the belief's mean."""
        ...

    def update(self, belief: Belief, tried: Float64Array, worth: Float64Array) -> Belief:
        """What is believed after they were tried, [N, D] and [N]."""
        ...


_FIRST_STD = 0.6
_WARM_STD = 0.35
_SMALLEST_STD = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class CEM(CheckedFields):
    """Cross-entropy method: a Gaussian is fitted to the best again and again (Rubinstein 1999)."""

    name: str = "cem"
    elites: Count = 8
    """How many the Gaussian is fitted to."""
    inertia: Decay = 0.1
    """Share of the old Gaussian that stays."""

    def begin(self, size: int, around: Float64Array | None) -> Belief:
        """See Search."""
        return _first_belief(size, around)

    def sample(self, belief: Belief, count: int, rng: np.random.Generator) -> Float64Array:
        """See Search."""
        return _around(belief, rng.standard_normal((count, len(belief.mean))))

    def update(self, belief: Belief, tried: Float64Array, worth: Float64Array) -> Belief:
        """See Search."""
        best = tried[np.argsort(-worth, kind="stable")[: self.elites]]
        mean = self.inertia * belief.mean + (1 - self.inertia) * best.mean(0)
        std = self.inertia * belief.std + (1 - self.inertia) * best.std(0)
        return replace(belief, mean=mean, std=np.maximum(std, _SMALLEST_STD))


@dataclass(frozen=True, kw_only=True, slots=True)
class ICEM(CEM):
    """Improved CEM (Pinneri et al., arXiv 2008.06389): noise that is coloured in time, and elites that stay.

    A plan's parameters must be ordered by knot, then by control.
    """

    name: str = "icem"
    controls: Count
    """How many parameters a knot has."""
    keep: Share = 0.3
    """Share of the elites that are tried again."""
    exponent: float = 1.0
    """Of the noise's power spectrum over the knots; 0 is white."""

    def sample(self, belief: Belief, count: int, rng: np.random.Generator) -> Float64Array:
        """See Search."""
        knots = len(belief.mean) // self.controls
        noise = _coloured(rng.standard_normal((count, self.controls, knots)), self.exponent)
        fresh = _around(belief, noise.transpose(0, 2, 1).reshape(count, -1))
        again = belief.kept[: count - 1]
        return np.concatenate([fresh[:1], again, fresh[1 : count - len(again)]])

    def update(self, belief: Belief, tried: Float64Array, worth: Float64Array) -> Belief:
        """See Search."""
        best = np.argsort(-worth, kind="stable")[: max(1, round(self.keep * self.elites))]
        # Named, because a dataclass with slots is another class than the one that super() would know.
        return replace(CEM.update(self, belief, tried, worth), kept=tried[best])


@dataclass(frozen=True, kw_only=True, slots=True)
class MPPI(CheckedFields):
    """Model predictive path integral control (Williams et al., arXiv 1707.02342): all tried parameters count, the
    better the more."""

    name: str = "mppi"
    temperature: Positive = 0.1
    """Of the weights, as a share of the spread between the best and the mean."""
    std: Positive = 0.4
    """Of the noise, which stays as it is."""

    def begin(self, size: int, around: Float64Array | None) -> Belief:
        """See Search."""
        return replace(_first_belief(size, around), std=np.full(size, self.std))

    def sample(self, belief: Belief, count: int, rng: np.random.Generator) -> Float64Array:
        """See Search."""
        return _around(belief, rng.standard_normal((count, len(belief.mean))))

    def update(self, belief: Belief, tried: Float64Array, worth: Float64Array) -> Belief:
        """See Search."""
        spread = worth.max() - worth.mean()
        weights = np.exp((worth - worth.max()) / (self.temperature * spread)) if spread > 0 else np.ones_like(worth)
        return replace(belief, mean=weights @ tried / weights.sum())


def make_search(name: str, controls: Sequence[str]) -> Search:
    """A search by name, with its usual settings.

    Raises:
        InvalidInputError: there is none of this name.
    """
    if name == "cem":
        return CEM()
    if name == "icem":
        return ICEM(controls=len(controls))
    if name == "mppi":
        return MPPI()
    raise InvalidInputError(f"a planner must be one of cem, icem, mppi; got {name!r}")


def _first_belief(size: int, around: Float64Array | None) -> Belief:
    if around is None:
        return Belief(np.zeros(size), np.full(size, _FIRST_STD), np.empty((0, size)))
    return Belief(around, np.full(size, _WARM_STD), np.empty((0, size)))


def _around(belief: Belief, noise: Float64Array) -> Float64Array:
    """Parameters from noise of unit variance; the first without any."""
    noise[0] = 0.0
    return np.clip(belief.mean + belief.std * noise, -1.0, 1.0)


def _coloured(white: Float64Array, exponent: float) -> Float64Array:
    """Noise [..., K] whose power falls with frequency, of unit variance."""
    count = white.shape[-1]
    if count < 2:
        return white
    scale = np.maximum(np.fft.rfftfreq(count), 1.0 / count) ** (-exponent / 2)
    # The variance of a sample is the mean power over all frequencies, of which the inner ones come twice.
    power = np.concatenate([scale, scale[1 : (count + 1) // 2]])
    coloured: Float64Array = np.fft.irfft(np.fft.rfft(white) * scale, n=count) / np.sqrt((power**2).mean())
    return coloured
