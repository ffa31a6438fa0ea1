"""The environment of many rows at once, for any world."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from hwm_env.envs.arguments import EnvArguments
from hwm_env.envs.config import EnvConfig
from hwm_env.envs.episodes import EnvState, Episode, EpisodeEngine, naming
from hwm_env.envs.humanoid import HumanoidEnv
from hwm_env.envs.options import Options
from hwm_env.envs.rendering import enlarged
from hwm_env.envs.vector_input import checked_mask, checked_mode, checked_seeds, row_name
from hwm_env.envs.world import M, World
from hwm_env.errors import InvalidInputError
from hwm_env.fields import NumWorlds, checked
from hwm_env.types import MAX_EPISODE_STEPS, BoolArray, Float64Array, UInt8Array


def vector_config(arguments: EnvArguments) -> EnvConfig:
    """Returns the config of a vector environment; the step limit None is the registered one, as in `gymnasium.make`."""
    limit = arguments.get("max_episode_steps")
    limited: EnvArguments = {**arguments, "max_episode_steps": MAX_EPISODE_STEPS if limit is None else limit}
    return EnvConfig(**limited)


class HumanoidVectorEnv(VectorEnv[Any, Any, Any], Generic[M]):
    """Many humanoid robots with a task; see HumanoidWorldModelVectorEnv for the datasheet.

    Args:
        world: the dynamics.
        config: the environment's arguments.
        num_envs: number of rows.
        autoreset_mode: when a row whose episode has ended begins another one.

    Raises:
        InvalidInputError: the task or mode is unknown, or there is no row.
        CheckpointError: the task or `untrusted_above` needs a part that the checkpoint lacks.
    """

    def __init__(self, world: World[M], config: EnvConfig, num_envs: int, autoreset_mode: AutoresetMode | str) -> None:
        num_envs = checked("num_envs", num_envs, NumWorlds)
        if config.render_mode not in (None, "rgb_array"):
            raise InvalidInputError(
                f"render_mode of a vector environment must be None or 'rgb_array', got {config.render_mode!r}"
            )
        self.autoreset_mode = checked_mode(autoreset_mode)
        self._engine = EpisodeEngine(world, config)
        self.num_envs = num_envs
        self.metadata = HumanoidEnv.metadata | {
            "render_modes": ["rgb_array"],
            "autoreset_mode": self.autoreset_mode,
        }
        self.render_mode = config.render_mode
        self.single_observation_space = self._engine.observations.space
        self.single_action_space = self._engine.actions.space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rngs = [seeding.np_random()[0] for _ in range(num_envs)]
        self._episodes: list[Episode[M]] = []
        self._max_episode_steps = config.max_episode_steps
        self._spec: EnvSpec | None = None
        self._ended = np.zeros(num_envs, np.bool_)
        """Rows whose episode has ended and that have not begun another one."""

    @property
    def spec(self) -> EnvSpec | None:
        """Spec with the effective step limit; `None` if not made by `gymnasium.make_vec`."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        # Gymnasium keeps the registered limit there, even if another one was requested.
        limit = None if self._max_episode_steps == -1 else self._max_episode_steps
        self._spec = spec if spec is None else replace(spec, max_episode_steps=limit)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins an episode in every row, or in some.

        Args:
            seed: a seed for each row (None: the row continues with its own generator), or the seed of row 0, from which
                the others count up.
            options: the options of a single reset, for all rows; `per_world`, a sequence of such dicts, one for each
                row, which add to them; and `reset_mask`, bool [num_envs], which selects the rows to reset. The other
                rows continue, and their observations stay the same.

        Raises:
            InvalidInputError: seeds, options or mask are not allowed; names the row. Nothing has changed.
            ResetNeeded: `reset_mask` selects some rows before all have been reset.
        """
        observations, infos = self.reset_rows(seed, options)
        return observations, self._batched(infos)

    def reset_rows(
        self, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Any, list[dict[str, Any]]]:
        """Resets like `reset`, but returns an info for each row, empty for those that continue."""
        seeds = checked_seeds(seed, self.num_envs)
        parsed, mask = self._parse(options)
        if not mask.all():
            self._current()
        rngs = {}
        for row in np.flatnonzero(mask).tolist():
            seed_of_row = seeds[row]
            rngs[row] = copy.deepcopy(self._rngs[row]) if seed_of_row is None else seeding.np_random(seed_of_row)[0]
        begun = self._engine.begin(rngs, dict(enumerate(parsed)), row_name)
        self._rngs = [rngs.get(row, rng) for row, rng in enumerate(self._rngs)]
        self._episodes = [begun[row][0] if row in begun else self._episodes[row] for row in range(self.num_envs)]
        self._ended = self._ended & ~mask
        return self._observe(), [begun[row][1] if row in begun else {} for row in range(self.num_envs)]

    def step(self, actions: Any) -> tuple[Any, Float64Array, BoolArray, BoolArray, dict[str, Any]]:
        """Advances each row by one clip (17 frames, 0.567 s), all in one batch.

        Returns:
            Observations, rewards float64 [num_envs], terminations and truncations bool [num_envs], and infos as
            Gymnasium batches them: an array for each entry, and a mask of the rows that have it. With NEXT_STEP a row
            whose episode ended in the previous step begins another one in this step and ignores its action; with
            SAME_STEP it begins another one at once, and `final_obs` and `final_info` belong to the end of the episode.

        Raises:
            InvalidInputError: an action is not of the action space's shape, not finite, or not allowed; names the row.
                Nothing has changed.
            ModelOutputError: the model's output is not finite; names the rows. Nothing has changed.
            ResetNeeded: there are no episodes yet, or some have ended and autoreset is disabled.
        """
        observations, rewards, terminated, truncated, infos = self.step_rows(actions)
        return observations, rewards, terminated, truncated, self._batched(infos)

    def step_rows(self, actions: Any) -> tuple[Any, Float64Array, BoolArray, BoolArray, list[dict[str, Any]]]:
        """Steps like `step`, but returns an info for each row."""
        self._current()
        if self.autoreset_mode == AutoresetMode.DISABLED and self._ended.any():
            raise gymnasium.error.ResetNeeded(
                f"the episodes of rows {np.flatnonzero(self._ended).tolist()} have ended; reset them with "
                "options={'reset_mask': ...}"
            )
        begins = self._ended if self.autoreset_mode == AutoresetMode.NEXT_STEP else np.zeros_like(self._ended)
        steps = self._engine.step(self._episodes, self._per_row(actions), np.flatnonzero(~begins).tolist(), row_name)
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros(self.num_envs, np.bool_), np.zeros(self.num_envs, np.bool_)
        for row, step in steps.items():
            rewards[row], terminated[row], truncated[row] = step.reward, step.terminated, step.truncated
        has_ended = terminated | truncated
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            begins, has_ended = has_ended, np.zeros_like(has_ended)
        # The generators of rows that begin an episode are copied, and kept once nothing can fail any more.
        rngs = {row: copy.deepcopy(self._rngs[row]) for row in np.flatnonzero(begins).tolist()}
        begun = self._engine.begin(rngs, dict.fromkeys(rngs, self._engine.parse(None)), row_name)
        for row in begun.keys() & steps.keys():
            begun[row][1].update(final_obs=self._engine.observe(steps[row].episode), final_info=steps[row].info)
        present = {row: (step.episode, step.info) for row, step in steps.items()} | begun
        self._rngs = [rngs.get(row, rng) for row, rng in enumerate(self._rngs)]
        self._episodes = [present[row][0] for row in range(self.num_envs)]
        self._ended = has_ended
        return self._observe(), rewards, terminated, truncated, [present[row][1] for row in range(self.num_envs)]

    def render(self) -> tuple[UInt8Array, ...] | None:
        """Returns the newest frame of each row, uint8 [256, 256, 3], with `rgb_array`; otherwise `None`."""
        if self.render_mode is None:
            return None
        return tuple(enlarged(episode.moment.last_frame) for episode in self._current())

    @property
    def moments(self) -> tuple[M, ...]:
        """The present moment of each row (see `hwm_env.envs.world.WorldMoment`).

        Raises:
            ResetNeeded: there are no episodes yet.
        """
        return tuple(episode.moment for episode in self._current())

    def get_state(self) -> tuple[EnvState[M], ...]:
        """Returns everything that each row's future depends on, in constant time and memory.

        A row's state also fits `set_state` of a single environment, and the other way round.

        Raises:
            ResetNeeded: there are no episodes yet.
        """
        return tuple(
            EnvState(self._engine.origin, episode, copy.deepcopy(rng))
            for episode, rng in zip(self._current(), self._rngs, strict=True)
        )

    def set_state(self, states: Sequence[EnvState[M]]) -> None:
        """Restores saved states; giving one several times branches a row.

        Args:
            states: one for each row, as `get_state` returned them, of this environment or of one with the same
                checkpoint and task.

        Raises:
            InvalidInputError: there is not one for each row, or one is of another world or task; names the row. Nothing
                has changed.
        """
        states = checked("states", states, Sequence[Any])
        if len(states) != self.num_envs:
            raise InvalidInputError(f"states must be one for each of {self.num_envs} rows, got {len(states)}")
        for row, state in enumerate(states):
            with naming(row_name(row)):
                self._engine.check_state(state)
        self._episodes = [state.episode for state in states]
        self._rngs = [state.np_random for state in states]
        self._ended = np.zeros(self.num_envs, np.bool_)

    def close_extras(self, **kwargs: Any) -> None:
        """Frees the world."""
        self._engine.world.close()

    def _current(self) -> list[Episode[M]]:
        if not self._episodes:
            raise gymnasium.error.ResetNeeded("there are no episodes yet; call reset() first")
        return self._episodes

    def _per_row(self, actions: Any) -> Sequence[Any]:
        try:
            parts = list(iterate(self.action_space, actions))
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"actions: expected one for each row, got {type(actions).__name__}") from error
        if len(parts) != self.num_envs:
            raise InvalidInputError(f"actions: expected one for each of {self.num_envs} rows, got {len(parts)}")
        return parts

    def _observe(self) -> Any:
        space = self.single_observation_space
        empty: Any = create_empty_array(space, self.num_envs, np.zeros)
        return concatenate(space, [self._engine.observe(episode) for episode in self._episodes], empty)

    def _batched(self, infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        batched: dict[str, Any] = {}
        for row, info in enumerate(infos):
            batched = self._add_info(batched, dict(info), row)
        return batched

    def _parse(self, options: Mapping[str, Any] | None) -> tuple[list[Options], BoolArray]:
        checked("options", options, Mapping[Any, Any] | None)
        common = dict(options or {})
        mask = checked_mask(common.pop("reset_mask", None), self.num_envs)
        per_world = checked("per_world", common.pop("per_world", None), Sequence[Mapping[Any, Any] | None] | None)
        if per_world is not None and len(per_world) != self.num_envs:
            raise InvalidInputError(f"per_world must be options for each of {self.num_envs} rows, got {len(per_world)}")
        parsed = []
        for row in range(self.num_envs):
            with naming(row_name(row)):
                own = {} if per_world is None else per_world[row] or {}
                parsed.append(self._engine.parse({**common, **own}))
        return parsed, mask
