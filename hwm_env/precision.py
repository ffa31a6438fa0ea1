"""Which number type matrix products have where nobody names one: bfloat16 where the hardware computes in it."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, overload

if TYPE_CHECKING:
    import torch

TrainingPrecision = Literal["auto", "float32", "bfloat16"]

FAST_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Any of them says that a processor multiplies in bfloat16: AVX512-BF16, AMX, ARM's extension."""
CPU_INFO: Final = Path("/proc/cpuinfo")


@functools.cache
def has_fast_bfloat16(device: "torch.device | str") -> bool:
    """Whether a device has bfloat16 in hardware; where it has not, float32 is many times faster.

    Args:
        device: a processor or a GPU; False for other kinds.
    """
    import torch

    device = torch.device(device)
    if device.type == "cpu":
        # The products are oneDNN's; PyTorch's own do not use the instructions.
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
    """What "auto" means on a device; anything else is returned as it is."""
    if precision != "auto":
        return precision
    return "bfloat16" if has_fast_bfloat16(device) else "float32"


def _cpu_flags() -> frozenset[str]:
    """Names of what the processor can do."""
    import torch

    # PyTorch 2.9 does not tell it yet for all processors; Linux has the same names.
    ask = getattr(torch.cpu, "get_capabilities", None)
    if ask is not None:
        return frozenset(name for name, value in ask().items() if value is True)
    if not CPU_INFO.exists():
        return frozenset()
    named = [line.partition(":") for line in CPU_INFO.read_text(encoding="utf-8").splitlines()]
    # "flags" on x86, "Features" on ARM; processor by processor.
    lists = [value for name, _, value in named if name.strip() in ("flags", "Features")]
    return frozenset(lists[0].split() if lists else ())
