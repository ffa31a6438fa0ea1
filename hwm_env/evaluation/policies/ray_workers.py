"""Evaluations spread over Ray workers, in this machine or in a cluster (the extra "scale")."""

import socket
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

from hwm_env.checkpoint import load
from hwm_env.errors import HWMError, InvalidInputError, require_extra
from hwm_env.evaluation.policies.evaluation import EvaluationConfig, PlayUnits
from hwm_env.evaluation.policies.player import Player, Unit, gather_policies
from hwm_env.evaluation.policies.trials import Case, Trial
from hwm_env.fields import Count, checked

MOST_ATTEMPTS: Final = 3
"""At a unit whose worker dies; then the unit is what kills it."""
TIMEOUT_S: Final = 5.0
"""Within which a cluster must answer."""
LOCAL: Final = "local"
"""The address that starts workers on this machine."""


class Worker:
    """Plays units in a process of its own; loads weights once."""

    def __init__(self, checkpoint: str, tokenizer: str | None, config: EvaluationConfig, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        policies = gather_policies(config.policies, config.tasks, allow_zips=config.allow_zips)
        self._player = Player(load(checkpoint, tokenizer=tokenizer), policies, config.max_steps, seen=config.seen)

    def play(self, unit: Unit, cases: Sequence[Case]) -> list[Trial]:
        """See Player."""
        return self._player.play(unit, cases)


def ray_workers(
    address: str, checkpoint: str, tokenizer: str | None, config: EvaluationConfig, count: int
) -> PlayUnits:
    """Workers that each play one unit at a time.

    What a worker was playing when it was lost is played again by another one. The results are those of one process:
    worlds are strict, and policies do not look at other worlds.

    Args:
        address: of a Ray cluster, as host:port or ray://host:port, or LOCAL.
        checkpoint: name or directory of the learned world; every worker must find it.
        tokenizer: where its tokenizer is, if it does not hold its own.
        config: what is evaluated.
        count: workers.

    Raises:
        MissingExtraError: Ray is not installed.
        InvalidInputError: nobody answers at the address, or no worker is asked for.
    """
    checked("workers", count, Count)
    ray = require_extra("ray", "scale")
    where = {"num_cpus": count, "include_dashboard": False} if address == LOCAL else {"address": address}
    try:
        if address != LOCAL:
            _knock(address)
        ray.init(**where, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidInputError(
            f"no Ray cluster answers at {address!r} ({error}); start one with `ray start --head`, or use {LOCAL!r}"
        ) from error

    def play_units(units: Sequence[Unit], cases: Sequence[Case]) -> Iterator[tuple[Unit, list[Trial]]]:
        make = ray.remote(num_cpus=1)(Worker)
        idle = [make.remote(checkpoint, tokenizer, config, 1) for _ in range(min(count, len(units)))]
        try:
            yield from _play(ray, make, idle, deque(units), cases, (checkpoint, tokenizer, config, 1))
        finally:
            ray.shutdown()

    return play_units


def _knock(address: str) -> None:
    """Looks whether anybody is there: Ray itself tries for minutes, and then ends the process.

    Raises:
        OSError: nobody is.
        ValueError: that is no address.
    """
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator:
        raise ValueError("expected host:port")
    socket.create_connection((host, int(port)), timeout=TIMEOUT_S).close()


def _play(
    ray: Any, make: Any, idle: list[Any], waiting: deque[Unit], cases: Sequence[Case], arguments: tuple[Any, ...]
) -> Iterator[tuple[Unit, list[Trial]]]:
    attempts: Counter[Unit] = Counter()
    playing: dict[Any, tuple[Any, Unit]] = {}
    while waiting or playing:
        while waiting and idle:
            worker, unit = idle.pop(), waiting.popleft()
            attempts[unit] += 1
            playing[worker.play.remote(unit, cases)] = worker, unit
        (done, *_), _ = ray.wait(list(playing))
        worker, unit = playing.pop(done)
        try:
            trials: list[Trial] = ray.get(done)
        except ray.exceptions.RayActorError as error:
            if attempts[unit] == MOST_ATTEMPTS:
                raise HWMError(f"{MOST_ATTEMPTS} workers were lost while playing {unit}: {error}") from error
            waiting.appendleft(unit)
            idle.append(make.remote(*arguments))
            continue
        except ray.exceptions.RayTaskError as error:
            # What went wrong in the worker is what went wrong.
            raise error.cause if isinstance(error.cause, HWMError) else error from error
        idle.append(worker)
        yield unit, trials
