"""The learning rate as a function of the step."""

import math

from hwm_env.errors import InvalidInputError


def learning_rate_at(
    step: int, *, total_steps: int, warmup_steps: int, peak: float, hold_share: float, final_share: float
) -> float:
    """Linear warm-up, a plateau, then a cosine decay.

    Args:
        step: the optimiser step, counted from 0.
        total_steps: length of the training.
        warmup_steps: step `warmup_steps - 1` is the first at the peak.
        peak: the learning rate of the plateau.
        hold_share: share of all steps (warm-up included) before the decay.
        final_share: learning rate of the last step, as a share of the peak.

    Raises:
        InvalidInputError: the step is not one of the training, or a share is not in [0, 1].
    """
    if not 0 <= step < total_steps:
        raise InvalidInputError(f"step: expected 0..{total_steps - 1}, got {step}")
    for name, share in (("hold_share", hold_share), ("final_share", final_share)):
        if not 0 <= share <= 1:
            raise InvalidInputError(f"{name} must be in [0, 1], got {share}")
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    decay_start = max(hold_share * total_steps, warmup_steps)
    last_step = total_steps - 1
    if step <= decay_start:
        return peak
    progress = (step - decay_start) / (last_step - decay_start)
    return peak * (final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * progress)))
