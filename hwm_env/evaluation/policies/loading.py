"""How policies are named on a command line, and what loads them."""

import importlib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hwm_env.errors import HWMError, InvalidInputError, described
from hwm_env.fields import checked
from hwm_env.policy import Interface, Policy


def load_policies(reference: str, task: str, *, allow_zips: bool = True) -> list[Policy]:
    """The policies that a name on the command line stands for.

    A factory is code, and so is a zip of Stable-Baselines3: loading one runs what is in it.

    Args:
        reference: `module:factory`, a function of a task's name that gives a policy or several;
            `module:factory@argument`, a function of a task's name and a string; or a zip that Stable-Baselines3 saved.
        task: the name.
        allow_zips: whether to load zips; otherwise they are refused.

    Raises:
        InvalidInputError: there is no such module, function or file, it fails, or what it gives is no policy.
        MissingExtraError: it is a zip, and Stable-Baselines3 is not installed.
    """
    if reference.endswith(".zip"):
        if not allow_zips:
            raise InvalidInputError(
                f"{reference}: loading a zip of Stable-Baselines3 runs code that is in it; allow zips"
            )
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
    except (Exception, SystemExit) as error:  # The module is somebody else's code.
        raise InvalidInputError(f"there is no policy {reference!r}: {described(error)}") from error
    arguments = (task, argument) if with_argument else (task,)
    expected = f"expected {reference!r} to be a function of a task's name{' and a string' if with_argument else ''}"
    if not callable(factory):
        raise InvalidInputError(f"{expected}, got {type(factory).__name__}")
    try:
        inspect.signature(factory).bind(*arguments)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{expected}: {error}") from error
    with blaming(f"policy {reference!r} failed"):
        made = factory(*arguments)
        policies = list(made) if isinstance(made, Sequence) else [made]
        for policy in policies:
            if missing := [name for name in _MEMBERS if not hasattr(policy, name)]:
                raise InvalidInputError(
                    f"{reference!r} gave {type(policy).__name__}, which lacks {', '.join(missing)} of a policy"
                )
            checked(f"the name of {reference!r}", policy.name, str)
            checked(f"the interface of {reference!r}", policy.interface, Interface)
    return policies


@contextmanager
def blaming(whom: str) -> Iterator[None]:
    """Turns what somebody else's code raises, or an exit, into one error that says whose fault it is.

    Raises:
        InvalidInputError: the code failed; errors of hwm_env pass.
    """
    try:
        yield
    except HWMError:
        raise
    except (Exception, SystemExit) as error:
        raise InvalidInputError(f"{whom}: {described(error)}") from error


_MEMBERS = ("name", "interface", "reset", "act")
