"""Serves a drive to browsers: run `python -m demos.serve`, and open the address that it prints."""

import logging
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tyro.conf import UseAppendAction

from demos.driving.arguments import chosen_session
from demos.driving.drive import Drive
from demos.driving.session import Session, SessionConfig
from hwm_env.arguments import Flat, parse_config
from hwm_env.errors import HWMError, require_extra
from hwm_env.fields import CheckedFields
from hwm_env.service.network import listening, needed_token, url_of


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeConfig(CheckedFields):
    """Drives the robot in the learned world, in a browser."""

    session: Flat[SessionConfig] = field(default_factory=SessionConfig)
    """The world that is driven in; on the command line, the task "none" is no task."""
    host: str = "127.0.0.1"
    """Address to listen at; any other than this machine's own needs a token."""
    port: int = 8765
    """Port to listen at; 0 takes a free one."""
    name: UseAppendAction[tuple[str, ...]] = ()
    """Host name by which browsers reach the server, if it is not this machine's own."""
    token: str | None = None
    """Secret that browsers must send; by default a random one if one is needed."""
    viewers: int = 8
    """How many browsers may watch."""


def main(argv: list[str] | None = None) -> int:
    """Serves until it is interrupted; returns the exit status, 2 for errors."""
    logging.basicConfig(level=logging.WARNING)
    try:
        config = parse_config(ServeConfig, argv, program="python -m demos.serve")
        session = chosen_session(config.session)
        require_extra("uvicorn", "serve")
        require_extra("websockets", "serve")
        require_extra("starlette", "serve")
        require_extra("PIL", "serve")
        token = needed_token(config.host, config.token)
        with listening(config.host, config.port) as listener:
            drive = Drive(lambda: Session(session))
            try:
                serve(drive, session.task, config.viewers, token, listener, [config.host, *config.name])
            finally:
                drive.close()
    except HWMError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def serve(
    drive: Drive, task: str | None, viewers: int, token: str | None, listener: socket.socket, names: Sequence[str]
) -> None:
    """Serves a drive until it is interrupted.

    Args:
        drive: the drive.
        task: name of its task, to show.
        viewers: largest number of viewers.
        token: token that viewers must send; `None`: none.
        listener: bound socket.
        names: further names of the server.
    """
    import uvicorn

    from demos.serve.app import make_app
    from demos.serve.messages import LARGEST_BYTES
    from demos.serve.shared_drive import SharedDrive
    from hwm_env.service.guard import KnownHosts

    print(f"{url_of(listener)}{'' if token is None else f'?token={token}'}", flush=True)
    server = uvicorn.Config(
        make_app(SharedDrive(drive, task, viewers), token, KnownHosts.of(listener, names)),
        ws_max_size=LARGEST_BYTES,
        # Its own configuration would close all handlers of this process, and some of them their streams.
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
    )
    # uvicorn raises the interrupt again after its shutdown.
    with suppress(KeyboardInterrupt):
        uvicorn.Server(server).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
