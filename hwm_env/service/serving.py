"""`hwm-env serve`: offers a checkpoint to programs on this machine, or on others with a token."""

import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt, Le

from hwm_env.arguments import CheckpointNameArgument
from hwm_env.decoding.config import HistoryMode, Order
from hwm_env.engine.base import Backend
from hwm_env.envs.config import simulator_of
from hwm_env.envs.learned import LearnedWorld
from hwm_env.errors import require_extra
from hwm_env.fields import CheckedFields, Count, CountOrZero, NotNegative
from hwm_env.model.precision import Precision
from hwm_env.remote.messages import MOST_ROWS, Port
from hwm_env.reporting import PYTHON, Caller
from hwm_env.service.network import listening, needed_token, url_of
from hwm_env.simulator import SLICE

if TYPE_CHECKING:
    import uvicorn

MOST_WAITING = 1024
"""Computations that may wait."""
MOST_CONNECTIONS = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceConfig(CheckedFields):
    """What is served, where, and within which limits."""

    checkpoint: CheckpointNameArgument = "room-64"
    """Name, directory or Hugging Face id."""
    tokenizer: str | None = None
    """Directory of its tokenizer, for a checkpoint that does not hold its own."""
    host: str = "127.0.0.1"
    """Address to listen at; any other than this machine's own needs a token."""
    port: Port = 8766
    """Port to listen at; 0 takes a free one."""
    name: tuple[str, ...] = ()
    """Host names by which clients reach the service, if they are not this machine's own."""
    token: str | None = None
    """Secret that clients must send; by default a random one if one is needed."""
    strict: bool = True
    """Whether a row equals the same row alone to the bit, whatever else is computed at the time."""
    batch_rows: Annotated[int, Ge(1), Le(MOST_ROWS)] = 4 * SLICE
    """Most rows that are advanced together."""
    batch_wait_ms: Annotated[float, Ge(0), Le(1000)] = 3.0
    """How long a step waits for others that may join its batch."""
    sessions: Count = 64
    """Most open sessions; one of `room-64` takes 8 MB."""
    expires_s: Annotated[float, Gt(0)] = 600.0
    """Seconds without a request after which a session is closed."""
    requests_a_second: Count = 500
    """Most requests of one address within a second."""
    decoding_steps: CountOrZero | None = None
    """Decoding steps a clip; by default the checkpoint's."""
    temperature: NotNegative | None = None
    """Temperature of the sampling; by default the checkpoint's."""
    order: Order | None = None
    """Order in which tokens are revealed; by default the checkpoint's."""
    history: HistoryMode | None = None
    """Whether the whole history or only its newest clip is encoded at each step; by default the checkpoint's."""
    precision: Precision = "float32"
    """Number type of the model's matrix products."""
    backend: Backend = "torch"
    """What computes."""
    device: str = "auto"
    """Device of the model: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""

    def make_world(self) -> LearnedWorld:
        """Makes the world that is served.

        Raises:
            InvalidInputError: decoding settings that the model does not support.
            CheckpointError: the checkpoint is unknown or damaged.
        """
        return LearnedWorld(simulator_of(self))


def serve(config: ServiceConfig, caller: Caller = PYTHON) -> None:
    """Offers a checkpoint to other programs by HTTP, until it is interrupted (needs the serve extra).

    Raises:
        InvalidInputError: a setting is not supported, or the address is not available.
        CheckpointError: the checkpoint is unknown or damaged.
        MissingExtraError: an optional dependency is not installed.
    """
    for module in ("uvicorn", "starlette", "PIL"):
        require_extra(module, "serve")
    token = needed_token(config.host, config.token)
    with listening(config.host, config.port) as listener:
        server = make_server(config, listener, token)
        caller.show(f"{url_of(listener)}{'' if token is None else f' token {token}'}")
        # uvicorn raises the interrupt again after its shutdown.
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def make_server(config: ServiceConfig, listener: socket.socket, token: str | None) -> "uvicorn.Server":
    """Makes the server.

    Args:
        config: what it serves.
        listener: bound socket, for its names.
        token: token that clients must send; `None`: none.

    Raises:
        InvalidInputError: a setting is not supported.
        CheckpointError: the checkpoint is unknown or damaged.
    """
    import uvicorn

    from hwm_env.service.application import make_app
    from hwm_env.service.batching import Batcher
    from hwm_env.service.endpoints import Service
    from hwm_env.service.guard import KnownHosts
    from hwm_env.service.limits import ClientRates
    from hwm_env.service.metrics import Metrics
    from hwm_env.service.predictions import Predictions
    from hwm_env.service.sessions import Sessions

    world, metrics = config.make_world(), Metrics()
    batcher = Batcher(
        world.step,
        most_rows=config.batch_rows,
        wait_s=config.batch_wait_ms / 1e3,
        most_waiting=MOST_WAITING,
        on_batch=metrics.count_batch,
    )
    app = make_app(
        Service(Predictions(world, batcher), Sessions(config.sessions, config.expires_s)),
        token,
        KnownHosts.of(listener, [config.host, *config.name]),
        ClientRates(config.requests_a_second),
        metrics,
    )
    return uvicorn.Server(
        uvicorn.Config(
            app,
            # Its own configuration would close all handlers of this process, and some of them their streams.
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=5,
        )
    )
