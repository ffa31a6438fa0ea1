"""The wheel of a shared drive, by a clock that the test controls."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demos.driving.command import DriveCommand
from demos.driving.controls import Sticks
from demos.driving.drive import Drive
from demos.driving.session import Session, SessionConfig
from demos.serve.messages import Hold, Press, Wheel
from demos.serve.shared_drive import FREED_AFTER_S, STOPPED_AFTER_S, SharedDrive, Viewer

TICK_S = 1 / 16
"""A power of two, so that sums of it are exact."""
FORWARD = Hold(frozenset({"forward"}), Sticks(turn=0.5))


class Scene:
    """A shared drive with a driver and another viewer."""

    def __init__(self, drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time_s = 50.0
        self.shared = SharedDrive(drive, None, 2, clock=lambda: self.time_s)
        self.commands: list[DriveCommand] = []
        monkeypatch.setattr(drive, "command", self.commands.append)
        # The effects of commands are tested elsewhere.
        monkeypatch.setattr(drive, "tick", lambda: False)
        self.driver, self.viewer = self.shared.enter(), self.shared.enter()
        self.shared.obey(self.driver, Wheel(take=True))

    def pass_s(self, seconds: float) -> DriveCommand:
        """Lets time pass, and returns the command at its end."""
        for _ in range(round(seconds / TICK_S)):
            self.time_s += TICK_S
            self.shared.tick()
        return self.commands[-1]

    def wheel(self, viewer: Viewer) -> str:
        """Returns the role in the newest status."""

        async def newest() -> dict[str, Any]:
            messages = [json.loads(news) for news in await viewer.news() if isinstance(news, str)]
            return next(message for message in messages if message["type"] == "status")

        self.shared._tell_status()
        return str(asyncio.run(newest())["wheel"])


@pytest.fixture(scope="module")
def drive(tiny_checkpoint: Path) -> Iterator[Drive]:
    made = Drive(lambda: Session(SessionConfig(checkpoint=str(tiny_checkpoint), task=None, start=1)))
    yield made
    made.close()


@pytest.fixture
def scene(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(drive, monkeypatch)


def moves(command: DriveCommand) -> bool:
    return bool(command.forward or command.turn or command.joints)


def test_silence_stops_the_robot_and_then_frees_the_wheel(scene: Scene) -> None:
    scene.shared.obey(scene.driver, FORWARD)
    assert moves(scene.pass_s(STOPPED_AFTER_S))
    assert not moves(scene.pass_s(TICK_S))
    assert scene.wheel(scene.driver) == "driver"
    scene.pass_s(FREED_AFTER_S - STOPPED_AFTER_S - TICK_S)
    assert scene.wheel(scene.driver) == "driver"
    scene.pass_s(TICK_S)
    assert scene.wheel(scene.driver) == scene.wheel(scene.viewer) == "free"
    scene.shared.obey(scene.viewer, Wheel(take=True))
    assert scene.wheel(scene.viewer) == "driver"
    # Late messages of the former driver are ignored.
    scene.shared.obey(scene.driver, FORWARD)
    assert not moves(scene.pass_s(TICK_S))


@pytest.mark.parametrize("say", [FORWARD, Hold(frozenset(), Sticks()), Press("slower")], ids=str)
def test_who_goes_on_speaking_keeps_the_wheel(scene: Scene, say: Hold | Press) -> None:
    for _ in range(20):
        scene.shared.obey(scene.driver, say)
        assert moves(scene.pass_s(STOPPED_AFTER_S)) == (say == FORWARD)
    assert scene.wheel(scene.driver) == "driver"


def test_a_driver_who_comes_back_in_time_drives_on(scene: Scene) -> None:
    scene.shared.obey(scene.driver, FORWARD)
    assert not moves(scene.pass_s(1.5))
    scene.shared.obey(scene.driver, FORWARD)
    assert moves(scene.pass_s(STOPPED_AFTER_S))


def test_others_do_not_speak_for_the_driver(scene: Scene) -> None:
    for _ in range(round(3 / TICK_S)):
        scene.shared.obey(scene.viewer, FORWARD)
        scene.pass_s(TICK_S)
    assert scene.wheel(scene.viewer) == "free"


@pytest.mark.parametrize("stall_s", [0.5, 30.0])
def test_stalls_of_the_server_do_not_count_as_silence(scene: Scene, stall_s: float) -> None:
    scene.shared.obey(scene.driver, FORWARD)
    scene.pass_s(0.5)
    scene.time_s += stall_s
    assert moves(scene.pass_s(TICK_S))
    assert scene.wheel(scene.driver) == "driver"
