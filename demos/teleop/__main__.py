"""Opens the driving window: `python -m demos.teleop`."""

import argparse
import os
import sys
from pathlib import Path

from demos.driving.arguments import add_arguments, session_config
from demos.driving.drive import Drive
from demos.driving.session import Session
from hwm_env.envs.rendering import init_display
from hwm_env.errors import HWMError, require_extra


def main(argv: list[str] | None = None) -> int:
    """Drives until the window is closed; returns the exit status, 2 for errors."""
    parser = argparse.ArgumentParser(description="Drive the robot in the learned world.")
    add_arguments(parser)
    parser.add_argument("--keys", type=Path, help='JSON file with other keys, such as {"forward": "up"}')
    parser.add_argument("--out", type=Path, default=Path("out/teleop"), help="directory for pictures and films")
    arguments = parser.parse_args(argv)
    config = session_config(arguments)
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        pygame = require_extra("pygame", "demo")
        from demos.teleop.app import App
        from demos.teleop.keys import load_bindings

        # Only display and input: sound is not needed and may not be available.
        init_display(pygame, "`python -m demos.serve` drives in a browser; or run under xvfb-run")
        pygame.font.init()
        pygame.joystick.init()
        try:
            bindings = load_bindings(arguments.keys)
            drive = Drive(lambda: Session(config))
            try:
                App(drive, bindings, config.task, arguments.out).run()
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
