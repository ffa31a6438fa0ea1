"""Wrappers for environments whose steps are clips of 17 frames."""

from hwm_env.envs.wrappers.record_clips import RecordClips
from hwm_env.envs.wrappers.record_lerobot import RecordLeRobot
from hwm_env.envs.wrappers.record_replay import RecordReplay
from hwm_env.envs.wrappers.repeat_action import RepeatAction
from hwm_env.envs.wrappers.stack_frames import StackFrames

__all__ = ["RecordClips", "RecordLeRobot", "RecordReplay", "RepeatAction", "StackFrames"]
