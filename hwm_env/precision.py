"""Resolves the precision "auto": bfloat16 on hardware that computes in it, else float32."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, overload

if TYPE_CHECKING:
    import torch

TrainingPrecision = Literal["auto", "float32", "bfloat16"]

FAST_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""CPU flags, each of which means that it multiplies in bfloat16: AVX512-BF16, AMX, ARM's extension."""
CPU_INFO: Final = Path("/proc/cpuinfo")


@functools.cache
def has_fast_bfloat16(device: "torch.device | str") -> bool:
    """Returns whether a device has bfloat16 in hardware; without it, float32 is many times faster.

    Args:
        device: a CPU or a GPU; the result is `False` for other kinds.
    """
    import torch

    device = torch.device(device)
    if device.type == "cpu":
        # Only oneDNN's matrix products use these instructions, PyTorch's own do not.
        return torch.backends.mkldnn.is_available() and not FAST_FLAGS.isdisjoint(_cpu_flags())
    if device.type == "cuda":
        return torch.cuda.is_available() and (
            torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
        )
    return False


@overload
def resolve_precision(precision: TrainingPrecision, device: "torch.device | str") -> Literal["float32", "bfloat16"]: ...


@overload
def resolve_precision(
    precision: Literal["auto", "float32", "bfloat16", "int8"], device: "torch.device | str"
) -> Literal["float32", "bfloat16", "int8"]: ...


def resolve_precision(
    precision: Literal["auto", "float32", "bfloat16", "int8"], device: "torch.device | str"
) -> Literal["float32", "bfloat16", "int8"]:
    """Returns the precision that "auto" means on a device; any other precision is returned unchanged."""
    if precision != "auto":
        return precision
    return "bfloat16" if has_fast_bfloat16(device) else "float32"


def _cpu_flags() -> frozenset[str]:
    """Returns the names of the CPU's features."""
    import torch

    # PyTorch 2.9 does not report all processors yet; Linux uses the same names.
    ask = getattr(torch.cpu, "get_capabilities", None)
    if ask is not None:
        return frozenset(name for name, value in ask().items() if value is True)
    if not CPU_INFO.exists():
        return frozenset()
    named = [line.partition(":") for line in CPU_INFO.read_text(encoding="utf-8").splitlines()]
    # "flags" on x86, "Features" on ARM; one line per processor.
    lists = [value for name, _, value in named if name.strip() in ("flags", "Features")]
    return frozenset(lists[0].split() if lists else ())
