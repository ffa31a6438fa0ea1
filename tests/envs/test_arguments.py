"""The typed keyword arguments of the environments are the fields of EnvConfig."""

import inspect
from dataclasses import fields
from typing import Any, get_type_hints

import pytest

from hwm_env.envs.arguments import EnvArguments
from hwm_env.envs.config import EnvConfig, Interface
from hwm_env.envs.reference_env import HumanoidReferenceEnv, HumanoidReferenceVectorEnv
from hwm_env.envs.world_model_env import HumanoidWorldModelEnv, HumanoidWorldModelVectorEnv
from hwm_env.policy import Interface as PolicyInterface


def test_names_and_types_are_equal() -> None:
    """Without limits such as `Ge(16)`, which type checkers ignore."""
    hints = get_type_hints(EnvConfig)
    assert get_type_hints(EnvArguments) == {field.name: hints[field.name] for field in fields(EnvConfig)}


@pytest.mark.parametrize(
    "kind",
    [HumanoidWorldModelEnv, HumanoidWorldModelVectorEnv, HumanoidReferenceEnv, HumanoidReferenceVectorEnv],
)
def test_constructors_take_them(kind: Any) -> None:
    (arguments,) = (
        parameter
        for parameter in inspect.signature(kind).parameters.values()
        if parameter.kind is parameter.VAR_KEYWORD
    )
    assert arguments.annotation.__args__ == (EnvArguments,)


def test_an_interface_is_a_part_of_them() -> None:
    assert PolicyInterface is Interface
    assert {field.name for field in fields(Interface)} < {field.name for field in fields(EnvConfig)}
