"""The MuJoCo model (MJCF) of room and robot, written from the facts in `room` and `robot`.

The model is for rendering only: no geom collides, and masses do not matter. Colours are plain and light comes from all
sides, because fine texture, shadows and highlights cost tokens and teach nothing.
"""

from typing import Final, Literal

from hwm_env.reference import robot, room
from hwm_env.types import ACTION_NAMES

CAMERA_NAME: Final = "head"
FINGER_TRAVEL_M: Final = 0.065
"""Distance of each finger from its closed position when the hand is open."""

_WALL_M: Final = 0.1
_ANKLE_X_M: Final = -0.12
"""Position of the leg: behind the middle of the base, so that a leaning head stays above the base."""

_EAST, _NORTH, _WEST, _SOUTH = "0.98 0.82 0.36", "0.28 0.46 0.80", "0.46 0.74 0.44", "0.70 0.30 0.27"
_CEILING, _LAMP = "0.89 0.91 0.93", "1 1 0.97"
_FLOOR, _RUG = "0.63 0.57 0.49", "0.42 0.47 0.55"
_WOOD, _DARK, _WHITE, _SKY = "0.42 0.25 0.15", "0.10 0.11 0.15", "1 1 0.98", "0.84 0.95 1"
_TABLE_TOP, _SOFA, _CUSHION = "0.90 0.84 0.74", "0.25 0.30 0.50", "0.36 0.43 0.66"
_RED, _GREEN, _BLUE, _PURPLE = "0.85 0.12 0.12", "0.12 0.65 0.20", "0.12 0.25 0.85", "0.50 0.25 0.62"
_ORANGE, _TEAL, _PINK, _SHELL = "0.97 0.55 0.10", "0.05 0.62 0.66", "0.98 0.50 0.68", "0.88 0.88 0.90"

Side = Literal["left", "right"]


def finger_joints(side: Side) -> tuple[str, str]:
    """Returns the names of the two joints that a hand's closure moves."""
    return f"{side}_inner_finger", f"{side}_outer_finger"


def mujoco_xml() -> str:
    """Returns the whole model as MJCF text."""
    return f"""<mujoco model="reference_world">
  <compiler angle="radian" boundmass="0.001" boundinertia="0.0001"/>
  <option gravity="0 0 0"/>
  <statistic center="0 0 1" extent="8"/>
  <visual>
    <map znear="0.004" zfar="3"/>
    <quality offsamples="0" numslices="20" numstacks="8"/>
    <headlight ambient="0.62 0.62 0.62" diffuse="0.12 0.12 0.12" specular="0 0 0"/>
  </visual>
  <default>
    <geom contype="0" conaffinity="0"/>
    <light type="directional" castshadow="false" ambient="0 0 0" specular="0 0 0"/>
  </default>
  <worldbody>
    <light dir="0.35 0.5 -1" diffuse="0.34 0.34 0.34"/>
    <light dir="-0.5 -0.25 -0.3" diffuse="0.16 0.16 0.16"/>
    <light dir="0 0 1" diffuse="0.26 0.26 0.26"/>
{_room()}
{_robot()}
  </worldbody>
</mujoco>"""


def _geom(kind: str, x: float, y: float, z: float, size: tuple[float, ...], rgb: str) -> str:
    sizes = " ".join(f"{value:g}" for value in size)
    return f'<geom type="{kind}" pos="{x:g} {y:g} {z:g}" size="{sizes}" rgba="{rgb} 1"/>'


def _room() -> str:
    return "\n".join([*_shell(), *_on_walls(), *_table(), *_furniture()])


def _shell() -> list[str]:
    half, height, middle = room.HALF_SIZE_M, room.HEIGHT_M, room.HEIGHT_M / 2
    across = half + _WALL_M
    return [
        _geom("plane", 0, 0, 0, (half, half, 1), _FLOOR),
        _geom("box", *room.RUG_CENTRE, 0, (*room.RUG_HALF_SIZE, 0.006), _RUG),
        _geom("box", 0, 0, height + _WALL_M, (across, across, _WALL_M), _CEILING),
        _geom("box", 0, 0, height, (1.4, 1.4, 0.004), _LAMP),
        _geom("box", across, 0, middle, (_WALL_M, half, middle), _EAST),
        _geom("box", 0, across, middle, (half, _WALL_M, middle), _NORTH),
        _geom("box", -across, 0, middle, (_WALL_M, half, middle), _WEST),
        _geom("box", 0, -across, middle, (half, _WALL_M, middle), _SOUTH),
    ]


def _on_walls() -> list[str]:
    centres = room.LANDMARK_CENTRES
    door_x, door_y, door_z = centres["door"]
    window_x, window_y, window_z = centres["window"]
    picture_x, picture_y, picture_z = centres["picture"]
    half = room.HEIGHT_M / 2
    return [
        _geom("box", *centres["door"], (0.03, 0.62, door_z), _WHITE),
        _geom("box", door_x, door_y, 1.04, (0.05, 0.50, 1.04), _WOOD),
        _geom("box", *centres["window"], (1.35, 0.03, 0.80), _WHITE),
        _geom("box", window_x - 0.65, window_y, window_z, (0.55, 0.05, 0.67), _SKY),
        _geom("box", window_x + 0.65, window_y, window_z, (0.55, 0.05, 0.67), _SKY),
        _geom("box", *centres["picture"], (0.03, 1.05, 0.75), _WHITE),
        _geom("box", picture_x, picture_y - 0.45, picture_z, (0.05, 0.45, 0.62), _PURPLE),
        _geom("box", picture_x, picture_y + 0.45, picture_z, (0.05, 0.45, 0.62), "0.95 0.78 0.20"),
        _geom("box", *centres["screen"], (1.20, 0.05, 0.70), _DARK),
        _geom("box", *centres["board"], (0.05, 0.90, 0.65), _WHITE),
        _geom("box", *centres["curtain"], (0.60, 0.06, half), "0.97 0.91 0.74"),
        _geom("box", *centres["banner"], (0.80, 0.05, 0.50), "0.96 0.88 0.66"),
        _geom("box", *centres["panel"], (0.05, 0.55, half), "0.12 0.30 0.24"),
    ]


def _table() -> list[str]:
    table = room.TABLE
    under = table.height - 0.06
    legs = [
        _geom("box", table.x + sx * (table.half_x - 0.06), table.y + sy * (table.half_y - 0.06), under / 2,
              (0.06, 0.06, under / 2), _WOOD)
        for sx in (-1, 1) for sy in (-1, 1)
    ]  # fmt: skip
    colours = {"red": _RED, "green": _GREEN, "blue": _BLUE}
    cubes = [_geom("box", *xyz, (room.CUBE_HALF_SIZE_M,) * 3, colours[name]) for name, xyz in room.CUBES.items()]
    top = _geom("box", table.x, table.y, table.height - 0.03, (table.half_x, table.half_y, 0.03), _TABLE_TOP)
    return [top, *legs, *cubes]


def _furniture() -> list[str]:
    sofa, shelf, height = room.SOFA, room.SHELF, room.HEIGHT_M
    back_y = sofa.y - sofa.half_y + 0.12
    shelf_boards = [
        _geom("box", shelf.x + 0.03, shelf.y, z, (shelf.half_x - 0.02, shelf.half_y - 0.07, 0.17), rgb)
        for z, rgb in ((0.32, "0.80 0.35 0.25"), (0.85, "0.30 0.50 0.70"), (1.38, "0.90 0.80 0.45"))
    ]
    return [
        _geom("box", sofa.x, sofa.y, sofa.height / 2, (sofa.half_x, sofa.half_y, sofa.height / 2), _CUSHION),
        _geom("box", sofa.x, back_y, 0.45, (sofa.half_x, 0.12, 0.45), _SOFA),
        _geom("box", shelf.x, shelf.y, shelf.height / 2, (shelf.half_x, shelf.half_y, shelf.height / 2), _WOOD),
        *shelf_boards,
        *(
            _geom("cylinder", pillar.x, pillar.y, height / 2, (pillar.radius, height / 2), rgb)
            for pillar, rgb in ((room.RED_PILLAR, _RED), (room.PURPLE_PILLAR, _PURPLE))
        ),
    ]


def _joint(name: str, axis: str) -> str:
    low, high = robot.JOINT_LIMITS_RAD[ACTION_NAMES.index(name)]
    return f'<joint name="{name}" axis="{axis}" range="{low:.6g} {high:.6g}" limited="true"/>'


def _robot() -> str:
    return f"""
<body name="base">
  <joint name="base_x" type="slide" axis="1 0 0"/>
  <joint name="base_y" type="slide" axis="0 1 0"/>
  <joint name="base_yaw" axis="0 0 1"/>
  {_geom("cylinder", 0, 0, 0.11, (robot.BASE_RADIUS_M - 0.03, 0.09), _SHELL)}
  <body name="shank" pos="{_ANKLE_X_M} 0 0.2">
    {_joint("ankle_pitch", "0 1 0")}
    {_joint("ankle_roll", "1 0 0")}
    <geom type="capsule" fromto="0 0 0 0 0 0.35" size="0.08" rgba="{_SHELL} 1"/>
    <body name="thigh" pos="0 0 0.35">
      {_joint("knee_pitch", "0 -1 0")}
      <geom type="capsule" fromto="0 0 0 0 0 0.35" size="0.09" rgba="{_SHELL} 1"/>
      <body name="torso" pos="0 0 0.35">
        {_joint("hip_pitch", "0 1 0")}
        {_joint("hip_roll", "1 0 0")}
        {_joint("hip_yaw", "0 0 1")}
        <geom type="capsule" fromto="0 0 0.02 0 0 0.24" size="0.11" rgba="{_SHELL} 1"/>
        {_arm("left", 1, _ORANGE)}
        {_arm("right", -1, _TEAL)}
        <body name="head" pos="0 0 0.41">
          {_joint("neck_pitch", "0 1 0")}
          <geom type="sphere" pos="-0.04 0 0.06" size="0.09" rgba="{_SHELL} 1"/>
          <camera name="{CAMERA_NAME}" pos="0.06 0 0.05" xyaxes="0 -1 0 0 0 1" fovy="{robot.CAMERA_FOV_DEG}"/>
        </body>
      </body>
    </body>
  </body>
</body>"""


def _arm(side: Side, sign: int, rgb: str) -> str:
    """Returns an arm hanging from the shoulder; `sign` is +1 left and -1 right, so that equal angles mirror."""
    inner, outer = finger_joints(side)
    return f"""
<body name="{side}_upper_arm" pos="0 {sign * 0.22} 0.26">
  {_joint(f"{side}_shoulder_pitch", "0 -1 0")}
  {_joint(f"{side}_shoulder_roll", f"{sign} 0 0")}
  {_joint(f"{side}_shoulder_yaw", f"0 0 {-sign}")}
  <geom type="capsule" fromto="0 0 0 0 0 -0.26" size="0.055" rgba="{rgb} 1"/>
  <body name="{side}_forearm" pos="0 0 -0.28">
    {_joint(f"{side}_elbow_pitch", "0 -1 0")}
    {_joint(f"{side}_elbow_yaw", f"0 0 {-sign}")}
    <geom type="capsule" fromto="0 0 -0.02 0 0 -0.22" size="0.05" rgba="{rgb} 1"/>
    <body name="{side}_hand" pos="0 0 -0.27">
      {_joint(f"{side}_wrist_pitch", "0 -1 0")}
      {_joint(f"{side}_wrist_roll", f"{sign} 0 0")}
      <geom type="box" pos="0 0 -0.03" size="0.035 0.05 0.035" rgba="{_PINK} 1"/>
      <body name="{side}_inner" pos="0 {-sign * 0.018} -0.12">
        <joint name="{inner}" type="slide" axis="0 {-sign} 0"/>
        <geom type="box" size="0.025 0.017 0.075" rgba="{_PINK} 1"/>
      </body>
      <body name="{side}_outer" pos="0 {sign * 0.018} -0.12">
        <joint name="{outer}" type="slide" axis="0 {sign} 0"/>
        <geom type="box" size="0.025 0.017 0.075" rgba="{_PINK} 1"/>
      </body>
    </body>
  </body>
</body>"""
