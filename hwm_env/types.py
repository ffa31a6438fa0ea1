"""Constants, names and array types that all parts of the package share.

Axis letters, used as suffixes of tensor names: B batch, T clips, L latents (3), H W token grid,
S = H * W, D model width, A = 25 action numbers, F frames (17 a clip), K decoding steps, V codebook size.
"""

from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

FRAME_RATE_HZ: Final = 30
FRAMES_PER_CLIP: Final = 17
LATENTS_PER_CLIP: Final = 3
"""Latents per clip: frame 0; frames 1-8; frames 9-16."""
FRAMES_PER_LATENT: Final = (1, 8, 8)
HISTORY_CLIPS: Final = 9
MAX_EPISODE_STEPS: Final = 40
"""Env steps until truncation, unless Gymnasium's argument `max_episode_steps` is given."""
CLIP_DURATION_S: Final = FRAMES_PER_CLIP / FRAME_RATE_HZ
SPATIAL_COMPRESSION: Final = 8

ACTION_NAMES: Final[tuple[str, ...]] = (
    "hip_yaw",
    "hip_roll",
    "hip_pitch",
    "knee_pitch",
    "ankle_roll",
    "ankle_pitch",
    "left_shoulder_pitch",
    "left_shoulder_roll",
    "left_shoulder_yaw",
    "left_elbow_pitch",
    "left_elbow_yaw",
    "left_wrist_pitch",
    "left_wrist_roll",
    "right_shoulder_pitch",
    "right_shoulder_roll",
    "right_shoulder_yaw",
    "right_elbow_pitch",
    "right_elbow_yaw",
    "right_wrist_pitch",
    "right_wrist_roll",
    "neck_pitch",
    "left_hand_closure",
    "right_hand_closure",
    "linear_velocity",
    "angular_velocity",
)
"""The 25 numbers of an action, in the order of the 1X v2.0 data set: 21 joint angles (rad), 2 hand
closures (0 open, 1 closed), linear velocity (m/s), angular velocity (rad/s, positive turns left)."""
ACTION_DIM: Final = len(ACTION_NAMES)
NUM_JOINTS: Final = 21
LEFT_HAND_CLOSURE: Final = 21
RIGHT_HAND_CLOSURE: Final = 22
LINEAR_VELOCITY: Final = 23
ANGULAR_VELOCITY: Final = 24
POSE_DIM: Final = 3
"""Size of a base pose: x (m), y (m), yaw (rad)."""

UInt8Array = npt.NDArray[np.uint8]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_Number = TypeVar("_Number", bound=np.generic)


def frozen(array: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """Returns a read-only copy of an array, which can be shared safely."""
    copy = array.copy()
    copy.setflags(write=False)
    return copy
