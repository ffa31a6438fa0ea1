"""Chains read from robot descriptions: against MuJoCo, which compiles the same text by itself."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwm_env.errors import InvalidInputError
from hwm_env.reference import robot
from hwm_env.reference.scene import CAMERA_NAME, scene_xml
from hwm_env.scene import robot_xml
from hwm_env.scene.camera import CameraDescription, CameraLink, KinematicCamera
from hwm_env.scene.robot_description import limb_from_mjcf, links_from_mjcf, links_from_urdf, read_camera, read_limb
from hwm_env.scene.robot_xml import MAX_BYTES, MAX_DEPTH
from hwm_env.types import ACTION_NAMES, NUM_JOINTS, Float64Array

GEOM = '<geom size="0.1"/>'
NOTATIONS = ("", "quat", "axisangle", "euler", "zaxis", "xyaxes")
AHEAD_LEFT_UP = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])
"""In the frame of MuJoCo's cameras: they look along -z, with x to the right and y up."""


def words(*values: float) -> str:
    return " ".join(f"{value:.9g}" for value in values)


def orientation(rng: np.random.Generator, notation: str, unit: float) -> str:
    """A random attribute; `unit` is how many radians the model's angle 1 is."""
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
    """A chain of 2 to 6 bodies with one camera: the text, the base's name and which number moves which joint."""
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


def by_mujoco(model: mujoco.MjModel, values: dict[str, float]) -> mujoco.MjData:
    data = mujoco.MjData(model)
    for joint, value in values.items():
        data.joint(joint).qpos[0] = value
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_camlight(model, data)
    return data


def in_base(data: mujoco.MjData, base: str, place: Float64Array, rotation: Float64Array) -> tuple[Float64Array, ...]:
    frame = data.body(base).xmat.reshape(3, 3)
    return frame.T @ (place - data.body(base).xpos), frame.T @ rotation


def by_links(links: Sequence[CameraLink], values: dict[str, float]) -> tuple[Float64Array, ...]:
    numbers = torch.zeros(len(ACTION_NAMES), dtype=torch.float64)
    for name, value in values.items():
        numbers[ACTION_NAMES.index(name)] = value
    place, rotation = KinematicCamera(links)(numbers)
    return place.numpy(), rotation.numpy()


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
    (tmp_path / "robot.xml").write_text(scene_xml())
    description = read_camera(tmp_path / "robot.xml", CAMERA_NAME, "base")
    assert description.field_of_view_deg == robot.CAMERA_FOV_DEG
    assert description.links == links_from_mjcf(scene_xml(), CAMERA_NAME, "base")
    model = mujoco.MjModel.from_xml_string(scene_xml())
    rng = np.random.default_rng(0)
    for _ in range(20):
        angles = rng.uniform(*np.transpose(robot.JOINT_LIMITS_RAD)).tolist()
        named = {name: (name, angle) for name, angle in zip(ACTION_NAMES[:NUM_JOINTS], angles, strict=True)}
        moved_base = {name: ("linear_velocity", rng.normal()) for name in ("base_x", "base_y", "base_yaw")}
        assert_camera_equals(description, model, "base", CAMERA_NAME, named | moved_base)


@pytest.mark.parametrize("end", ["left_hand", "right_inner"])
def test_limbs_of_the_reference_world_equal_mujoco(tmp_path: Path, end: str) -> None:
    (tmp_path / "robot.xml").write_text(scene_xml())
    limb = read_limb(tmp_path / "robot.xml", end, "base")
    assert limb == limb_from_mjcf(scene_xml(), end, "base")
    model = mujoco.MjModel.from_xml_string(scene_xml())
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


def test_a_limb_of_a_urdf_ends_at_its_link(tmp_path: Path) -> None:
    path = tmp_path / "robot.urdf"
    path.write_text(
        """<robot><link name="base"/><link name="arm"/><link name="hand"/>
        <joint name="left_shoulder_pitch" type="revolute"><parent link="base"/><child link="arm"/>
            <origin xyz="0 0.2 1"/><axis xyz="0 -1 0"/></joint>
        <joint name="wrist" type="fixed"><parent link="arm"/><child link="hand"/><origin xyz="0 0 -0.5"/></joint>
        </robot>"""
    )
    place, _ = by_links(read_limb(path, "hand", "base"), {"left_shoulder_pitch": np.pi / 2})
    np.testing.assert_allclose(place, [0.5, 0.2, 1.0], atol=1e-6)


def test_a_limb_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="has no body 'tail'; it has 'base', 'shank'"):
        limb_from_mjcf(scene_xml(), "tail", "base")
    with pytest.raises(
        InvalidInputError, match="body 'head' is not below the body 'left_hand' but below 'world', 'base'"
    ):
        limb_from_mjcf(scene_xml(), "head", "left_hand")
    with pytest.raises(InvalidInputError, match=r"nowhere\.xml, found nothing; give the path of an MJCF or URDF file"):
        read_limb(tmp_path / "nowhere.xml", "hand", "base")


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


def random_urdf(rng: np.random.Generator) -> tuple[str, dict[str, str]]:
    """A chain of links with a side branch; the first link, which MuJoCo takes for the world, is above the base."""
    inertial = '<inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>'
    numbers: dict[str, str] = {}
    length = int(rng.integers(2, 8))
    parts = ['<link name="ground"/>']
    parents = ["ground", *(f"link_{index}" for index in range(length)), "link_0"]
    children = [*(f"link_{index}" for index in range(length)), "eye", "side"]
    for index, (parent, child) in enumerate(zip(parents, children, strict=True)):
        kind = ("revolute", "continuous", "prismatic", "fixed")[rng.integers(4)] if index else "fixed"
        limit = '<limit lower="-9" upper="9" effort="1" velocity="1"/>' if kind in ("revolute", "prismatic") else ""
        xyz, rpy = (f'{name}="{words(*rng.normal(size=3))}"' if rng.integers(4) else "" for name in ("xyz", "rpy"))
        origin = f"<origin {xyz} {rpy}/>" if rng.integers(6) else ""
        axis = rng.normal(size=3)
        axis_text = f'<axis xyz="{words(*(axis / np.linalg.norm(axis)))}"/>' if rng.integers(4) else ""
        if kind != "fixed" and rng.integers(4):
            numbers[f"joint_{index}"] = ACTION_NAMES[index]
        ends = f'<parent link="{parent}"/><child link="{child}"/>'
        parts.append(f'<link name="{child}">{inertial}</link>')
        parts.append(f'<joint name="joint_{index}" type="{kind}">{origin}{ends}{axis_text}{limit}</joint>')
    compiler = '<mujoco><compiler fusestatic="false"/></mujoco>'
    return f'<robot name="r">{compiler}{"".join(rng.permutation(parts))}</robot>', numbers


@pytest.mark.parametrize("seed", range(60))
def test_random_urdf_chains_equal_mujoco(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    text, numbers = random_urdf(rng)
    (tmp_path / "robot.urdf").write_text(text)
    description = read_camera(tmp_path / "robot.urdf", "eye", "link_0", numbers)
    assert description.field_of_view_deg is None
    model = mujoco.MjModel.from_xml_string(text)
    angles = {joint: (number, rng.uniform(-2, 2)) for joint, number in numbers.items()}
    data = by_mujoco(model, {joint: value for joint, (_, value) in angles.items()})
    eye = data.body("eye")
    place, rotation = in_base(data, "link_0", eye.xpos, eye.xmat.reshape(3, 3))
    np.testing.assert_allclose(by_links(description.links, dict(angles.values()))[0], place, atol=1e-5)
    np.testing.assert_allclose(by_links(description.links, dict(angles.values()))[1], rotation, atol=1e-5)
    optical = by_links(links_from_urdf(text, "eye", "link_0", numbers, optical=True), dict(angles.values()))
    np.testing.assert_allclose(optical[0], place, atol=1e-5)
    np.testing.assert_allclose(optical[1].T, [rotation[:, 2], -rotation[:, 0], -rotation[:, 1]], atol=1e-5)


def urdf(joint: str = 'type="fixed"', camera: str = "eye", inside: str = "", more: str = "") -> str:
    ends = f'<parent link="base"/><child link="{camera}"/>'
    return (
        f'<robot name="r"><link name="base"/><link name="{camera}"/><joint name="neck" {joint}>{ends}{inside}</joint>'
        f"{more}</robot>"
    )


@pytest.mark.parametrize("camera", ["camera_optical_frame", "camera_optical"])
def test_an_optical_frame_mounted_as_ros_does_looks_ahead(camera: str) -> None:
    as_ros_mounts_it = f'<origin rpy="{-np.pi / 2} 0 {-np.pi / 2}"/>'
    links = links_from_urdf(urdf(camera=camera, inside=as_ros_mounts_it), camera, "base")
    np.testing.assert_allclose(by_links(links, {})[1], np.eye(3), atol=1e-12)
    links = links_from_urdf(urdf(camera=camera), camera, "base", optical=False)
    np.testing.assert_allclose(by_links(links, {})[1], np.eye(3), atol=1e-12)


def test_a_mimicking_joint_needs_a_number_of_its_own() -> None:
    text = urdf('type="revolute"', inside='<mimic joint="other" multiplier="2"/>')
    with pytest.raises(InvalidInputError, match="joint 'neck' mimics another; name the number that moves it"):
        links_from_urdf(text, "eye", "base")
    (link, _) = links_from_urdf(text, "eye", "base", {"neck": "neck_pitch"})
    assert link.number == "neck_pitch"


def mjcf(inside: str = '<camera name="eye"/>', outside: str = "") -> str:
    return (
        f'<mujoco>{outside}<worldbody><body name="base"><body name="head">{inside}</body></body></worldbody></mujoco>'
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not XML"),
        ("no XML at all", "is not XML"),
        ('<?xml version="1.0" encoding="nonsense"?><mujoco/>', "is not XML"),
        ("<sdf/>", "must be <mujoco> or <robot> (MJCF: <mujoco>, URDF: <robot>), got <sdf>"),
        ('<!DOCTYPE r [<!ENTITY a "b">]><robot>&a;</robot>', "DOCTYPE"),
        (mjcf('<camera name="hand"/><camera/>'), "no camera 'eye'; it has 'hand'"),
        (mjcf(""), "no camera 'eye'; it has none"),
        (mjcf('<joint name="nod" type="ball"/><camera name="eye"/>'), "joint 'nod' is a ball joint"),
        (mjcf('<freejoint name="nod"/><camera name="eye"/>'), "joint 'nod' is a free joint"),
        (mjcf('<camera name="eye" pos="1 2"/>'), "has '1 2' where 3 numbers were expected"),
        (mjcf('<camera name="eye" pos="1 2 x"/>'), "has '1 2 x' where 3 numbers were expected"),
        (mjcf('<camera name="eye" pos="1 2 nan"/>'), "has '1 2 nan' where 3 numbers were expected"),
        (mjcf('<camera name="eye" fovy="wide"/>'), "has 'wide' where a number was expected"),
        (mjcf('<camera name="eye" quat="0 0 0 0"/>'), "of length 0"),
        (mjcf('<camera name="eye" mode="trackcom"/>'), "has the mode 'trackcom'"),
        (mjcf('<camera name="eye" class="none"/>'), "no default class 'none'; it has 'main'"),
        (mjcf(outside='<include file="other.xml"/>'), "mj_saveLastXML"),
        (mjcf(outside='<compiler eulerseq="xy"/>'), "eulerseq must be three of"),
        (mjcf(outside='<compiler coordinate="global"/>'), "global coordinates"),
        (urdf(camera="hand"), "no link 'eye'; it has 'base', 'hand'"),
        (urdf('type="floating"'), "joint 'neck' is floating; expected fixed, revolute, continuous, prismatic"),
        (urdf('type="planar"'), "joint 'neck' is planar"),
        (urdf(""), "joint 'neck' is of no type"),
        (urdf(inside='<origin xyz="1 2"/>'), "has '1 2' where 3 numbers were expected"),
        (urdf(more='<joint name="half" type="fixed"><parent link="base"/></joint>'), "joint 'half' has no child link"),
        (urdf(more='<joint name="b"><parent link="base"/><child link="eye"/></joint>'), "more than one joint"),
        (urdf(more='<x:if xmlns:x="http://www.ros.org/wiki/xacro"/>'), "expand it with xacro"),
    ],
)
def test_errors_name_the_file_and_what_was_found(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "robot.xml").write_text(text)
    with pytest.raises(InvalidInputError, match=re.escape(message)) as caught:
        read_camera(tmp_path / "robot.xml", "eye", "base")
    assert str(caught.value).startswith(f"{tmp_path / 'robot.xml'}: ")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.xml, found nothing; give the path of an MJCF"):
        read_camera(tmp_path / "none.xml", "eye", "base")
    with pytest.raises(InvalidInputError, match="found a directory"):
        read_camera(tmp_path, "eye", "base")


def test_links_that_are_not_below_the_base() -> None:
    with pytest.raises(InvalidInputError, match="link 'base' is not below 'eye' but below none"):
        links_from_urdf(urdf(), "base", "eye")
    circle = urdf(more='<joint name="b"><parent link="eye"/><child link="base"/></joint><link name="x"/>')
    with pytest.raises(InvalidInputError, match="link 'eye' is not below 'x' but below 'base', 'eye'"):
        links_from_urdf(circle, "eye", "x")
    with pytest.raises(InvalidInputError, match="camera 'eye' is not below the body 'hips' but below 'world', 'base'"):
        links_from_mjcf(mjcf(), "eye", "hips")


def test_only_long_lists_are_shortened() -> None:
    cameras = "".join(f'<camera name="c{index}"/>' for index in range(1000))
    with pytest.raises(InvalidInputError, match=r"'c0', .*'c29' and 970 more$"):
        links_from_mjcf(mjcf(cameras), "eye", "base")


def test_numbers_say_which_joint_is_moved_by_what() -> None:
    text = mjcf('<joint name="nod" axis="0 1 0"/><camera name="eye"/>')
    with_joint = [link for link in links_from_mjcf(text, "eye", "base", {"nod": "neck_pitch"}) if link.number]
    assert [(link.number, link.axis) for link in with_joint] == [("neck_pitch", (0.0, 1.0, 0.0))]
    assert not [link for link in links_from_mjcf(text, "eye", "base") if link.number]
    for read, described in ((links_from_mjcf, text), (links_from_urdf, urdf('type="revolute"'))):
        with pytest.raises(InvalidInputError, match=r"moved by one of hip_yaw, .*neck_pitch.*, got 'neck_pich'"):
            read(described, "eye", "base", {"nod": "neck_pich"})
        message = r"must move a joint of the robot description, got 'shake'; it has '(nod|neck)'"
        with pytest.raises(InvalidInputError, match=message):
            read(described, "eye", "base", {"shake": "neck_pitch"})


@pytest.mark.parametrize("text", ["<robot>" * 300_000, "<mujoco>" + " " * MAX_BYTES, "<robot>" + "<a>" * 500])
def test_huge_and_deep_descriptions_are_refused_before_they_are_read(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "robot.xml").write_text(text)
    begun = []
    start = robot_xml._Builder.start

    def counted(builder: robot_xml._Builder, tag: str, attributes: dict[str, str]) -> Any:
        begun.append(tag)
        return start(builder, tag, attributes)

    monkeypatch.setattr(robot_xml._Builder, "start", counted)
    with pytest.raises(InvalidInputError, match=r"200 levels of nested elements|may have 4194304 bytes"):
        read_camera(tmp_path / "robot.xml", "eye", "base")
    assert len(begun) <= MAX_DEPTH + 1


def test_entities_are_refused_before_they_grow() -> None:
    entities = "".join(f'<!ENTITY e{level + 1} "{f"&e{level};" * 10}">' for level in range(12))
    with pytest.raises(InvalidInputError, match="DOCTYPE"):
        links_from_urdf(f'<!DOCTYPE r [<!ENTITY e0 "x">{entities}]><robot>&e12;</robot>', "eye", "base")


@given(st.binary(max_size=60), st.sampled_from([b"", b"<mujoco>", b"<robot>", b"<?xml", b"<!DOCTYPE "]))
def test_no_text_fails_in_another_way(noise: bytes, start: bytes) -> None:
    for read in (links_from_mjcf, links_from_urdf):
        with pytest.raises(InvalidInputError):
            read(start + noise, "eye", "base")


def test_the_deepest_allowed_chain_is_read() -> None:
    depth = 190
    text = "<mujoco><worldbody>" + '<body name="base" pos="0 0 0.01">' * depth + '<camera name="eye"/>'
    links = links_from_mjcf(text + "</body>" * depth + "</worldbody></mujoco>", "eye", "base")
    assert by_links(links, {})[0] == pytest.approx([0, 0, 0.01 * (depth - 1)])
