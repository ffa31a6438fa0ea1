"""Read-outs of known poses come from the kinematics that a learned world is made with."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwm_env.envs.kinematics import kinematics_of
from hwm_env.envs.learned import LearnedWorld
from hwm_env.robot import EVE
from hwm_env.simulator import WorldSimulator
from hwm_env.types import Float64Array


def test_a_robot_of_ones_own(tiny_checkpoint: Path) -> None:
    asked, of_eve = [], kinematics_of(EVE)
    assert of_eve is not None

    def kinematics(base_poses: npt.ArrayLike, numbers: npt.ArrayLike) -> Float64Array:
        asked.append((base_poses, numbers))
        return of_eve(base_poses, numbers) + np.arange(15)

    simulator = WorldSimulator.from_pretrained(tiny_checkpoint)
    own, usual = LearnedWorld(simulator, kinematics), LearnedWorld(simulator)
    history = own.start(1)
    readouts = [world.begin([history], [0])[0].readout for world in (own, usual)]
    assert readouts[0] is not None
    assert readouts[1] is not None
    np.testing.assert_allclose(readouts[0].right_hand_m - readouts[1].right_hand_m, [12, 13, 14], rtol=1e-5)
    ((pose, numbers),) = asked
    np.testing.assert_array_equal(pose, history.pose[None])
    np.testing.assert_array_equal(numbers, history.actions[-1, -1:])
