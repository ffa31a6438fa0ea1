"""What is kept of a training: how each episode ended."""

from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm


class LearningCurve(BaseCallback):
    """Notes each finished episode of a training whose worlds are monitored (VecMonitor), and shows progress."""

    def __init__(self) -> None:
        super().__init__()
        self.episodes: list[dict[str, Any]] = []
        """In the order in which they ended: `steps` (env steps of all worlds until then), `return`, `length` in env
        steps, `success`."""

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
