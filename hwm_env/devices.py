"""Where to compute: checks a device before anything is done on it."""

from typing import TYPE_CHECKING, Final

from hwm_env.errors import InvalidInputError

if TYPE_CHECKING:
    import torch

_LONGEST: Final = 100
"""Characters of a name or a reason in a message: PyTorch may list all that it was not built for."""


def check_device(device: "str | torch.device") -> "torch.device":
    """Returns the device if it is here and can hold numbers.

    Args:
        device: such as "cpu", "cuda" or "cuda:1".

    Raises:
        InvalidInputError: there is no such device here.
    """
    import torch

    try:
        if not isinstance(device, str | torch.device):
            raise TypeError(f"expected a text, got {type(device).__name__}")
        found = torch.device(device)
        if found.type == "meta" or (found.type == "cpu" and found.index):
            raise ValueError("there is none, or it holds no numbers")
        torch.zeros(1, device=found)
    # Each kind of device has errors of its own.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidInputError(
            f"device must be one that is here ({', '.join(_devices())}), got {str(device)[:_LONGEST]!r}: "
            f"{reason[:_LONGEST]}"
        ) from error
    return found


def _devices() -> list[str]:
    """Names of the devices that are here."""
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return ["cpu"]
    return ["cpu", *(f"{accelerator.type}:{index}" for index in range(torch.accelerator.device_count()))]
