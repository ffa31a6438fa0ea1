"""Errors of robot descriptions: files, XML, names of cameras, links and numbers."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwm_env.errors import InvalidInputError
from hwm_env.reference.mujoco_model import mujoco_xml
from hwm_env.scene import robot_xml
from hwm_env.scene.robot_description import limb_from_mjcf, links_from_mjcf, links_from_urdf, read_camera, read_limb
from hwm_env.scene.robot_xml import MAX_BYTES, MAX_DEPTH
from tests.scene.robot_descriptions import by_links, mjcf, urdf


def test_a_limb_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="has no body 'tail'; it has 'base', 'shank'"):
        limb_from_mjcf(mujoco_xml(), "tail", "base")
    with pytest.raises(
        InvalidInputError, match="body 'head' is not below the body 'left_hand' but below 'world', 'base'"
    ):
        limb_from_mjcf(mujoco_xml(), "head", "left_hand")
    with pytest.raises(InvalidInputError, match=r"nowhere\.xml, found nothing; give the path of an MJCF or URDF file"):
        read_limb(tmp_path / "nowhere.xml", "hand", "base")


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


def test_numbers_map_joints_to_their_numbers() -> None:
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


def test_entities_are_refused_before_they_are_expanded() -> None:
    entities = "".join(f'<!ENTITY e{level + 1} "{f"&e{level};" * 10}">' for level in range(12))
    with pytest.raises(InvalidInputError, match="DOCTYPE"):
        links_from_urdf(f'<!DOCTYPE r [<!ENTITY e0 "x">{entities}]><robot>&e12;</robot>', "eye", "base")


@given(st.binary(max_size=60), st.sampled_from([b"", b"<mujoco>", b"<robot>", b"<?xml", b"<!DOCTYPE "]))
def test_any_text_fails_with_an_invalid_input_error(noise: bytes, start: bytes) -> None:
    for read in (links_from_mjcf, links_from_urdf):
        with pytest.raises(InvalidInputError):
            read(start + noise, "eye", "base")


def test_the_deepest_allowed_chain_is_read() -> None:
    depth = 190
    text = "<mujoco><worldbody>" + '<body name="base" pos="0 0 0.01">' * depth + '<camera name="eye"/>'
    links = links_from_mjcf(text + "</body>" * depth + "</worldbody></mujoco>", "eye", "base")
    assert by_links(links, {})[0] == pytest.approx([0, 0, 0.01 * (depth - 1)])
