"""The environment of a single row, for any world."""

import copy
from typing import Any, Generic, get_args

import gymnasium

from hwm_env.envs.config import EnvConfig, RenderMode
from hwm_env.envs.episodes import EnvState, Episode, EpisodeEngine
from hwm_env.envs.observations import Observation
from hwm_env.envs.rendering import Window, enlarged
from hwm_env.envs.world import M, World
from hwm_env.fields import EnvSeed, checked
from hwm_env.robot import Robot
from hwm_env.types import FRAME_RATE_HZ, FRAMES_PER_CLIP, UInt8Array


class HumanoidEnv(gymnasium.Env[Observation, Any], Generic[M]):
    """A humanoid robot with a task; see HumanoidWorldModelEnv for the datasheet.

    Args and Raises: see EpisodeEngine.
    """

    # Env steps a second, rounded: video writers drop frames if it is not a whole number.
    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": list(get_args(RenderMode)),
        "render_fps": round(FRAME_RATE_HZ / FRAMES_PER_CLIP),
    }

    def __init__(self, world: World[M], config: EnvConfig) -> None:
        self._engine = EpisodeEngine(world, config)
        # A copy, so that modifying it affects no other environment.
        self.metadata = copy.deepcopy(type(self).metadata)
        self.action_space = self._engine.actions.space
        self.observation_space = self._engine.observations.space
        self.render_mode = config.render_mode
        self._window: Window | None = None
        self._unseen: list[Episode[M]] = []
        """Episodes since the last `render`, for `rgb_array_list`."""
        self._episode: Episode[M] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state without the window; copies, also in other processes, open their own."""
        return {**self.__dict__, "_window": None}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begins an episode.

        Args:
            seed: seed of `np_random`, from which the start, the world's own noise and the task's goal are drawn.
            options: `start` (int), the index of a recorded start; `state`, a saved state to continue from with new
                noise and a new goal; other entries belong to the task.

        Raises:
            InvalidInputError: an option is unknown or has a value that is not allowed, or there is no display for
                `render_mode="human"`; the present episode continues.
        """
        parsed = self._engine.parse(options)
        if self.render_mode == "human":
            self._open_window()
        before = copy.deepcopy(self._np_random), self._np_random_seed
        try:
            super().reset(seed=checked("seed", seed, EnvSeed | None))
            self._episode, info = self._engine.begin({0: self.np_random}, {0: parsed})[0]
        except Exception:
            # Some goals can only be checked against the moment.
            self._np_random, self._np_random_seed = before
            raise
        self._unseen.clear()
        self._show_newest()
        return self._engine.observe(self._episode), info

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Advances the world by one clip (17 frames, 0.567 s).

        Raises:
            InvalidInputError: the action is not of the action space's shape, not finite, or not allowed; nothing has
                changed.
            ModelOutputError: the model's output is not finite; nothing has changed.
            ResetNeeded: there is no episode yet.
        """
        step = self._engine.step([self._current()], [action], [0])[0]
        self._episode = step.episode
        self._show_newest()
        return self._engine.observe(step.episode), step.reward, step.terminated, step.truncated, step.info

    def render(self) -> Any:
        """Renders the head camera.

        Returns:
            With `rgb_array` the newest frame, uint8 [256, 256, 3]; with `rgb_array_list` a list of all frames since the
            last call (17 an env step); with `human` `None`, and the newest frame is shown in a window.

        Raises:
            ResetNeeded: there is no episode yet.
        """
        moment = self._current().moment
        if self.render_mode == "human":
            self._show(moment.last_frame[None])
            return None
        if self.render_mode == "rgb_array_list":
            frames = [enlarged(frame) for unseen in self._unseen for frame in _new_frames(unseen)]
            self._unseen.clear()
            return frames
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render() returns nothing with render_mode=None; make the environment with another render_mode"
            )
            return None
        return enlarged(moment.last_frame)

    @property
    def clip(self) -> UInt8Array:
        """All frames of the newest step, for any `obs_mode`: uint8 [17, S, S, 3].

        Raises:
            ResetNeeded: there is no episode yet.
        """
        return self._current().moment.frames.copy()

    @property
    def robot(self) -> Robot:
        """The robot, whose joints actions and states consist of."""
        return self._engine.world.checkpoint.robot

    @property
    def has_pictures(self) -> bool:
        """Whether moments have frames and tokens."""
        return self._engine.world.has_pictures

    @property
    def moment(self) -> M:
        """The present moment (see `hwm_env.envs.world.WorldMoment`).

        Raises:
            ResetNeeded: there is no episode yet.
        """
        return self._current().moment

    def close(self) -> None:
        """Frees window and world; may be called twice."""
        if self._window is not None:
            self._window.close()
            self._window = None
        self._engine.world.close()

    def get_state(self) -> EnvState[M]:
        """Returns everything that the future depends on, in constant time and memory.

        Raises:
            ResetNeeded: there is no episode yet.
        """
        return EnvState(self._engine.origin, self._current(), copy.deepcopy(self.np_random))

    def set_state(self, state: EnvState[M]) -> None:
        """Restores a saved state, after which equal actions have bit-equal results.

        Gymnasium's wrappers, such as the TimeLimit of `gymnasium.make`, do not notice it: they continue to count from
        the last reset. (`reset` with the option `state` begins an episode, and their counts, at a saved state.)

        Args:
            state: what `get_state` returned, of this environment or of one with the same checkpoint and task.

        Raises:
            InvalidInputError: `state` is something else, or of another world or task; nothing has changed.
        """
        self._engine.check_state(state)
        self._episode = state.episode
        self.np_random = state.np_random

    def _current(self) -> Episode[M]:
        if self._episode is None:
            raise gymnasium.error.ResetNeeded("there is no episode yet; call env.reset() first")
        return self._episode

    def _show_newest(self) -> None:
        """Shows or keeps the newest step, as `render_mode` requires."""
        episode = self._current()
        if self.render_mode == "human":
            self._show(_new_frames(episode))
        elif self.render_mode == "rgb_array_list":
            self._unseen.append(episode)

    def _show(self, frames: UInt8Array) -> None:
        self._open_window().play(frames)

    def _open_window(self) -> Window:
        if self._window is None:
            self._window = Window(self._engine.origin)
        return self._window


def _new_frames(episode: Episode[M]) -> UInt8Array:
    """Returns the frames of the newest step; after a reset the frame at which the episode begins."""
    return episode.moment.frames if episode.elapsed_steps else episode.moment.last_frame[None]
