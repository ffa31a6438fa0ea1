"""The settings of the dial: decoding steps, precision, backend and history of a simulator."""

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal

from hwm_env.checkpoint import Checkpoint
from hwm_env.decoding.config import DecodingConfig, HistoryMode
from hwm_env.engine.base import Backend
from hwm_env.engine.compiled import check_supported
from hwm_env.errors import InvalidInputError
from hwm_env.precision import has_fast_bfloat16
from hwm_env.simulator import WorldSimulator

SettingPrecision = Literal["float32", "bfloat16", "int8"]
PRECISIONS: Final[dict[Backend, tuple[SettingPrecision, ...]]] = {
    "torch": ("float32", "bfloat16", "int8"),
    "openvino": ("float32", "bfloat16"),
}
"""By backend. With OpenVINO, bfloat16 concerns the frames alone."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One setting of the dial; everything else is the checkpoint's."""

    steps: int
    """Decoding steps per clip (K); with 0, the scene alone predicts, in float32 and without a history."""
    precision: SettingPrecision
    """Number type of the matrix products."""
    backend: Backend
    """What computes an env step."""
    history: HistoryMode
    """See `DecodingConfig`."""

    @property
    def name(self) -> str:
        """Name, which is also that of a file."""
        return f"{self.backend}-{self.precision}-{self.history}-{self.steps}"

    def decoding(self, checkpoint: Checkpoint) -> DecodingConfig:
        """Returns the settings of decoding."""
        return replace(checkpoint.decoding, steps=self.steps, history=self.history)

    def simulator(self, checkpoint: Checkpoint) -> WorldSimulator:
        """Returns a simulator with this setting."""
        decoding = self.decoding(checkpoint)
        return WorldSimulator(checkpoint, decoding, precision=self.precision, backend=self.backend)

    def differences(self, other: "Setting") -> int:
        """Returns how many of the four parts differ."""
        return sum(value != getattr(other, name) for name, value in asdict(self).items())


def default_setting(checkpoint: Checkpoint) -> Setting:
    """Returns the setting of a simulator that is made without arguments."""
    decoding = checkpoint.decoding
    return Setting(steps=decoding.steps, precision="float32", backend="torch", history=decoding.history)


def settings_of(checkpoint: Checkpoint, steps: Sequence[int], backends: Sequence[Backend]) -> list[Setting]:
    """Returns the settings that checkpoint and machine support; logs the others.

    They are all combinations of steps, backend and precision with the checkpoint's kind of history, and the other kind
    of history in PyTorch and float32. The default is the first.

    Args:
        checkpoint: checkpoint to simulate, on the CPU.
        steps: decoding steps; those of the checkpoint are added.
        backends: what may compute.
    """
    default, settings = default_setting(checkpoint), []
    other: HistoryMode = "window" if default.history == "streaming" else "streaming"
    wanted = [
        Setting(steps=count, precision=precision, backend=backend, history=default.history)
        for backend in backends
        for precision in PRECISIONS[backend]
        for count in steps
        if count > 0 or backend != "torch" or precision == "float32"
    ]
    windows = [count for count in steps if count > 0]
    wanted += [Setting(steps=count, precision="float32", backend="torch", history=other) for count in windows]
    for setting in dict.fromkeys([default, *wanted]):
        reasons = list(_obstacles(setting, checkpoint))
        if reasons:
            logger.warning("%s is left out: %s", setting.name, "; ".join(reasons))
        else:
            settings.append(setting)
    return settings


def _obstacles(setting: Setting, checkpoint: Checkpoint) -> Iterator[str]:
    """Yields the reasons for which a setting cannot be measured."""
    decoding = setting.decoding(checkpoint)
    try:
        decoding.check_model(checkpoint.model.config)
        if setting.backend == "openvino" and setting.steps > 0:
            check_supported(checkpoint, decoding)
    except InvalidInputError as error:
        yield str(error)
    if setting.steps == 0 and checkpoint.scene is None:
        yield "the checkpoint has no scene"
    if setting.backend == "openvino" and not all(map(importlib.util.find_spec, ("openvino", "onnxscript"))):
        yield "OpenVINO is not installed"
    if setting.precision == "bfloat16" and not has_fast_bfloat16("cpu"):
        yield "this processor has no bfloat16 in hardware"
