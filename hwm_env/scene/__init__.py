"""The learned scene of a room: map, camera, odometry and localiser.

"Numbers" are the 25 numbers of a frame (`hwm_env.types.ACTION_NAMES`): recorded states in training, actions in a
simulator.

Axis letters, besides those of `hwm_env.types`: F frames of a clip (in a scene model, the keyframes 0, 8 and 16),
R rays of a grid position, N samples along a ray, C channels.
"""
