"""The environment of many worlds at once, whatever worlds those are."""

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

from hwm_env.envs.config import EnvConfig
from hwm_env.envs.episodes import EnvState, EnvStep, Episode, EpisodeEngine, naming
from hwm_env.envs.humanoid import HumanoidEnv
from hwm_env.envs.options import Options
from hwm_env.envs.rendering import enlarged
from hwm_env.envs.vector_input import checked_mask, checked_mode, checked_seeds
from hwm_env.envs.world import M, World
from hwm_env.errors import InvalidInputError, ModelOutputError
from hwm_env.fields import NumWorlds, checked
from hwm_env.types import MAX_EPISODE_STEPS, BoolArray, Float64Array, UInt8Array


def vector_config(max_episode_steps: int | None, arguments: Mapping[str, Any]) -> EnvConfig:
    """The arguments of many worlds, with Gymnasium's limit: None is the registered one, as in `gymnasium.make`."""
    limit = MAX_EPISODE_STEPS if max_episode_steps is None else max_episode_steps
    return EnvConfig(max_episode_steps=limit, **arguments)


class HumanoidVectorEnv(VectorEnv[Any, Any, Any], Generic[M]):
    """Many humanoid robots with a task; see HumanoidWorldModelVectorEnv for the datasheet.

    Args:
        world: what happens after actions.
        config: the environment's arguments.
        num_envs: how many worlds.
        autoreset_mode: when a world whose episode has ended begins another one.

    Raises:
        InvalidInputError: an unknown task or mode, no world, or an argument that does not go with the world.
        CheckpointError: the task or the trust limit needs a part that the checkpoint has not.
    """

    def __init__(self, world: World[M], config: EnvConfig, num_envs: int, autoreset_mode: AutoresetMode | str) -> None:
        num_envs = checked("num_envs", num_envs, NumWorlds)
        if config.render_mode not in (None, "rgb_array"):
            raise InvalidInputError(
                f"render_mode of many worlds must be None or 'rgb_array', got {config.render_mode!r}"
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
        """Worlds whose episode has ended and which have not begun another one."""

    @property
    def spec(self) -> EnvSpec | None:
        """What it was made from, with the step limit that holds; `None` if not by `gymnasium.make_vec`."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        # Gymnasium leaves the registered limit there, whatever it was asked for.
        limit = None if self._max_episode_steps == -1 else self._max_episode_steps
        self._spec = spec if spec is None else replace(spec, max_episode_steps=limit)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins an episode in every world, or in some.

        Args:
            seed: a seed for each world (None: the world goes on with its own generator), or one number, from which
                they count up.
            options: those of one world's reset, for all of them; `per_world`, a sequence of such dicts, one for each
                world, which add to them; and `reset_mask`, bool [num_envs], which names the worlds to reset. The others
                go on, and their observations are the same as before.

        Raises:
            InvalidInputError: seeds, options or mask that are not allowed; names the world. Nothing has changed.
            ResetNeeded: some worlds shall be reset before all have been.
        """
        observations, infos = self.reset_worlds(seed, options)
        return observations, self._batched(infos)

    def reset_worlds(
        self, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Any, list[dict[str, Any]]]:
        """`reset`, with an info for each world; empty for those that go on."""
        seeds = checked_seeds(seed, self.num_envs)
        parsed, mask = self._parse(options)
        if not mask.all():
            self._current()
        episodes, infos = dict(enumerate(self._episodes)), [dict[str, Any]() for _ in range(self.num_envs)]
        rngs = list(self._rngs)
        for world in np.flatnonzero(mask).tolist():
            seed_of_world = seeds[world]
            rngs[world] = copy.deepcopy(rngs[world]) if seed_of_world is None else seeding.np_random(seed_of_world)[0]
            with naming(world):
                episodes[world], infos[world] = self._engine.begin(rngs[world], parsed[world])
        self._rngs, self._episodes = rngs, [episodes[world] for world in range(self.num_envs)]
        self._ended = self._ended & ~mask
        return self._observe(), infos

    def step(self, actions: Any) -> tuple[Any, Float64Array, BoolArray, BoolArray, dict[str, Any]]:
        """Lives one clip of 17 frames in each world, all in one batch.

        Returns:
            Observations, rewards float64 [num_envs], terminations and truncations bool [num_envs], and infos as
            Gymnasium batches them: an array for each entry, and a mask of the worlds that have it. With NEXT_STEP a
            world whose episode ended in the step before begins another one in this step, whatever its action; with
            SAME_STEP it begins at once, and `final_obs` and `final_info` hold what the episode ended with.

        Raises:
            InvalidInputError: an action is not of the action space's shape, or not finite; names the world. Nothing has
                changed.
            ModelOutputError: names the worlds in which the model's output is not finite. Nothing has changed.
            ResetNeeded: there are no episodes yet, or some have ended and nothing resets them.
        """
        observations, rewards, terminated, truncated, infos = self.step_worlds(actions)
        return observations, rewards, terminated, truncated, self._batched(infos)

    def step_worlds(self, actions: Any) -> tuple[Any, Float64Array, BoolArray, BoolArray, list[dict[str, Any]]]:
        """`step`, with an info for each world."""
        self._current()
        if self.autoreset_mode == AutoresetMode.DISABLED and self._ended.any():
            raise gymnasium.error.ResetNeeded(
                f"the episodes of worlds {np.flatnonzero(self._ended).tolist()} have ended; reset them with "
                "options={'reset_mask': ...}"
            )
        begins = self._ended if self.autoreset_mode == AutoresetMode.NEXT_STEP else np.zeros_like(self._ended)
        steps = self._advance(np.flatnonzero(~begins).tolist(), self._per_world(actions))
        episodes, infos = [], []
        # Those of worlds that begin anew are replaced by ones that have gone on, once nothing can fail any more.
        rngs = list(self._rngs)
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros(self.num_envs, np.bool_), np.zeros(self.num_envs, np.bool_)
        for world in range(self.num_envs):
            if begins[world]:
                episode, info = self._begin_anew(world, rngs)
            else:
                step = steps[world]
                episode, info = step.episode, step.info
                rewards[world], terminated[world], truncated[world] = step.reward, step.terminated, step.truncated
                if self.autoreset_mode == AutoresetMode.SAME_STEP and (step.terminated or step.truncated):
                    final = {"final_obs": self._engine.observe(episode), "final_info": info}
                    episode, info = self._begin_anew(world, rngs)
                    info |= final
            episodes.append(episode)
            infos.append(info)
        self._rngs, self._episodes = rngs, episodes
        has_ended = terminated | truncated
        self._ended = has_ended if self.autoreset_mode != AutoresetMode.SAME_STEP else np.zeros_like(has_ended)
        return self._observe(), rewards, terminated, truncated, infos

    def render(self) -> tuple[UInt8Array, ...] | None:
        """The newest frame of each world, uint8 [256, 256, 3], with `rgb_array`."""
        if self.render_mode is None:
            return None
        return tuple(enlarged(episode.moment.last_frame) for episode in self._current())

    @property
    def moments(self) -> tuple[M, ...]:
        """All that is known of each world now (see `hwm_env.envs.world.Moment`).

        Raises:
            ResetNeeded: there are no episodes yet.
        """
        return tuple(episode.moment for episode in self._current())

    def get_state(self) -> tuple[EnvState[M], ...]:
        """Everything that each world's future depends on, in constant time and memory.

        The state of a world also fits `set_state` of an environment of one world, and the other way round.

        Raises:
            ResetNeeded: there are no episodes yet.
        """
        return tuple(
            EnvState(self._engine.origin, episode, copy.deepcopy(rng))
            for episode, rng in zip(self._current(), self._rngs, strict=True)
        )

    def set_state(self, states: Sequence[EnvState[M]]) -> None:
        """Goes back to saved states; one of them several times branches a world.

        Args:
            states: one for each world, what `get_state` gave, of this environment or of one with the same checkpoint
                and task.

        Raises:
            InvalidInputError: there is not one for each world, or one is of another world or task; names the world.
                Nothing has changed.
        """
        states = checked("states", states, Sequence[Any])
        if len(states) != self.num_envs:
            raise InvalidInputError(f"expected a state for each of {self.num_envs} worlds, got {len(states)}")
        for world, state in enumerate(states):
            with naming(world):
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

    def _begin_anew(self, world: int, rngs: list[np.random.Generator]) -> tuple[Episode[M], dict[str, Any]]:
        rngs[world] = copy.deepcopy(rngs[world])
        return self._engine.begin(rngs[world], self._engine.parse(None))

    def _advance(self, worlds: list[int], actions: Sequence[Any]) -> dict[int, EnvStep[M]]:
        if not worlds:
            return {}
        commands = []
        for world in worlds:
            with naming(world):
                commands.append(self._engine.command(self._episodes[world], actions[world]))
        try:
            steps = self._engine.advance([self._episodes[world] for world in worlds], commands)
        except ModelOutputError as error:
            raise error.among(worlds) from error
        return dict(zip(worlds, steps, strict=True))

    def _per_world(self, actions: Any) -> Sequence[Any]:
        try:
            parts = list(iterate(self.action_space, actions))
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"actions: expected one for each world, got {type(actions).__name__}") from error
        if len(parts) != self.num_envs:
            raise InvalidInputError(f"actions: expected one for each of {self.num_envs} worlds, got {len(parts)}")
        return parts

    def _observe(self) -> Any:
        space = self.single_observation_space
        empty: Any = create_empty_array(space, self.num_envs, np.zeros)
        return concatenate(space, [self._engine.observe(episode) for episode in self._episodes], empty)

    def _batched(self, infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        batched: dict[str, Any] = {}
        for world, info in enumerate(infos):
            batched = self._add_info(batched, dict(info), world)
        return batched

    def _parse(self, options: Mapping[str, Any] | None) -> tuple[list[Options], BoolArray]:
        checked("options", options, Mapping[Any, Any] | None)
        common = dict(options or {})
        mask = checked_mask(common.pop("reset_mask", None), self.num_envs)
        per_world = checked("per_world", common.pop("per_world", None), Sequence[Mapping[Any, Any] | None] | None)
        if per_world is not None and len(per_world) != self.num_envs:
            raise InvalidInputError(f"per_world must be options for {self.num_envs} worlds, got {len(per_world)}")
        parsed = []
        for world in range(self.num_envs):
            with naming(world):
                own = {} if per_world is None else per_world[world] or {}
                parsed.append(self._engine.parse({**common, **own}))
        return parsed, mask
