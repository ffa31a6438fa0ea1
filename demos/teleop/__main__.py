"""Opens the driving window: `python -m demos.teleop`."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from demos.driving.arguments import chosen_session
from demos.driving.drive import Drive
from demos.driving.session import Session, SessionConfig
from hwm_env.arguments import Flat, parse_config
from hwm_env.envs.rendering import init_display
from hwm_env.errors import HWMError, require_extra
from hwm_env.fields import CheckedFields


@dataclass(frozen=True, kw_only=True, slots=True)
class TeleopConfig(CheckedFields):
    """Drives the robot in the learned world, in a window."""

    session: Flat[SessionConfig] = field(default_factory=SessionConfig)
    """The world that is driven in; on the command line, the task "none" is no task."""
    keys: Path | None = None
    """JSON file with other keys, such as {"forward": "up"}."""
    out: Path = Path("out/teleop")
    """Directory for pictures and films."""


def main(argv: list[str] | None = None) -> int:
    """Drives until the window is closed; returns the exit status, 2 for errors."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        config = parse_config(TeleopConfig, argv, program="python -m demos.teleop")
        session = chosen_session(config.session)
        pygame = require_extra("pygame", "demo")
        from demos.teleop.app import App
        from demos.teleop.keys import load_bindings

        # Only display and input: sound is not needed and may not be available.
        init_display(pygame, "`python -m demos.serve` drives in a browser; or run under xvfb-run")
        pygame.font.init()
        pygame.joystick.init()
        try:
            bindings = load_bindings(config.keys)
            drive = Drive(lambda: Session(session))
            try:
                App(drive, bindings, session.task, config.out).run()
            finally:
                drive.close()
        finally:
            pygame.quit()
    except HWMError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
