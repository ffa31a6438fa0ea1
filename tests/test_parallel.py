"""Parts computed side by side, against the same one after the other."""

import multiprocessing
import threading
from collections.abc import Iterator

import pytest
import torch

from hwm_env.errors import InvalidInputError
from hwm_env.parallel import side_by_side


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@torch.no_grad()
def test_parts_are_computed_alone_and_returned_in_order() -> None:
    meeting = threading.Barrier(2, timeout=60)

    def about(part: int) -> tuple[int, int, bool]:
        meeting.wait()  # for another part, computed at the same time
        return part, torch.get_num_threads(), torch.is_grad_enabled()

    assert side_by_side(about, range(6)) == [(part, 1, False) for part in range(6)]
    assert torch.get_num_threads() == 2


def test_with_gradients_they_are_computed_in_turn() -> None:
    weight = torch.ones(3, requires_grad=True)
    parts = side_by_side(lambda part: weight * part, [1.0, 2.0])
    torch.cat(parts).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [3, 3, 3]


@torch.no_grad()
def test_errors_reach_the_caller() -> None:
    def fail(part: int) -> int:
        raise InvalidInputError(f"part {part}")

    with pytest.raises(InvalidInputError, match="part 0"):
        side_by_side(fail, range(3))


def in_child() -> None:
    with torch.no_grad():
        torch.set_num_threads(2)
        assert side_by_side(lambda part: part + 1, [1, 2]) == [2, 3]


@torch.no_grad()
def test_a_forked_process_computes_too() -> None:
    side_by_side(lambda part: part, [1, 2])
    child = multiprocessing.get_context("fork").Process(target=in_child)
    child.start()
    child.join(60)
    assert child.exitcode == 0
