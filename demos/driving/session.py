"""A drive through one or two worlds, whose env steps can be rewound and continued differently."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import gymnasium
import numpy as np

import hwm_env  # noqa: F401 (registers the environments)
from demos.driving.track import Track
from hwm_env.data.statistics import ActionStatistics
from hwm_env.decoding.config import DecodingConfig
from hwm_env.envs.episodes import EnvState
from hwm_env.errors import CheckpointError, HWMError, InvalidInputError, MissingExtraError
from hwm_env.replay import Replay, digest
from hwm_env.robot import Robot
from hwm_env.scene.scene import Scene
from hwm_env.simulator import WorldSimulator
from hwm_env.types import Float32Array, UInt8Array

WorldName = Literal["learned", "reference"]
ENVS: Final[Mapping[WorldName, str]] = {"learned": "HWM-v0", "reference": "HWMReference-v0"}
SHOWN: Final[tuple[tuple[WorldName, ...], ...]] = (("learned",), ("reference",), ("learned", "reference"))
"""Worlds that can be shown together, in the order in which a key cycles through them."""
MOST_REWINDS: Final = 50
"""Largest number of env steps that can be rewound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionConfig:
    """The worlds of a session, and where it begins."""

    checkpoint: str = "room-64"
    """Name or directory."""
    task: str | None = "drive-to-target"
    """Name of a task; None: just driving."""
    start: int | None = None
    """Recorded start; None: the seed chooses."""
    seed: int = 0
    """Of start, goal and the world's noise."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One world after an env step."""

    frames: UInt8Array
    """Frames of the step, [17, S, S, 3]; only the newest, [1, S, S, 3], if the snapshot is not of a step."""
    info: Mapping[str, Any]
    """Info of the environment."""
    reward: float
    """Reward of the step."""
    total_reward: float
    """Sum of rewards since the reset."""
    track: Track
    """Track of the robot over the steps that can be rewound."""


@dataclass(frozen=True, slots=True, eq=False)
class DriveSnapshot:
    """All shown worlds after the same env step."""

    step: int
    """Env steps since the reset."""
    state: Float32Array
    """State of the robot in the first shown world, [25]."""
    views: Mapping[WorldName, View]
    """Views of the shown worlds."""
    compute_s: float
    """Time to compute the snapshot."""
    rewinds: int
    """Number of env steps that can be rewound."""


@dataclass(frozen=True, slots=True, eq=False)
class _Node:
    """One world after one env step, with the state to return to it."""

    state: EnvState[Any]
    info: Mapping[str, Any]
    reward: float
    total_reward: float


class Session:
    """Worlds that advance by the same actions from the same start.

    A world that is not shown is not computed; when it is shown again, it catches up.

    Args:
        config: worlds, task, start and seed.

    Raises:
        CheckpointError: the checkpoint is unknown, has no starts, or lacks what the task needs.
        InvalidInputError: the task or the start is unknown.
    """

    def __init__(self, config: SessionConfig) -> None:
        self._config = config
        self._envs: dict[WorldName, Any] = {}
        self._shown: tuple[WorldName, ...] = ("learned",)
        self._simulator: WorldSimulator = self._env("learned").simulator
        if not len(self._simulator.checkpoint.starts):
            raise CheckpointError(f"{config.checkpoint} has no recorded starts; use a checkpoint with starts")
        self.num_starts = len(self._simulator.checkpoint.starts)
        self.statistics: ActionStatistics = self._simulator.checkpoint.statistics
        """Statistics of the training data's actions."""
        self.robot: Robot = self._simulator.checkpoint.robot
        """The robot."""
        self.now = self.reset(config.start, config.seed)
        """The newest snapshot."""

    @property
    def shown(self) -> tuple[WorldName, ...]:
        """The worlds that are shown."""
        return self._shown

    @property
    def decoding(self) -> DecodingConfig:
        """Decoding of the learned world."""
        return self._simulator.decoding

    @property
    def scene(self) -> Scene | None:
        """Scene of the learned world, if any."""
        return self._simulator.scene

    @property
    def start(self) -> int:
        """Index of the recorded start."""
        return self._start

    @property
    def seed(self) -> int:
        """Seed of the present noise."""
        return self._seed

    def reset(self, start: int | None, seed: int) -> DriveSnapshot:
        """Resets all worlds.

        Args:
            start: index of a recorded start; `None`: chosen by the seed.
            seed: seed of start, goal and noise.

        Raises:
            InvalidInputError: the start does not exist.
        """
        began_s = time.monotonic()
        if start is not None and not 0 <= start < self.num_starts:
            raise InvalidInputError(f"start must be 0 to {self.num_starts - 1}, got {start}")
        self._beginning: tuple[int, dict[str, int]] | None = (seed, {} if start is None else {"start": start})
        self._chunks: list[Float32Array] = []
        self._nodes: dict[WorldName, dict[int, _Node]] = {name: {} for name in ENVS}
        self._oldest = self._replayable = 0
        self._seed = seed
        snapshot = self._snapshot(began_s)
        self._start = int(next(iter(snapshot.views.values())).info["start"])
        return snapshot

    def reseed(self, seed: int) -> DriveSnapshot:
        """Continues with other noise in the learned world; earlier env steps cannot be rewound any more."""
        began_s = time.monotonic()
        here = len(self._chunks)
        for name, nodes in self._nodes.items():
            if not nodes:
                continue
            self._catch_up(name)
            node = nodes[here]
            same_goal = {key: node.info[key] for key in ("target", "cube") if key in node.info}
            env = self._env(name)
            env.reset(seed=seed, options={"state": node.state, **same_goal})
            self._nodes[name] = {here: replace(node, state=env.get_state())}
        self._beginning, self._oldest, self._replayable = None, here, here
        self._seed = seed
        return self._snapshot(began_s)

    def step(self, chunk: Float32Array) -> DriveSnapshot:
        """Advances the shown worlds by one clip.

        Args:
            chunk: actions in physical units, [17, 25].
        """
        began_s = time.monotonic()
        self._chunks.append(chunk)
        self._oldest = max(self._oldest, len(self._chunks) - MOST_REWINDS)
        for nodes in self._nodes.values():
            for step in [step for step in nodes if step < self._oldest and step != max(nodes)]:
                del nodes[step]
        return self._snapshot(began_s, whole_clip=True)

    def rewind(self, to_step: int) -> DriveSnapshot:
        """Returns to an earlier env step, or to the oldest one that is stored."""
        began_s = time.monotonic()
        kept = min(max(to_step, self._oldest), len(self._chunks))
        del self._chunks[kept:]
        for nodes in self._nodes.values():
            for step in [step for step in nodes if step > kept]:
                del nodes[step]
        return self._snapshot(began_s)

    def show(self, worlds: Sequence[WorldName]) -> DriveSnapshot:
        """Changes the shown worlds.

        Raises:
            HWMError: a world is not available; the shown worlds stay as they were.
        """
        began_s = time.monotonic()
        before, self._shown = self._shown, tuple(worlds)
        try:
            return self._snapshot(began_s)
        except HWMError:
            self._shown = before
            raise

    def show_next(self) -> DriveSnapshot:
        """Shows the next worlds of SHOWN.

        Raises:
            HWMError: see `show`.
        """
        return self.show(SHOWN[(SHOWN.index(self._shown) + 1) % len(SHOWN)])

    def decode(self, *, steps: int | None = None, temperature: float | None = None) -> None:
        """Changes the decoding of the learned world from now on.

        Args:
            steps: decoding steps; `None`: unchanged.
            temperature: sampling temperature; `None`: unchanged.

        Raises:
            InvalidInputError: a value is invalid.
        """
        decoding = self.decoding
        if steps is not None:
            decoding = replace(decoding, steps=steps)
        if temperature is not None:
            decoding = replace(decoding, temperature=temperature)
        self._simulator.decoding = decoding
        # A replay has a single decoding.
        self._replayable = len(self._chunks)

    def replay(self, first_step: int) -> Replay:
        """Returns a replay of the learned world from an env step, or from the oldest one that is stored, until now.

        Raises:
            InvalidInputError: the learned world has taken no step since then.
        """
        nodes = self._nodes["learned"]
        last = max(nodes, default=0)
        known = [step for step in nodes if step >= max(first_step, self._oldest, self._replayable)]
        if len(known) < 2:
            raise InvalidInputError("nothing to replay: the learned world has taken no step since the recording began")
        moments = [nodes[step].state.episode.moment for step in range(min(known), last + 1)]
        begun = Replay.begin(self._simulator, moments[0].state, self._start if min(known) == 0 else -1)
        return replace(
            begun,
            actions=np.stack([moment.measured for moment in moments[1:]]),
            digests=np.array([digest(moment.tokens) for moment in moments[1:]], np.uint64),
        )

    def close(self) -> None:
        """Closes the environments."""
        for env in self._envs.values():
            env.close()

    def _snapshot(self, began_s: float, *, whole_clip: bool = False) -> DriveSnapshot:
        views = {}
        for name in self._shown:
            self._catch_up(name)
            nodes, env = self._nodes[name], self._env(name)
            node = nodes[len(self._chunks)]
            env.set_state(node.state)
            frames = env.clip if whole_clip else env.moment.last_frame[None].copy()
            track = Track.of([nodes[step].info for step in sorted(nodes) if step >= self._oldest])
            views[name] = View(frames, node.info, node.reward, node.total_reward, track)
        self.now = DriveSnapshot(
            step=len(self._chunks),
            state=self._env(self._shown[0]).moment.measured[-1].copy(),
            views=views,
            compute_s=time.monotonic() - began_s,
            rewinds=len(self._chunks) - self._oldest,
        )
        return self.now

    def _catch_up(self, name: WorldName) -> None:
        """Advances a world by the chunks that it has missed."""
        env, nodes = self._env(name), self._nodes[name]
        if not nodes:
            if self._beginning is None:
                raise InvalidInputError(f"the {name} world was not computed before the reseeding; reset first")
            seed, options = self._beginning
            _, info = env.reset(seed=seed, options=options)
            nodes[0] = _Node(env.get_state(), info, 0.0, 0.0)
        newest = max(nodes)
        env.set_state(nodes[newest].state)
        for step in range(newest, len(self._chunks)):
            _, reward, _, _, info = env.step(self._chunks[step][:, self.robot.indices])
            total, goal = nodes[step].total_reward + reward, _goal(nodes[step].info)
            nodes[step + 1] = _Node(env.get_state(), {**goal, **info}, reward, total)

    def _env(self, name: WorldName) -> Any:
        if name not in self._envs:
            if ENVS[name] not in gymnasium.registry:
                raise MissingExtraError(
                    "the reference world needs MuJoCo; install it with: pip install 'hwm-env[reference]'"
                )
            made = gymnasium.make(
                ENVS[name],
                checkpoint=self._config.checkpoint,
                task=self._config.task,
                obs_mode="state",
                action_mode="chunk",
            )
            self._envs[name] = made.unwrapped
        return self._envs[name]


def _goal(info: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the goal's entries of an info; only infos of a reset have them."""
    return {key: value for key, value in info.items() if key.startswith(("target", "cube"))}
