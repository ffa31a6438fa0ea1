"""Records the learning curve of a training with Stable-Baselines3."""

from typing import Any

from tqdm import tqdm

from hwm_env.errors import require_extra

require_extra("stable_baselines3", "rl")

from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402


class LearningCurve(BaseCallback):
    """Records each finished episode of a training in a VecMonitor, and shows the progress."""

    def __init__(self) -> None:
        super().__init__()
        self.episodes: list[dict[str, Any]] = []
        """Finished episodes in order: `steps` (env steps of all rows until then), `return`, `length` (env steps) and
        `success`."""

    def _on_training_start(self) -> None:
        self._progress = tqdm(total=self.locals["total_timesteps"], desc="train", unit="step")

    def _on_step(self) -> bool:
        self._progress.update(self.num_timesteps - self._progress.n)
        for info in self.locals["infos"]:
            if "episode" in info:
                self.episodes.append(
                    {
                        "steps": self.num_timesteps,
                        "return": float(info["episode"]["r"]),
                        "length": int(info["episode"]["l"]),
                        "success": bool(info["is_success"]),
                    }
                )
        return True

    def _on_training_end(self) -> None:
        self._progress.close()
