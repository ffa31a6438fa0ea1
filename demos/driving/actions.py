"""Carries out the actions of keys and buttons on a drive."""

from typing import Final

from demos.driving.drive import Drive
from demos.driving.session import Session

TEMPERATURE_STEP: Final = 0.1


def perform(drive: Drive, action: str) -> None:
    """Carries out an action of `demos.driving.controls.PRESSED`; ignores those of the window alone."""
    decoding = drive.session.decoding
    match action:
        case "pause":
            drive.paused = not drive.paused
        case "step":
            drive.step_once()
        case "rewind":
            before = drive.shown.snapshot.step - 1
            drive.ask(lambda session: session.rewind(before))
        case "reset":
            drive.ask(lambda session: session.reset(session.start, session.seed))
        case "next start":
            drive.ask(lambda session: session.reset((session.start + 1) % session.num_starts, session.seed))
        case "reseed":
            drive.ask(lambda session: session.reseed(session.seed + 1))
        case "worlds":
            drive.ask(Session.show_next)
        case "fewer passes" | "more passes":
            steps = max(1, decoding.steps + (1 if action == "more passes" else -1))
            drive.change(lambda session: session.decode(steps=steps))
        case "cooler" | "hotter":
            change = TEMPERATURE_STEP if action == "hotter" else -TEMPERATURE_STEP
            temperature = max(0.0, round(decoding.temperature + change, 2))
            drive.change(lambda session: session.decode(temperature=temperature))
