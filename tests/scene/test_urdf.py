"""Chains read from URDF, against MuJoCo, which compiles the same text."""

from pathlib import Path

import mujoco
import numpy as np
import pytest

from hwm_env.errors import InvalidInputError
from hwm_env.scene.robot_description import links_from_urdf, read_camera, read_limb
from hwm_env.types import ACTION_NAMES
from tests.scene.robot_descriptions import by_links, by_mujoco, in_base, urdf, words


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


@pytest.mark.slow
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
