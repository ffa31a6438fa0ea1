"""Plays evaluations in Ray workers, on this machine or in a cluster (the extra "scale")."""

import socket
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

from hwm_env.checkpoint import load
from hwm_env.errors import HWMError, InvalidInputError, require_extra
from hwm_env.evaluation.policies.evaluation import EvaluationConfig, Job, PlayUnits
from hwm_env.evaluation.policies.loading import gather_policies
from hwm_env.evaluation.policies.player import Player, Unit
from hwm_env.evaluation.policies.trials import Case, Trial
from hwm_env.fields import Count, checked

MOST_ATTEMPTS: Final = 3
"""How often a unit is played whose worker dies, before the evaluation fails."""
TIMEOUT_S: Final = 5.0
"""How long to wait for a connection to a cluster."""
LOCAL: Final = "local"
"""Address that starts workers on this machine."""


class Worker:
    """Plays units in its own process, which loads the weights once."""

    def __init__(self, checkpoint: str, tokenizer: str | None, config: EvaluationConfig, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        policies = gather_policies(config.policies, config.tasks, allow_zips=config.allow_zips)
        self._player = Player(
            load(checkpoint, tokenizer=tokenizer), policies, config.max_steps, learned_as=config.learned_as
        )

    def play(self, unit: Unit, cases: Sequence[Case]) -> list[Trial]:
        """Plays an episode from each case; see `Player.play`."""
        return self._player.play(unit, cases)


def ray_workers(
    address: str, checkpoint: str, tokenizer: str | None, config: EvaluationConfig, count: int
) -> PlayUnits:
    """Connects to Ray, and returns a function that plays units there, one at a time in each worker.

    If a worker is lost, another one plays its unit again. The results equal those of one process, because worlds are
    strict and policies act for each row alone.

    Args:
        address: address of a Ray cluster, as host:port or ray://host:port, or LOCAL.
        checkpoint: name or directory of the learned world; every worker must find it.
        tokenizer: directory of its tokenizer, if the checkpoint does not include one.
        config: what is evaluated.
        count: number of workers.

    Raises:
        MissingExtraError: Ray is not installed.
        InvalidInputError: there is no cluster at the address, or `count` is below 1.
    """
    checked("workers", count, Count)
    ray = require_extra("ray", "scale")
    where = {"num_cpus": count, "include_dashboard": False} if address == LOCAL else {"address": address}
    try:
        if address != LOCAL:
            _check_reachable(address)
        ray.init(**where, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidInputError(
            f"no Ray cluster answers at {address!r} ({error}); start one with `ray start --head`, or use {LOCAL!r}"
        ) from error

    def play_units(jobs: Sequence[Job]) -> Iterator[tuple[Unit, list[Trial]]]:
        make = ray.remote(num_cpus=1)(Worker)
        idle = [make.remote(checkpoint, tokenizer, config, 1) for _ in range(min(count, len(jobs)))]
        try:
            yield from _play(ray, make, idle, deque(jobs), (checkpoint, tokenizer, config, 1))
        finally:
            ray.shutdown()

    return play_units


def _check_reachable(address: str) -> None:
    """Checks that the address accepts connections; Ray itself would try for minutes and then end the process.

    Raises:
        OSError: it does not.
        ValueError: it is no address.
    """
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator:
        raise ValueError("expected host:port")
    socket.create_connection((host, int(port)), timeout=TIMEOUT_S).close()


def _play(
    ray: Any, make: Any, idle: list[Any], waiting: deque[Job], arguments: tuple[Any, ...]
) -> Iterator[tuple[Unit, list[Trial]]]:
    attempts: Counter[Unit] = Counter()
    playing: dict[Any, tuple[Any, Job]] = {}
    while waiting or playing:
        while waiting and idle:
            worker, (unit, cases) = idle.pop(), waiting.popleft()
            attempts[unit] += 1
            playing[worker.play.remote(unit, cases)] = worker, (unit, cases)
        (done, *_), _ = ray.wait(list(playing))
        worker, job = playing.pop(done)
        unit, _ = job
        try:
            trials: list[Trial] = ray.get(done)
        except ray.exceptions.RayActorError as error:
            if attempts[unit] == MOST_ATTEMPTS:
                raise HWMError(f"{MOST_ATTEMPTS} workers were lost while playing {unit}: {error}") from error
            waiting.appendleft(job)
            idle.append(make.remote(*arguments))
            continue
        except ray.exceptions.RayTaskError as error:
            # Errors of a worker are raised as in one process.
            raise error.cause if isinstance(error.cause, HWMError) else error from error
        idle.append(worker)
        yield unit, trials
