"""Checks devices before they are used."""

from typing import TYPE_CHECKING, Final

from hwm_env.errors import InvalidInputError

if TYPE_CHECKING:
    import torch

_LONGEST: Final = 100
"""Most characters of a name or reason in a message; PyTorch may list all devices that it was not built for."""


def check_device(device: "str | torch.device") -> "torch.device":
    """Checks that a device is available and can hold numbers, and returns it.

    Args:
        device: for example "cpu", "cuda" or "cuda:1"; "auto" is a GPU if there is one, else the CPU.

    Raises:
        InvalidInputError: the device is not available.
    """
    import torch

    try:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if not isinstance(device, str | torch.device):
            raise TypeError(f"expected a text, got {type(device).__name__}")
        found = torch.device(device)
        if found.type == "meta" or (found.type == "cpu" and found.index):
            raise ValueError("it does not exist, or holds no numbers")
        torch.zeros(1, device=found)
    # Each kind of device raises its own errors.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidInputError(
            f"device must be an available one ({', '.join(_devices())}), got {str(device)[:_LONGEST]!r}: "
            f"{reason[:_LONGEST]}"
        ) from error
    return found


def _devices() -> list[str]:
    """Returns the names of the available devices."""
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return ["cpu"]
    return ["cpu", *(f"{accelerator.type}:{index}" for index in range(torch.accelerator.device_count()))]
