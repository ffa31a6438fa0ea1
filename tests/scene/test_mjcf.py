"""Chains read from MJCF, against MuJoCo, which compiles the same text."""

from pathlib import Path

import mujoco
import numpy as np
import pytest

from hwm_env.errors import InvalidInputError
from hwm_env.reference import robot
from hwm_env.reference.mujoco_model import CAMERA_NAME, mujoco_xml
from hwm_env.scene.camera import CameraDescription
from hwm_env.scene.robot_description import limb_from_mjcf, links_from_mjcf, read_camera, read_limb
from hwm_env.types import ACTION_NAMES, NUM_JOINTS
from tests.scene.robot_descriptions import GEOM, by_links, by_mujoco, in_base, words

NOTATIONS = ("", "quat", "axisangle", "euler", "zaxis", "xyaxes")
AHEAD_LEFT_UP = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])
"""Axes in MuJoCo's camera frame, which looks along -z, with x to the right and y up."""


def orientation(rng: np.random.Generator, notation: str, unit: float) -> str:
    """Returns a random attribute; `unit` is the model's unit of angles in radians."""
    if not notation:
        return ""
    sizes = {"quat": 4, "axisangle": 3, "euler": 3, "zaxis": 3, "xyaxes": 6}
    values = rng.normal(size=sizes[notation]).tolist()
    if notation == "euler":
        values = [value / unit for value in values]
    if notation == "axisangle":
        values.append(rng.normal() / unit)
    return f'{notation}="{words(*values)}"'


def random_mjcf(rng: np.random.Generator) -> tuple[str, str, dict[str, str]]:
    """Returns a chain of 2 to 6 bodies with one camera: the text, the base's name and the numbers of the joints."""
    degrees = bool(rng.integers(2))
    unit = np.pi / 180 if degrees else 1.0
    sequence = "".join("xyzXYZ"[index] for index in rng.integers(6, size=3))
    numbers: dict[str, str] = {}

    def pos() -> str:
        return f'pos="{words(*rng.normal(size=3))}"' if rng.integers(4) else ""

    def turned() -> str:
        return orientation(rng, NOTATIONS[rng.integers(len(NOTATIONS))], unit)

    def one_of(*texts: str) -> str:
        return texts[rng.integers(len(texts))]

    def joint(body: int, index: int) -> str:
        name = f"joint_{body}_{index}"
        if rng.integers(3):
            numbers[name] = ACTION_NAMES[len(numbers)]
        ref = f'ref="{rng.normal() / unit:.9g}"'
        axis = f'axis="{words(*rng.normal(size=3))}"'
        kind = one_of("", 'type="slide"', 'type="hinge"')
        a_class = one_of("", "", 'class="outer"', 'class="inner"')
        text = f'<joint name="{name}" armature="1" {kind} {one_of("", axis)} {one_of("", ref)} {pos()} {a_class}/>'
        return framed(text)

    def framed(text: str) -> str:
        while not rng.integers(3):
            text = f"<frame {pos()} {turned()} {class_of_children()}>{text}</frame>"
        return text

    def class_of_children() -> str:
        return one_of("", "", 'childclass="outer"', 'childclass="inner"')

    bodies = int(rng.integers(2, 7))
    view = one_of("", 'fovy="60"', 'sensorsize="0.004 0.003" resolution="640 480" focal="0.003 0.004"')
    camera_class = one_of("", "", 'class="inner"')
    inside = framed(f'<camera name="eye" {pos()} {turned()} {view} {camera_class}/>')
    for body in reversed(range(bodies)):
        joints = "".join(joint(body, index) for index in range(rng.integers(4)))
        here = one_of(joints + inside, inside + joints)
        inside = framed(f'<body name="body_{body}" {pos()} {turned()} {class_of_children()}>{GEOM}{here}</body>')
    angle = one_of("", 'angle="degree"') if degrees else 'angle="radian"'
    text = f"""<mujoco>
  <compiler {angle}/>
  <worldbody>{inside}</worldbody>
  <compiler eulerseq="{sequence}" autolimits="false"/>
  <default>
    <joint {one_of("", 'type="slide"')} {pos()}/>
    <default class="outer">
      <joint axis="{words(*rng.normal(size=3))}"/>
      <camera {turned()}/>
      <default class="inner"><joint {one_of("", 'type="hinge"')} ref="0.1"/><camera fovy="75" {pos()}/></default>
    </default>
  </default>
</mujoco>"""
    return text, f"body_{rng.integers(bodies)}", numbers


def assert_camera_equals(
    description: CameraDescription, model: mujoco.MjModel, base: str, camera: str, angles: dict[str, tuple[str, float]]
) -> None:
    """`angles`: joint name to number and value."""
    data = by_mujoco(model, {joint: value for joint, (_, value) in angles.items()})
    at = data.camera(camera)
    expected = in_base(data, base, at.xpos, at.xmat.reshape(3, 3) @ AHEAD_LEFT_UP)
    place, rotation = by_links(description.links, dict(angles.values()))
    np.testing.assert_allclose(place, expected[0], atol=1e-5)
    np.testing.assert_allclose(rotation, expected[1], atol=1e-5)
    assert description.field_of_view_deg == pytest.approx(model.camera(camera).fovy[0], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_random_mjcf_chains_equal_mujoco(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    text, base, numbers = random_mjcf(rng)
    (tmp_path / "robot.xml").write_text(text)
    model = mujoco.MjModel.from_xml_string(text)
    description = read_camera(tmp_path / "robot.xml", "eye", base, numbers)
    for _ in range(3):
        angles = {joint: (number, rng.uniform(-2, 2)) for joint, number in numbers.items()}
        base_moves = {joint for joint in angles if joint.startswith(base.replace("body", "joint"))}
        assert_camera_equals(description, model, base, "eye", angles)
        assert not {link.number for link in description.links} & {numbers[joint] for joint in base_moves}


@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize("sequence", ["xyz", "zyx", "XYZ", "zYx"])
@pytest.mark.parametrize("angle", ["", 'angle="degree"', 'angle="radian"'])
def test_every_notation_of_an_orientation(notation: str, sequence: str, angle: str) -> None:
    rng = np.random.default_rng(0)
    unit = 1.0 if "radian" in angle else np.pi / 180
    text = f"""<mujoco><compiler {angle} eulerseq="{sequence}"/><worldbody><body name="base">{GEOM}
        <body {orientation(rng, notation, unit)}><camera name="eye" pos="1 2 3" {orientation(rng, notation, unit)}/>
        </body></body></worldbody></mujoco>"""
    description = CameraDescription(links=links_from_mjcf(text, "eye", "base"), field_of_view_deg=45.0)
    assert_camera_equals(description, mujoco.MjModel.from_xml_string(text), "base", "eye", {})


@pytest.mark.parametrize(
    "turned", ['zaxis="0 0 -2"', 'zaxis="0 0 1"', 'quat="-3 0 0 0"', 'quat="0 0 1 0"', 'axisangle="0 2 0 180"']
)
def test_half_turns_and_none(turned: str) -> None:
    text = f"""<mujoco><worldbody><body name="base">{GEOM}
        <body {turned}><camera name="eye" pos="1 2 3"/></body></body></worldbody></mujoco>"""
    description = CameraDescription(links=links_from_mjcf(text, "eye", "base"), field_of_view_deg=45.0)
    assert_camera_equals(description, mujoco.MjModel.from_xml_string(text), "base", "eye", {})


def test_the_head_of_the_reference_world(tmp_path: Path) -> None:
    (tmp_path / "robot.xml").write_text(mujoco_xml())
    description = read_camera(tmp_path / "robot.xml", CAMERA_NAME, "base")
    assert description.field_of_view_deg == robot.CAMERA_FOV_DEG
    assert description.links == links_from_mjcf(mujoco_xml(), CAMERA_NAME, "base")
    model = mujoco.MjModel.from_xml_string(mujoco_xml())
    rng = np.random.default_rng(0)
    for _ in range(20):
        angles = rng.uniform(*np.transpose(robot.JOINT_LIMITS_RAD)).tolist()
        named = {name: (name, angle) for name, angle in zip(ACTION_NAMES[:NUM_JOINTS], angles, strict=True)}
        moved_base = {name: ("linear_velocity", rng.normal()) for name in ("base_x", "base_y", "base_yaw")}
        assert_camera_equals(description, model, "base", CAMERA_NAME, named | moved_base)


@pytest.mark.parametrize("end", ["left_hand", "right_inner"])
def test_limbs_of_the_reference_world_equal_mujoco(tmp_path: Path, end: str) -> None:
    (tmp_path / "robot.xml").write_text(mujoco_xml())
    limb = read_limb(tmp_path / "robot.xml", end, "base")
    assert limb == limb_from_mjcf(mujoco_xml(), end, "base")
    model = mujoco.MjModel.from_xml_string(mujoco_xml())
    rng = np.random.default_rng(0)
    for _ in range(20):
        angles = dict(
            zip(ACTION_NAMES[:NUM_JOINTS], rng.uniform(*np.transpose(robot.JOINT_LIMITS_RAD)).tolist(), strict=True)
        )
        data = by_mujoco(model, angles)
        at = data.body(end)
        expected = in_base(data, "base", at.xpos, at.xmat.reshape(3, 3))
        for ours, theirs in zip(by_links(limb, angles), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_camera_of_the_world_is_read_when_the_world_is_the_base() -> None:
    text = f"""<mujoco><worldbody><camera name="eye" pos="1 2 3" xyaxes="0 -1 0 0 0 1"/><body name="base">{GEOM}</body>
        </worldbody></mujoco>"""
    place, rotation = by_links(links_from_mjcf(text, "eye", "world"), {})
    np.testing.assert_allclose(place, [1, 2, 3])
    np.testing.assert_allclose(rotation, np.eye(3), atol=1e-12)
    with pytest.raises(InvalidInputError, match=r"not below the body 'base' but below 'world'"):
        links_from_mjcf(text, "eye", "base")


@pytest.mark.parametrize(
    ("view", "field_of_view_deg"),
    [
        ("", 45.0),
        ('fovy="70"', 70.0),
        ('sensorsize="0.004 0.003" resolution="640 480" focalpixel="300 400"', None),
        ('sensorsize="0.004 0.003" resolution="640 480" focal="0.003 0.004"', None),
    ],
)
def test_field_of_view(tmp_path: Path, view: str, field_of_view_deg: float | None) -> None:
    text = f'<mujoco><worldbody><body name="base">{GEOM}<camera name="eye" {view}/></body></worldbody></mujoco>'
    (tmp_path / "robot.xml").write_text(text)
    compiled = mujoco.MjModel.from_xml_string(text).camera("eye").fovy[0]
    assert read_camera(tmp_path / "robot.xml", "eye", "base").field_of_view_deg == pytest.approx(compiled)
    assert field_of_view_deg is None or compiled == field_of_view_deg


def test_an_orthographic_camera_has_no_field_of_view(tmp_path: Path) -> None:
    view = 'projection="orthographic" fovy="2"'
    (tmp_path / "robot.xml").write_text(
        f'<mujoco><worldbody><body name="base">{GEOM}<camera name="eye" {view}/></body></worldbody></mujoco>'
    )
    assert read_camera(tmp_path / "robot.xml", "eye", "base").field_of_view_deg is None
