"""Keeps policies on the way of a training with Stable-Baselines3."""

import io
import time
from pathlib import Path
from typing import Any

from hwm_env.data.files import write_bytes
from hwm_env.errors import require_extra

require_extra("stable_baselines3", "rl")

from stable_baselines3.common.base_class import BaseAlgorithm  # noqa: E402
from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402


class KeptPolicies(BaseCallback):
    """Writes the policy again and again during a training, each time after an update.

    Args:
        out: zip of the last policy; those on the way get its name and their env steps, such as `face-4096.zip`.
        every: env steps between two policies; `None`: none is kept.
    """

    def __init__(self, out: Path, every: int | None) -> None:
        super().__init__()
        self._out, self._every = out, every
        self.policies: list[dict[str, Any]] = []
        """What `describe` returns for each kept policy, in order."""

    def describe(self, path: Path) -> dict[str, Any]:
        """Describes the policy of this moment.

        Returns:
            `file`, the name of its zip; what its training has taken until now: `steps`, env steps of all rows,
            `wall_seconds`, and `cpu_seconds`, the CPU time of this process.
        """
        wall, cpu = (now - started for now, started in zip(_times_s(), self._started_s, strict=True))
        return {
            "file": path.name,
            "steps": self.num_timesteps,
            "wall_seconds": round(wall, 3),
            "cpu_seconds": round(cpu, 3),
        }

    def _on_training_start(self) -> None:
        self._started_s = _times_s()

    def _on_rollout_start(self) -> None:
        if self._every is not None and self.num_timesteps >= self._every * (len(self.policies) + 1):
            path = self._out.with_name(f"{self._out.stem}-{self.num_timesteps}.zip")
            self.policies.append(self.describe(path))
            write_bytes(path, zip_of(self.model))

    def _on_step(self) -> bool:
        return True


def _times_s() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


def zip_of(model: BaseAlgorithm) -> bytes:
    """Returns what `model.save` writes."""
    content = io.BytesIO()
    model.save(content)
    return content.getvalue()
