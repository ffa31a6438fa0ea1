import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from hwm_env.errors import InvalidInputError
from hwm_env.model.presets import ROOM_64, TINY
from hwm_env.model.readout import Readout, ReadoutConfig, from_raw, to_raw
from hwm_env.reference import robot
from hwm_env.reference.body import quantities

SMALL = ReadoutConfig(fsq_levels=TINY.fsq_levels, grid_size=TINY.grid_size, width=8, hidden=8)


def true_quantities(count: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    poses = rng.uniform([-4, -4, -np.pi], [4, 4, np.pi], (count, 3))
    return torch.from_numpy(quantities(poses, rng.uniform(robot.ACTION_LOW, robot.ACTION_HIGH, (count, 25)))).float()


def test_raw_outputs_convert_to_read_outs() -> None:
    truth = true_quantities(50)
    torch.testing.assert_close(from_raw(to_raw(truth, 4.0), 4.0), truth, atol=1e-5, rtol=0)


def test_parts_are_in_the_frame_of_the_base() -> None:
    """By hand: at (1, 2) looking north, what is at (0.5, 3) is 1 m ahead and 0.5 m to the left."""
    up = [0.0, 0.0, 1.0]
    truth = torch.tensor([[1.0, 2.0, math.pi / 2, 1.0, 2.0, 1.3, *up, 0.5, 3.0, 0.7, 1.5, 1.0, 0.6]])
    expected = torch.tensor([[0.5, 1.0, 0.0, 1.0, 0.0, 0.0, 1.3, *up, 1.0, 0.5, 0.7, -1.0, -0.5, 0.6]])
    torch.testing.assert_close(to_raw(truth, 2.0), expected, atol=1e-6, rtol=0)


def test_lengths_of_directions_do_not_matter() -> None:
    raw = to_raw(true_quantities(5), 1.0)
    stretched = raw.clone()
    stretched[:, 2:4] *= 3.0
    stretched[:, 7:10] *= 0.2
    torch.testing.assert_close(from_raw(stretched, 1.0), from_raw(raw, 1.0))


def test_it_reads_every_token_and_gives_finite_numbers() -> None:
    torch.manual_seed(0)
    readout = Readout(SMALL).eval()
    tokens = torch.randint(TINY.codebook_size, (6, 3, *TINY.grid_size), dtype=torch.int32)
    read = readout.read(tokens)
    assert read.shape == (6, 15)
    assert read.dtype == torch.float32
    assert read.isfinite().all()
    torch.testing.assert_close(read[:, 6:9].norm(dim=1), torch.ones(6))
    assert (read[:, 2].abs() <= math.pi + 1e-6).all()
    torch.testing.assert_close(readout.read(tokens[2:3])[0], read[2], atol=1e-5, rtol=1e-5)
    for latent in range(3):
        changed = tokens.clone()
        changed[:, latent, 0, 0] = (changed[:, latent, 0, 0] + 1) % TINY.codebook_size
        assert not torch.equal(readout.read(changed), read)


def test_dropout_is_off_after_training() -> None:
    torch.manual_seed(0)
    readout = Readout(replace(SMALL, dropout=0.5))
    tokens = torch.zeros(1, 3, *TINY.grid_size, dtype=torch.int32)
    assert not torch.equal(readout.train()(tokens), readout(tokens))
    assert torch.equal(readout.eval()(tokens), readout(tokens))


def test_the_readout_of_room_64_is_small() -> None:
    readout = Readout(ReadoutConfig(fsq_levels=ROOM_64.fsq_levels, grid_size=ROOM_64.grid_size))
    assert sum(2 * parameter.numel() for parameter in readout.parameters()) < 3.5e6


@pytest.mark.parametrize(
    ("field", "value"), [("width", 12), ("width", 0), ("hidden", 0), ("dropout", 1.0), ("dropout", -0.1)]
)
def test_shapes_that_cannot_be_are_refused(field: str, value: float) -> None:
    with pytest.raises(InvalidInputError, match=field):
        replace(SMALL, **{field: value})
