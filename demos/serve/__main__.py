"""Serves a drive to browsers: run `python -m demos.serve`, and open the address that it prints."""

import argparse
import ipaddress
import logging
import secrets
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

from demos.driving.arguments import add_arguments, session_config
from demos.driving.drive import Drive
from demos.driving.session import Session
from hwm_env.errors import HWMError, InvalidInputError, require_extra


def main(argv: list[str] | None = None) -> int:
    """Serves until it is interrupted; returns the exit status, 2 for errors."""
    parser = argparse.ArgumentParser(description="Drive the robot in the learned world, in a browser.")
    add_arguments(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; any other than this needs a token")
    parser.add_argument("--port", type=int, default=8765, help="0 takes a free one")
    parser.add_argument(
        "--name", action="append", default=[], help="host name under which browsers reach it, if not this machine's own"
    )
    parser.add_argument("--token", help="what browsers must know; made up where one is needed")
    parser.add_argument("--viewers", type=int, default=8, help="how many may watch")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING)
    config = session_config(arguments)
    try:
        require_extra("uvicorn", "serve")
        require_extra("websockets", "serve")
        require_extra("starlette", "serve")
        require_extra("PIL", "serve")
        token = arguments.token or (None if is_loopback(arguments.host) else secrets.token_urlsafe(16))
        with listening(arguments.host, arguments.port) as listener:
            drive = Drive(lambda: Session(config))
            try:
                serve(drive, config.task, arguments.viewers, token, listener, [arguments.host, *arguments.name])
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
    from demos.serve.guard import KnownHosts
    from demos.serve.messages import LARGEST_BYTES
    from demos.serve.shared_drive import SharedDrive

    host, port, *_ = listener.getsockname()
    address = f"[{host}]" if ":" in host else host
    print(f"http://{address}:{port}/{'' if token is None else f'?token={token}'}", flush=True)
    server = uvicorn.Config(
        make_app(SharedDrive(drive, task, viewers), token, KnownHosts.of(listener, names)),
        ws_max_size=LARGEST_BYTES,
        log_level="warning",
        access_log=False,
        server_header=False,
    )
    # uvicorn raises the interrupt again after its shutdown.
    with suppress(KeyboardInterrupt):
        uvicorn.Server(server).run(sockets=[listener])


def listening(host: str, port: int) -> socket.socket:
    """Returns a socket that listens at an address.

    Raises:
        InvalidInputError: the address is not available.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise InvalidInputError(
            f"cannot listen at {host}:{port} ({error}); choose another --port, 0 takes a free one"
        ) from error


def is_loopback(host: str) -> bool:
    """Checks whether an address can be reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
