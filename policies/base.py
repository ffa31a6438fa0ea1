"""What a policy is; see `hwm_env.evaluation.policy`, which evaluates them."""

from hwm_env.evaluation.interface import Interface
from hwm_env.evaluation.policy import Planner, Policy

__all__ = ["Interface", "Planner", "Policy"]
