"""Checks whether data sets are of one robot."""

from hwm_env.data.format import METADATA_FILE
from hwm_env.data.reader import Dataset
from hwm_env.errors import DatasetError
from hwm_env.robot import Joint, Robot


def check_robot(robot: Robot, *datasets: Dataset) -> None:
    """Checks that data sets are of this robot, with the same joints in the same order and the same limits.

    Raises:
        DatasetError: one is not; names its file and the first difference.
    """
    for dataset in datasets:
        if dataset.metadata.robot != robot:
            raise DatasetError(
                f"{dataset.directory / METADATA_FILE}: {_difference(dataset.metadata.robot, robot)}; give data of "
                f"{robot.name} that were tokenised with the same mapping"
            )


def _difference(found: Robot, expected: Robot) -> str:
    """Describes the first difference of two robots."""
    if found.name != expected.name:
        return f"robot: expected {expected.name}, got {found.name}"
    for index, (of_found, of_expected) in enumerate(zip(found.joints, expected.joints, strict=False)):
        if of_found != of_expected:
            return f"robot.joints[{index}]: expected {_shown(of_expected)}, got {_shown(of_found)}"
    return f"robot.joints: expected {len(expected.joints)} joints, got {len(found.joints)}"


def _shown(joint: Joint) -> str:
    limits = "" if joint.low is None else f" from {joint.low:g} to {joint.high:g}"
    return f"{joint.name} ({joint.number}{limits})"
