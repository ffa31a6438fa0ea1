"""Held-out episodes of robots that stand still."""

import torch
from torch import Tensor

from hwm_env.reference import robot

CLIPS_OF_EPISODE = 10
AT_THE_WALL = (3.0, 0.0, 0.0)
IN_THE_OPEN = (-2.0, -1.0, 0.0)


class Standing:
    """Episodes in each of which the robot stands still at one place."""

    def __init__(self, *places: tuple[float, float, float], **numbers: float) -> None:
        self._poses = torch.tensor(places)[:, None].expand(-1, CLIPS_OF_EPISODE, -1)
        pose = torch.from_numpy(robot.pose(numbers))
        self.actions = pose.expand(len(places), CLIPS_OF_EPISODE, 17, 25)
        self.tokens = torch.zeros(len(places), CLIPS_OF_EPISODE, 3, 8, 8, dtype=torch.int32)

    def __len__(self) -> int:
        return len(self.tokens)

    def poses(self) -> Tensor:
        return self._poses
