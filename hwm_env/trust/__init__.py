"""Trust in predicted clips: how far actions and tokens leave the training data, and a calibrated error probability."""

from hwm_env.trust.assessment import Assessment, Trust
from hwm_env.trust.calibration import Calibration
from hwm_env.trust.excess import action_excess
from hwm_env.trust.token_statistics import TokenStatistics

__all__ = ["Assessment", "Calibration", "TokenStatistics", "Trust", "action_excess"]
