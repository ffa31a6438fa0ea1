"""Loads policies by the names that command lines use: module:factory, module:factory@argument, or a zip."""

import importlib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hwm_env.errors import HWMError, InvalidInputError, described
from hwm_env.fields import checked
from hwm_env.policy import Interface, Policy


def load_policies(reference: str, task: str, *, allow_zips: bool = True) -> list[Policy]:
    """Loads the policies that a name stands for.

    Loading executes code: that of the factory, or pickles in a zip of Stable-Baselines3.

    Args:
        reference: `module:factory`, a function that takes a task's name and returns one or several policies;
            `module:factory@argument`, a function that takes a task's name and a string; or a zip that Stable-Baselines3
            saved.
        task: name of the task.
        allow_zips: whether to load zips; otherwise they are refused.

    Raises:
        InvalidInputError: the module, function or file does not exist, the function fails, or its result is no policy.
        MissingExtraError: it is a zip, and Stable-Baselines3 is not installed.
    """
    if reference.endswith(".zip"):
        if not allow_zips:
            raise InvalidInputError(f"{reference}: loading a zip of Stable-Baselines3 runs code in it; allow zips")
        from hwm_env.evaluation.policies.sb3_policy import SB3Policy

        return [SB3Policy(Path(reference))]
    module_name, separator, rest = reference.partition(":")
    attribute, with_argument, argument = rest.partition("@")
    if not separator or not module_name or not attribute:
        raise InvalidInputError(
            "a policy must be named module:factory or module:factory@argument, or be a zip of Stable-Baselines3; got "
            f"{reference!r}"
        )
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:  # Importing foreign code can raise anything.
        raise InvalidInputError(f"there is no policy {reference!r}: {described(error)}") from error
    arguments = (task, argument) if with_argument else (task,)
    expected = f"expected {reference!r} to be a function of a task's name{' and a string' if with_argument else ''}"
    if not callable(factory):
        raise InvalidInputError(f"{expected}, got {type(factory).__name__}")
    try:
        inspect.signature(factory).bind(*arguments)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{expected}: {error}") from error
    with reraise_as(f"policy {reference!r} failed"):
        made = factory(*arguments)
        policies = list(made) if isinstance(made, Sequence) else [made]
        for policy in policies:
            if missing := [name for name in _MEMBERS if not hasattr(policy, name)]:
                raise InvalidInputError(
                    f"{reference!r} returned {type(policy).__name__}, which lacks {', '.join(missing)} of a policy"
                )
            checked(f"the name of {reference!r}", policy.name, str)
            checked(f"the interface of {reference!r}", policy.interface, Interface)
            checked(f"the family of {reference!r}", family_of(policy), str)
    return policies


def gather_policies(
    references: Sequence[str], tasks: Sequence[str], *, allow_zips: bool = True
) -> dict[str, dict[str, Policy]]:
    """Loads the policies of several names for several tasks.

    Args:
        references: see `load_policies`.
        tasks: names of tasks.
        allow_zips: whether to load zips of Stable-Baselines3.

    Returns:
        By task, the policies by name.

    Raises:
        InvalidInputError: see `load_policies`; or there is no policy, or two have the same name.
        MissingExtraError: see `load_policies`.
    """
    gathered: dict[str, dict[str, Policy]] = {}
    for task in tasks:
        policies = [
            policy for reference in references for policy in load_policies(reference, task, allow_zips=allow_zips)
        ]
        names = [policy.name for policy in policies]
        if not policies or len(set(names)) < len(names):
            doubles = sorted({name for name in names if names.count(name) > 1})
            raise InvalidInputError(
                f"expected one or more policies of different names for {task!r}, got {len(policies)}"
                + (f", of which several are called {', '.join(doubles)}" if doubles else "")
            )
        gathered[task] = dict(zip(names, policies, strict=True))
    return gathered


def family_of(policy: Policy) -> str:
    """Returns the policy's family; by default its name."""
    family: str = getattr(policy, "family", policy.name)
    return family


@contextmanager
def reraise_as(message: str) -> Iterator[None]:
    """Raises one error, which begins with `message`, for any exception or exit of foreign code.

    Raises:
        InvalidInputError: the code failed; errors of hwm_env pass through.
    """
    try:
        yield
    except HWMError:
        raise
    except (Exception, SystemExit) as error:
        raise InvalidInputError(f"{message}: {described(error)}") from error


_MEMBERS = ("name", "interface", "reset", "act")
