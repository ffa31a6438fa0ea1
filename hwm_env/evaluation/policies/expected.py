"""Infers the expected results of policies from a limited number of trials, so that noise can be taken out of a measure.

Measured results vary more than expected ones, because each is a mean over a few starts. This makes correlations too
small and MMRV too large, and bootstrap samples of the starts, which add as much noise again, even more so: their
percentile intervals often exclude the truth, and sometimes even the estimate (docs/studies/coverage.py).
"""

from typing import Final

import numpy as np

from hwm_env.types import Float64Array

CHAINS: Final = 50
ITERATIONS: Final = 60
WARM_UP: Final = 20
"""First iterations of each chain, which are not kept: 2000 draws remain."""
PRIOR_DEGREES: Final = 3
"""Degrees of freedom of the covariance's prior: every correlation of the worlds is equally probable."""
PRIOR_SHARE: Final = 0.1
"""The prior's scale as a share of the measured variances."""


def draw_expected(true: Float64Array, learned: Float64Array, seed: int = 0) -> Float64Array:
    """Draws the policies' expected results in both worlds, given the measured ones.

    The model is a hierarchical normal one (Gelman et al., Bayesian Data Analysis, chapter 15; Everson and Morris 2000):
    expected results (true, learned) of a policy are normal with unknown mean and covariance, and measured ones are
    normal around them. The covariance of this noise is estimated from the variation over starts; half of it is a
    policy's own, half the mean of all, as a policy that always succeeds shows none. How much easier or harder the
    starts are than others moves all policies together. Draws come from Gibbs sampling, and may lie outside the range of
    results.

    Args:
        true: result of each policy from each start in the true world, [P, S] with at least two policies and starts.
        learned: the same in the learned world, [P, S].
        seed: of the draws.

    Returns:
        Draws of the P policies' expected results, float64 [D, 2, P]; the second axis is (true, learned). NaN if all
        policies are equal in one world.
    """
    results = np.stack([true, learned], axis=-1)  # [P, S, 2]
    policies, measured = len(true), results.mean(axis=1)
    variances = measured.var(axis=0, ddof=1)
    if not (variances > 1e-15).all():
        return np.full(((ITERATIONS - WARM_UP) * CHAINS, 2, policies), np.nan)
    noise, common = _noise(results, measured)
    precision = _inverse(noise + 1e-6 * np.diag(variances))
    weighted = _times(precision, measured)
    scale = PRIOR_SHARE * np.diag(variances)
    rng = np.random.default_rng(seed)
    expected = np.broadcast_to(measured, (CHAINS, policies, 2))
    mean = expected.mean(axis=1)
    draws = []
    for iteration in range(ITERATIONS):
        apart = expected - mean[:, None]
        covariance = _inverse_wishart(rng, PRIOR_DEGREES + policies, scale + np.swapaxes(apart, 1, 2) @ apart)
        mean = _normal(rng, expected.mean(axis=1), covariance / policies)
        between = _inverse(covariance)
        posterior = _inverse(between[:, None] + precision)
        expected = _normal(rng, _times(posterior, _times(between, mean)[:, None] + weighted), posterior)
        if iteration >= WARM_UP:
            draws.append(expected)
    kept = np.concatenate(draws)
    shift = rng.multivariate_normal(np.zeros(2), common, size=len(kept), method="eigh")
    return np.swapaxes(kept + shift[:, None], 1, 2)


def _noise(results: Float64Array, measured: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Returns the covariances of measured results around expected ones: each policy's, [P, 2, 2], and all's, [2, 2]."""
    policies, starts, _ = results.shape
    by_start = results.mean(axis=0)
    apart = results - measured[:, None]
    own = np.swapaxes(apart, 1, 2) @ apart / ((starts - 1) * starts)
    alone = (apart - (by_start - by_start.mean(axis=0))).reshape(-1, 2)
    interaction = alone.T @ alone / ((policies - 1) * (starts - 1) * starts)
    pooled = own.mean(axis=0)
    # What moves all policies together is no noise of one against another.
    share = np.trace(interaction) / max(float(np.trace(pooled)), 1e-15)
    common = np.cov(by_start.T) / starts - interaction / policies
    values, vectors = np.linalg.eigh(common)
    return share * (own + pooled) / 2, (vectors * np.clip(values, 0, None)) @ vectors.T


def _times(matrices: Float64Array, vectors: Float64Array) -> Float64Array:
    product: Float64Array = (matrices @ vectors[..., None])[..., 0]
    return product


def _inverse(matrices: Float64Array) -> Float64Array:
    return np.asarray(np.linalg.inv(matrices), np.float64)


def _root(matrices: Float64Array) -> Float64Array:
    """Returns lower triangles L with L @ L.T equal to the matrices."""
    return np.asarray(np.linalg.cholesky(matrices), np.float64)


def _normal(rng: np.random.Generator, mean: Float64Array, covariance: Float64Array) -> Float64Array:
    drawn: Float64Array = mean + _times(_root(covariance), rng.standard_normal(mean.shape))
    return drawn


def _inverse_wishart(rng: np.random.Generator, degrees: int, scale: Float64Array) -> Float64Array:
    """Draws a matrix for each scale, [C, 2, 2], by Bartlett's decomposition."""
    factor = np.zeros_like(scale)
    factor[:, 0, 0] = np.sqrt(rng.chisquare(degrees, len(scale)))
    factor[:, 1, 1] = np.sqrt(rng.chisquare(degrees - 1, len(scale)))
    factor[:, 1, 0] = rng.standard_normal(len(scale))
    root = _root(_inverse(scale)) @ factor
    return _inverse(root @ np.swapaxes(root, 1, 2))
