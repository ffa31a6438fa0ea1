"""Driving a robot with joints of its own."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demos.driving.controls import Controls, Sticks
from demos.driving.drive import Drive
from demos.driving.session import Session, SessionConfig
from hwm_env.checkpoint import save
from hwm_env.robot import Joint, Robot
from tests.arm import ARM, COLUMNS
from tests.conftest import make_tiny_checkpoint


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    directory = tmp_path_factory.mktemp("arm")
    save(replace(make_tiny_checkpoint(), robot=ARM), directory)
    made = Drive(lambda: Session(SessionConfig(checkpoint=str(directory), task=None, start=1)))
    yield made
    made.close()


def test_only_joints_that_it_has_can_be_chosen() -> None:
    controls = Controls(ARM)
    chosen = []
    for _ in range(6):
        chosen.append(controls.joint)
        controls.press("next joint")
    assert (controls.limb, set(chosen)) == ("left arm", set(ARM.names) - {"gripper.pos"})
    assert chosen[5] == chosen[0] == "shoulder_lift.pos"
    controls.press("next limb")
    assert controls.limb == "left arm"
    controls.press("left arm up")
    command = controls.command({"joint +", "close hand"})
    assert (command.joints, command.gesture) == ({"left_shoulder_pitch": 1.0, "left_hand_closure": 1.0}, None)


def test_a_robot_without_limbs_only_drives() -> None:
    controls = Controls(Robot(name="cart", joints=(Joint(name="speed", number="linear_velocity"),)))
    for press in ("next limb", "next joint", "arms down"):
        controls.press(press)
    assert (controls.limb, controls.joint) == ("", "")
    command = controls.command({"joint +", "open hand"}, Sticks(forward=0.5))
    assert (command.forward, command.joints, command.gesture) == (0.5, {}, None)


def test_its_joints_follow_the_keys_and_the_rest_is_held(drive: Drive) -> None:
    before = drive.session.now.state
    chunk = np.tile(before, (17, 1))
    chunk[:, 8] = np.linspace(before[8], before[8] + 0.1, 17)
    after = drive.session.step(chunk).state
    np.testing.assert_allclose(after[8], before[8] + 0.1, atol=1e-6)
    np.testing.assert_allclose(np.delete(after, 8), np.delete(before, 8), atol=1e-6)


def test_the_window_names_its_joints(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    pygame: Any = pytest.importorskip("pygame")
    from demos.teleop.app import App
    from demos.teleop.pen import Pen

    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.display.init()
    pygame.font.init()
    pygame.joystick.init()
    written: list[str] = []
    write = Pen.write

    def noted(pen: Pen, text: str, *args: Any, **options: Any) -> None:
        written.append(text)
        write(pen, text, *args, **options)

    monkeypatch.setattr(Pen, "write", noted)
    app = App(drive, {}, None, Path())
    app._press("numbers")
    app._hud.draw(drive, app._picture())
    pygame.quit()
    assert {name.replace("_", " ") for name in ARM.names} <= set(written)
    assert not {"hip yaw", "linear velocity", "behind"} & set(written)
    assert "left arm: shoulder_lift.pos" in written
    assert "at 100% of the highest speed" in written


def test_the_page_names_its_joints(drive: Drive) -> None:
    pytest.importorskip("starlette")
    import asyncio

    from demos.serve.shared_drive import SharedDrive

    async def news() -> list[dict[str, Any]]:
        viewer = SharedDrive(drive, None, 2).enter()
        return [json.loads(one) for one in await viewer.news() if isinstance(one, str)]

    messages = {message["type"]: message for message in asyncio.run(news())}
    assert messages["hello"]["names"] == list(ARM.names)
    np.testing.assert_allclose(messages["hello"]["low"][:3], [0, -1.92, -1.75])
    np.testing.assert_allclose(messages["status"]["state"], drive.shown.snapshot.state[COLUMNS], atol=1e-4)
    assert (messages["status"]["figure"], messages["status"]["joint"]) == ({}, "shoulder_lift.pos")
