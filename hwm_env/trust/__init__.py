"""How far a predicted clip can be believed: actions and tokens unlike the training data's, and a calibrated risk."""

from hwm_env.trust.assessment import Assessment, Trust
from hwm_env.trust.calibration import Calibration
from hwm_env.trust.excess import action_excess
from hwm_env.trust.token_statistics import TokenStatistics

__all__ = ["Assessment", "Calibration", "TokenStatistics", "Trust", "action_excess"]
