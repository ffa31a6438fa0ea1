"""Workers that hang, die or raise: results, fallbacks, errors, and no process left behind."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hwm_env.errors import HWMError, InvalidInputError
from hwm_env.reference import supervision
from hwm_env.reference.opengl import RenderingUnavailableError
from hwm_env.reference.supervision import Stage, supervise
from tests.reference.mischief import Task, double

pytestmark = pytest.mark.slow

STAGES = [Stage("2 workers", 2, {}), Stage("1 worker", 1, {}), Stage("2 healed workers", 2, {"HEALED": "yes"})]
PATIENCE_S = 3.0
"""Time for a worker to start on a busy machine; longer is not wrong, but makes the tests slower."""
MANY_STAGES = [Stage("2 workers", 2, {})] * 20
"""For tests with little patience: a worker that starts slowly is only replaced."""


@pytest.fixture(autouse=True)
def no_process_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []
    for file in tmp_path.glob("job_*"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text()), 0)


def results(tasks: Sequence[Task], stages: Sequence[Stage] = STAGES) -> list[int]:
    """Returns the results in the order of the tasks, each kept exactly once."""
    kept: dict[int, int] = {}

    def keep(index: int, result: int) -> None:
        assert index not in kept
        kept[index] = result

    supervise(double, tasks, stages, keep)
    return [kept[index] for index in range(len(tasks))]


def tries(folder: Path, number: int) -> int:
    return len(list(folder.glob(f"job_{number}_try_*")))


@pytest.mark.parametrize(
    ("mischief", "warning"),
    [
        ("killed", "was killed by signal 9"),
        ("exits", "ended with exit code 7"),
        ("raises", "failed: KeyError('a bug')"),
    ],
)
def test_a_failed_job_is_done_again_by_another_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mischief: str, warning: str
) -> None:
    tasks = [Task(tmp_path, number, mischief if number in (0, 3) else "") for number in range(6)]
    assert results(tasks) == [0, 2, 4, 6, 8, 10]
    assert [tries(tmp_path, number) for number in range(6)] == [2, 1, 1, 2, 1, 1]
    for number in (0, 3):
        first, second = ((tmp_path / f"job_{number}_try_{current}").read_text() for current in (1, 2))
        assert first != second
    assert [warning in message for message in caplog.messages] == [True, True]
    assert all("another one repeats its work" in message for message in caplog.messages)


def test_a_worker_that_hangs_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "_PATIENCE_S", PATIENCE_S)
    tasks = [Task(tmp_path, number, "hangs" if number == 1 else "") for number in range(6)]
    assert results(tasks, MANY_STAGES) == [0, 2, 4, 6, 8, 10]
    assert tries(tmp_path, 1) >= 2
    assert "did nothing for 3 s" in caplog.text


def test_time_in_which_the_parent_is_busy_does_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(supervision, "_PATIENCE_S", 2 * supervision._POLL_INTERVAL_S)
    worker = supervision._Worker(double, {})
    try:
        worker.give(0, Task(tmp_path, 0, "hangs"))
        assert worker.receive() is None, "not a sign of life"
        clock = iter([0.0, 1000.0, 1000.0, 1001.0])
        monkeypatch.setattr(supervision, "time", type("Clock", (), {"monotonic": lambda: next(clock)}))
        assert list(supervision._events([worker])) == []
        assert worker.silent_s == supervision._POLL_INTERVAL_S
    finally:
        worker.end()


def test_fewer_workers_then_software_after_three_failures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tasks = [Task(tmp_path, number, "killed", tries=99, heals="HEALED") for number in range(4)]
    assert results(tasks) == [0, 2, 4, 6]
    changes = [message.partition("continuing with ")[2] for message in caplog.messages if "continuing" in message]
    assert changes == ["1 worker", "2 healed workers"]
    assert len(caplog.messages) == 6
    assert "HEALED" not in os.environ


def test_finished_jobs_are_not_repeated_by_the_next_stage(tmp_path: Path) -> None:
    tasks = [Task(tmp_path, number, "exits" if number == 3 else "", tries=4) for number in range(4)]
    assert results(tasks) == [0, 2, 4, 6]
    assert tries(tmp_path, 3) == 5


def test_a_job_that_always_fails_is_given_up_while_others_finish(tmp_path: Path) -> None:
    tasks = [Task(tmp_path, number, "exits" if number == 0 else "", tries=99) for number in range(200)]
    with pytest.raises(HWMError, match="ended with exit code 7"):
        results(tasks, STAGES[:1])
    assert tries(tmp_path, 0) == 3


def test_the_error_says_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(HWMError) as caught:
        results([Task(tmp_path, 0, "exits", tries=99)])
    assert type(caught.value) is HWMError
    assert "ended with exit code 7" in str(caught.value)
    assert "tried with 2 workers, then 1 worker, then 2 healed workers" in str(caught.value)
    assert tries(tmp_path, 0) == 9


def test_missing_rendering_takes_one_try_a_stage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RenderingUnavailableError, match=r"no OpenGL here; tried with 2 workers, then 1 worker"):
        results([Task(tmp_path, 0, "no rendering", tries=99)])
    assert tries(tmp_path, 0) == 3
    assert len(caplog.messages) == 2


def test_a_worker_that_cannot_render_after_others_could_is_replaced(tmp_path: Path) -> None:
    tasks = [Task(tmp_path, number, "no rendering" if number == 1 else "", tries=2) for number in range(3)]
    assert results(tasks, [Stage("1 worker", 1, {})]) == [0, 2, 4]
    assert tries(tmp_path, 1) == 3


def test_invalid_input_is_not_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InvalidInputError, match="must be 16, got 15"):
        results([Task(tmp_path, 0, "hangs"), Task(tmp_path, 1, "invalid")])
    assert tries(tmp_path, 1) == 1
    assert caplog.messages == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk full")])
def test_workers_end_when_a_result_cannot_be_kept(tmp_path: Path, error: BaseException) -> None:
    def keep(index: int, result: int) -> None:
        raise error

    with pytest.raises((KeyboardInterrupt, OSError)):
        supervise(double, [Task(tmp_path, 0, "hangs"), Task(tmp_path, 1)], STAGES, keep)
