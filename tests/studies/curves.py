"""Learning curves whose comparison is known."""

import numpy as np

from docs.studies.rl_comparison import Curves

SEEDS, CASES = 5, 40


def curves_of(levels: list[float], seconds: list[float], *, every: int = 100) -> Curves:
    """Returns curves with these mean returns, after multiples of `every` env steps; every second case succeeds.

    Args:
        levels: mean returns, [K].
        seconds: CPU times, [K]; wall times are twice as long.
        every: env steps between two policies.
    """
    returns = np.array(levels)[None, :, None] * np.ones((SEEDS, 1, CASES))
    return Curves(
        steps=every * np.arange(1, len(levels) + 1),
        wall_seconds=2 * np.tile(seconds, (SEEDS, 1)),
        cpu_seconds=np.tile(seconds, (SEEDS, 1)),
        returns=returns,
        successes=np.broadcast_to(np.arange(CASES) % 2.0, returns.shape),
    )


def example() -> dict[str, Curves]:
    """Returns curves of the three kinds of training.

    The reference world takes twice the time and leads to a return of 4, of which 95 % are reached after 400 env steps;
    the learned world leads to 3.5, and fine-tuning reaches 95 % after 50 more.
    """
    return {
        "learned": curves_of([1.0, 2.0, 3.0, 3.5], [1.0, 2.0, 3.0, 4.0]),
        "true": curves_of([1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0, 8.0]),
        "tuned": curves_of([3.9, 4.1], [1.0, 2.0], every=50),
    }
