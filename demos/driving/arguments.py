"""What all command lines of a drive have in common."""

from dataclasses import replace

from demos.driving.session import SessionConfig


def chosen_session(session: SessionConfig) -> SessionConfig:
    """Returns the session that a command line asks for, on which the task "none" is no task."""
    return replace(session, task=None) if session.task == "none" else session
