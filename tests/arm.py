"""A robot with six joints of its own, which is not EVE."""

from hwm_env.robot import Joint, Robot

ARM = Robot(
    name="SO-101",
    joints=(
        Joint(name="gripper.pos", number="left_hand_closure", low=0.0, high=1.0),
        Joint(name="shoulder_pan.pos", number="left_shoulder_yaw", low=-1.92, high=1.92),
        Joint(name="shoulder_lift.pos", number="left_shoulder_pitch", low=-1.75, high=1.75),
        Joint(name="elbow_flex.pos", number="left_elbow_pitch", low=-1.69, high=1.69),
        Joint(name="wrist_flex.pos", number="left_wrist_pitch", low=-1.66, high=1.66),
        Joint(name="wrist_roll.pos", number="left_wrist_roll"),
    ),
)
"""Its gripper comes first, so that its order is not that of the 25 numbers."""
COLUMNS = [21, 8, 6, 9, 11, 12]
"""Index of each joint among the 25 numbers, counted by hand."""
