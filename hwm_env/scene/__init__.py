"""What a world knows of its room: a learned map, the pose of the base in it, and what the camera sees from there.

Axis letters, besides those of `hwm_env.types`: F frames of a clip (the keyframes 0, 8 and 16 where a scene is drawn),
R rays of a grid position, N samples along a ray, C channels.
"""
