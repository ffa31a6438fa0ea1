"""The simulator of the shipped checkpoint on a GPU: nearly the CPU's tokens, and equal to itself to the bit."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hwm_env.checkpoint import Checkpoint
from hwm_env.decoding.config import HistoryMode
from hwm_env.decoding.noise import row_uniforms
from hwm_env.model.precision import Precision
from hwm_env.simulator import Clip, WorldSimulator

pytestmark = pytest.mark.cuda

ROWS = 8


def simulator_on(device: torch.device, **options: Any) -> WorldSimulator:
    return WorldSimulator.from_pretrained("room-64", device=device, **options)


def recorded_chunks(checkpoint: Checkpoint, starts: list[int], shift: int = 0) -> Tensor:
    """Returns chunks of the recordings, [B, 17, 25]: those of other starts, so that the worlds must react."""
    rows = [(start + shift) % len(checkpoint.starts) for start in starts]
    return checkpoint.starts.actions[rows, -1]


def share_equal(one: Clip, other: Clip) -> float:
    return (one.tokens.cpu() == other.tokens.cpu()).float().mean().item()


def assert_same_bits(one: Clip, other: Clip) -> None:
    for part in ("tokens", "log_prob", "entropy", "frames"):
        assert torch.equal(getattr(one, part), getattr(other, part)), part


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("history", ["window", "streaming"])
def test_tokens_are_those_of_the_cpu(
    device: torch.device, room_64: Checkpoint, history: HistoryMode, steps: int
) -> None:
    starts = list(range(ROWS))
    clips, poses = [], []
    for where in (torch.device("cpu"), device):
        simulator = simulator_on(where, history=history, decoding_steps=steps, temperature=0.0)
        state, clip = simulator.step(simulator.reset(starts, starts), recorded_chunks(room_64, starts, 3))
        assert clip.tokens.device.type == where.type
        clips.append(clip)
        poses.append(state.belief.poses.cpu())
    share = share_equal(*clips)
    print(f"\nhistory {history}, {steps} decoding steps: {share:.2%} of the tokens are those of the CPU")
    assert share >= 0.99
    assert torch.allclose(*poses, atol=1e-4)
    assert (clips[0].frames.int() - clips[1].frames.cpu().int()).abs().float().mean() < 1


def test_noise_is_that_of_the_cpu(device: torch.device) -> None:
    seeds, steps = (0, 7, 2**63 - 1), (0, 3, 1)
    there = row_uniforms(seeds, steps, (4, 192, 7), device)
    assert there.device.type == device.type
    assert torch.equal(there.cpu(), row_uniforms(seeds, steps, (4, 192, 7)))


@pytest.mark.parametrize("history", ["window", "streaming"])
def test_a_row_of_a_strict_batch_is_the_world_alone(
    device: torch.device, room_64: Checkpoint, history: HistoryMode
) -> None:
    simulator = simulator_on(device, strict=True, history=history, decoding_steps=3, temperature=0.7)
    starts = list(range(ROWS + 2))
    together, alone = simulator.reset(starts, starts), simulator.reset([4], [4])
    for step in range(2):
        chunks = recorded_chunks(room_64, starts, step + 1)
        together, clips = simulator.step(together, chunks)
        alone, clip = simulator.step(alone, chunks[4:5])
        for part in ("tokens", "log_prob", "entropy"):
            assert torch.equal(getattr(clips, part)[4], getattr(clip, part)[0]), f"{part} of step {step}"


def test_forks_with_equal_seeds_are_equal(device: torch.device, room_64: Checkpoint) -> None:
    simulator = simulator_on(device, decoding_steps=3, temperature=0.7)
    state, _ = simulator.step(simulator.reset([0], [5]), recorded_chunks(room_64, [1]))
    forks = simulator.fork(state, 4)
    _, clips = simulator.step(forks, recorded_chunks(room_64, [2] * 4))
    assert all(torch.equal(clips.tokens[row], clips.tokens[0]) for row in range(4))
    _, others = simulator.step(replace(forks, seeds=(1, 2, 3, 4)), recorded_chunks(room_64, [2] * 4))
    assert not torch.equal(others.tokens[0], others.tokens[1])


def test_the_same_steps_have_the_same_bits(device: torch.device, room_64: Checkpoint, worlds: int) -> None:
    simulator = simulator_on(device, decoding_steps=2, temperature=0.7)
    starts = [row % len(room_64.starts) for row in range(worlds)]
    first = simulator.reset(starts, range(worlds))
    played = []
    for _ in range(2):
        state = first
        for step in range(2):
            state, clip = simulator.step(state, recorded_chunks(room_64, starts, step))
        played.append(clip)
    assert_same_bits(*played)


@pytest.mark.parametrize("precision", ["auto", "bfloat16", "int8"])
@pytest.mark.parametrize("rows", [1, ROWS])
def test_smaller_number_types_play(device: torch.device, room_64: Checkpoint, precision: Precision, rows: int) -> None:
    starts = list(range(rows))
    clips = []
    for number_type in ("float32", precision):
        simulator = simulator_on(device, precision=number_type, temperature=0.0)
        state = simulator.reset(starts, starts)
        for step in range(2):
            state, clip = simulator.step(state, recorded_chunks(room_64, starts, step + 1))
            clips.append(clip)
    share = share_equal(clips[0], clips[2])
    print(f"\n{precision}, {rows} worlds: {share:.2%} of the first clip's tokens are those of float32")
    assert share > 0.8
    assert clips[3].log_prob.isfinite().all()


@pytest.mark.parametrize(("top_k", "top_p"), [(3, 1.0), (None, 0.9)])
@pytest.mark.parametrize("order", ["confidence", "random", "halton"])
def test_every_order_and_truncation_decodes(
    device: torch.device, room_64: Checkpoint, order: str, top_k: int | None, top_p: float
) -> None:
    simulator = simulator_on(device)
    simulator.decoding = replace(simulator.decoding, order=order, steps=3, temperature=0.8, top_k=top_k, top_p=top_p)
    _, clip = simulator.step(simulator.reset([0, 1], [0, 1]), recorded_chunks(room_64, [2, 3]))
    assert ((clip.tokens >= 0) & (clip.tokens < simulator.tokenizer.codebook_size)).all()
    assert clip.log_prob.isfinite().all()
