"""The trust of a checkpoint: assesses predicted clips from token statistics and a calibration."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from torch import Tensor

from hwm_env.errors import CheckpointError
from hwm_env.torch_state import plain_torch
from hwm_env.trust.calibration import Calibration, Numbers
from hwm_env.trust.token_statistics import TokenStatistics
from hwm_env.types import Float32Array, Int32Array

_TENSORS: Final = ("mean", "components", "variances", "typical", "worse")
_CONFIG_KEYS: Final = ("bound_psnr_db", "intercept", "weights", "quality", "fsq_levels", "grid_size")


class Assessment(NamedTuple):
    """How far to believe the newest clip of each row."""

    drift: Float32Array
    """float32 [B]: how far its tokens leave the training data, in standard deviations of recorded clips."""
    error_probability: Float32Array
    """float32 [B]: probability that its PSNR against the ground truth is below the calibration's bound."""


@dataclass(frozen=True, slots=True, eq=False)
class Trust:
    """Token statistics and a calibration, which together assess predicted clips."""

    statistics: TokenStatistics
    calibration: Calibration

    @plain_torch()
    def assess(
        self,
        tokens: Tensor | Int32Array,
        confidence: Numbers,
        path_entropy: Numbers,
        action_ood: Numbers,
        painted_offset: Numbers,
        steps: Numbers,
    ) -> Assessment:
        """Assesses the newest clip of each row.

        Args:
            tokens: int [B, 3, H, W].
            confidence: mean log-probability of the clip's tokens, nats, [B].
            path_entropy: mean entropy of the tokens of all clips predicted since the last recorded one, including this
                clip, nats, [B]. Errors accumulate, so it is more informative than the newest clip's entropy alone.
            action_ood: share of the chunk's 17 x 25 numbers that leave the training data, [B], see `action_excess`.
            painted_offset: distance between the painted and the carried pose, m, [B], see
                `WorldSimulator.painted_offset`.
            steps: clips predicted since the last recorded one, including this clip, [B].

        Raises:
            InvalidInputError: the tokens have another shape.
        """
        drift = self.statistics.drift(tokens)
        features = {
            "confidence": confidence,
            "path_entropy": path_entropy,
            "action_ood": action_ood,
            "drift": drift,
            "painted_offset": painted_offset,
            "steps": steps,
        }
        return Assessment(drift, self.calibration.error_probability(features))

    def to_config(self) -> dict[str, Any]:
        """Returns everything except the tensors, for JSON."""
        calibration, statistics = self.calibration, self.statistics
        return {
            "bound_psnr_db": calibration.bound_psnr_db,
            "intercept": calibration.intercept,
            "weights": dict(calibration.weights),
            "quality": dict(calibration.quality),
            "fsq_levels": list(statistics.fsq_levels),
            "grid_size": list(statistics.grid_size),
        }

    def tensors(self) -> dict[str, Tensor]:
        """Returns the tensors, for a file of less than 200 kB."""
        return {name: getattr(self.statistics, name) for name in _TENSORS}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Trust":
        """Restores what `to_config` and `tensors` returned.

        Raises:
            CheckpointError: a part is missing, surplus, or does not fit.
        """
        for what, found, expected in (("trust", config, _CONFIG_KEYS), ("token statistics", tensors, _TENSORS)):
            if not isinstance(found, Mapping) or set(found) != set(expected):
                raise CheckpointError(
                    f"{what}: expected {sorted(expected)}, got "
                    f"{sorted(found) if isinstance(found, Mapping) else type(found).__name__}"
                )
        try:
            rows, columns = config["grid_size"]
            statistics = TokenStatistics(
                fsq_levels=tuple(int(level) for level in config["fsq_levels"]),
                grid_size=(int(rows), int(columns)),
                **tensors,
            )
            calibration = Calibration(
                bound_psnr_db=config["bound_psnr_db"],
                intercept=config["intercept"],
                # Calibrations from before painted poses existed lack this feature.
                weights={"painted_offset": 0.0, **config["weights"]},
                quality=dict(config["quality"]),
            )
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"trust: {error}; calibrate the checkpoint again") from error
        return cls(statistics, calibration)
