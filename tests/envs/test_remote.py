"""HWM-v0 at a service equals HWM-v0 on this machine to the bit."""

import copy
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from hwm_env.envs.remote_env import HumanoidRemoteEnv
from hwm_env.errors import InvalidInputError, ModelOutputError, ServiceError
from tests.envs.conftest import MakeEnv
from tests.envs.rollouts import fingerprint, rollout
from tests.service.servers import Server, serving

pytestmark = pytest.mark.slow

MakePair = Callable[..., tuple[Any, Any]]
SETTINGS: dict[str, Any] = {"decoding_steps": 1, "temperature": 1.0, "history": "streaming"}


@pytest.fixture(scope="module")
def server(tiny_checkpoint: Path) -> Iterator[Server]:
    with serving(tiny_checkpoint, **SETTINGS) as running:
        yield running


@pytest.fixture
def make_pair(server: Server, tiny_checkpoint: Path) -> Iterator[MakePair]:
    """Makes the same environment at the service and here."""
    opened: list[Any] = []

    def make(**arguments: Any) -> tuple[Any, Any]:
        remote = gymnasium.make("HWM-v0", url=server.url, **arguments)
        local = gymnasium.make("HWM-v0", checkpoint=tiny_checkpoint, strict=True, **SETTINGS, **arguments)
        opened.extend([remote, local])
        return remote, local

    yield make
    for env in opened:
        env.close()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"task": None, "obs_mode": "tokens"},
        {"task": "face-target", "obs_mode": "latents", "action_mode": "delta", "normalized_actions": True},
        {"task": "goal-image", "obs_mode": "pixels_state", "image_size": 32},
        {"task": "look-at", "obs_mode": "clip", "num_frames": 3, "action_mode": "hold"},
        {"task": "reach-cube", "obs_mode": "state", "controls": ["linear_velocity", "neck_pitch"]},
        {"task": lambda before, now: float(now.frames.mean() - before.last_frame.mean()), "obs_mode": "state"},
    ],
    ids=["default", "none", "face-target", "goal-image", "look-at", "reach-cube", "function"],
)
def test_spaces_observations_rewards_and_infos_are_equal(make_pair: MakePair, arguments: dict[str, Any]) -> None:
    remote, local = make_pair(**arguments)
    assert remote.action_space == local.action_space
    assert remote.observation_space == local.observation_space
    for seed in (0, 7):
        assert fingerprint(rollout(remote, seed=seed, steps=3)) == fingerprint(rollout(local, seed=seed, steps=3))
    assert remote.unwrapped.clip.tolist() == local.unwrapped.clip.tolist()


def test_the_checkpoint_that_comes_with_the_package() -> None:
    with serving("room-64") as server:
        remote = gymnasium.make("HWM-v0", url=server.url, obs_mode="pixels_state", untrusted_above=0.9)
        local = gymnasium.make("HWM-v0", strict=True, obs_mode="pixels_state", untrusted_above=0.9)
        assert fingerprint(rollout(remote, seed=1, steps=3)) == fingerprint(rollout(local, seed=1, steps=3))
        remote.close()


def test_saved_states(make_pair: MakePair) -> None:
    def story(env: Any) -> list[Any]:
        env.action_space.seed(0)
        results: list[Any] = [env.reset(seed=3), env.step(env.action_space.sample())]
        state = env.unwrapped.get_state()
        chunks = [env.action_space.sample() for _ in range(3)]
        results += [env.step(chunk) for chunk in chunks]
        env.unwrapped.set_state(state)
        again = [env.step(chunk) for chunk in chunks]
        assert fingerprint(again) == fingerprint(results[-3:])
        results += [env.reset(seed=5, options={"state": state}), env.step(chunks[0])]
        return results

    remote, local = make_pair(obs_mode="pixels_state")
    assert fingerprint(story(remote)) == fingerprint(story(local))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_are_independent(make_pair: MakePair, copied: Callable[[Any], Any]) -> None:
    remote, local = make_pair(obs_mode="pixels")
    for env in (remote, local):
        env.reset(seed=1)
        env.action_space.seed(1)
    chunks = [remote.action_space.sample() for _ in range(3)]
    for env in (remote, local):
        env.step(chunks[0])
    twin = copied(remote)
    expected = [local.step(chunk) for chunk in chunks[1:]]
    assert fingerprint([twin.step(chunk) for chunk in chunks[1:]]) == fingerprint(expected)
    assert fingerprint([remote.step(chunk) for chunk in chunks[1:]]) == fingerprint(expected)


def test_rows_of_a_vector_environment(server: Server, tiny_checkpoint: Path) -> None:
    arguments = {"num_envs": 5, "obs_mode": "pixels_state", "max_episode_steps": 2}
    remote = gymnasium.make_vec("HWM-v0", url=server.url, **arguments)
    local = gymnasium.make_vec("HWM-v0", checkpoint=tiny_checkpoint, strict=True, **SETTINGS, **arguments)

    def story(envs: Any) -> list[Any]:
        envs.action_space.seed(0)
        results = [envs.reset(seed=3), *(envs.step(envs.action_space.sample()) for _ in range(3))]
        state = envs.get_state()[0]
        envs.set_state([state] * 5)
        return [*results, envs.step(envs.action_space.sample())]

    before = server.metric("hwm_batch_rows_count")
    expected = story(local)
    assert fingerprint(story(remote)) == fingerprint(expected)
    assert server.metric("hwm_batch_rows_count") - before < 4 * 5
    remote.close()
    local.close()


def test_sessions_that_expired_are_repeated(tiny_checkpoint: Path) -> None:
    with serving(tiny_checkpoint, expires_s=0.3, **SETTINGS) as server:
        remote = gymnasium.make("HWM-v0", url=server.url)
        local = gymnasium.make("HWM-v0", checkpoint=tiny_checkpoint, strict=True, **SETTINGS)
        for env in (remote, local):
            env.reset(seed=0)
            env.action_space.seed(0)
        for _ in range(3):
            action = remote.action_space.sample()
            assert fingerprint(remote.step(action)) == fingerprint(local.step(action))
            time.sleep(0.4)
        assert server.metric("hwm_sessions_expired") >= 2
        remote.close()


def test_sessions_of_past_episodes_are_closed(tiny_checkpoint: Path) -> None:
    with serving(tiny_checkpoint, sessions=3, **SETTINGS) as server:
        env = gymnasium.make("HWM-v0", url=server.url, obs_mode="state")
        for seed in range(10):
            rollout(env, seed=seed, steps=1)
        assert server.metric("hwm_sessions") <= 3
        env.close()


def test_frames_for_rendering(make_pair: MakePair) -> None:
    for mode in ("rgb_array", "rgb_array_list"):
        pictures = []
        for env in make_pair(obs_mode="state", render_mode=mode):
            rollout(env, seed=0, steps=1)
            pictures.append(np.array(env.render()))
        assert (pictures[0] == pictures[1]).all()


def test_what_the_service_decides_is_refused(server: Server) -> None:
    with pytest.raises(InvalidInputError, match="temperature, device: the service at url has decided this"):
        gymnasium.make("HWM-v0", url=server.url, temperature=0.5, device="cpu")
    with pytest.raises(InvalidInputError, match="obs_mode must be one of"):
        gymnasium.make("HWM-v0", url=server.url, obs_mode="pictures")
    with pytest.raises(InvalidInputError, match=r"the state's moment|state must be of this environment"):
        HumanoidRemoteEnv(server.url).set_state(_local_state())


def _local_state() -> Any:
    from hwm_env.envs.world_model_env import HumanoidWorldModelEnv

    env = HumanoidWorldModelEnv(obs_mode="state")
    env.reset(seed=0)
    return env.get_state()


def test_tokens_of_access(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tiny_checkpoint, token="secret", **SETTINGS) as server:
        monkeypatch.delenv("HWM_SERVICE_TOKEN", raising=False)
        for token in (None, "wrong"):
            with pytest.raises(ServiceError, match="answered 401: wrong or missing token"):
                gymnasium.make("HWM-v0", url=server.url, token=token)
        gymnasium.make("HWM-v0", url=server.url, token="secret").close()
        monkeypatch.setenv("HWM_SERVICE_TOKEN", "secret")
        gymnasium.make("HWM-v0", url=server.url).close()


def test_a_step_that_fails_changes_nothing(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwm_env.engine.eager import EagerEngine

    predicted = EagerEngine.predicted
    with serving(tiny_checkpoint, **SETTINGS) as server:
        env = gymnasium.make("HWM-v0", url=server.url)
        env.reset(seed=0)
        action = env.action_space.sample()
        state = env.unwrapped.get_state()
        expected = fingerprint(env.step(action))
        env.unwrapped.set_state(state)
        with monkeypatch.context() as patch:

            def broken(*arguments: Any) -> Any:
                prediction = predicted(*arguments)
                decoded = prediction.decoded
                return prediction._replace(decoded=decoded._replace(log_prob=decoded.log_prob * float("nan")))

            patch.setattr(EagerEngine, "predicted", broken)
            with pytest.raises(ModelOutputError, match="not finite in row 0"):
                env.step(action)
        assert fingerprint(env.step(action)) == expected
        env.close()


def test_episodes_are_played_without_a_checkpoint(server: Server, make_env: MakeEnv, tmp_path: Path) -> None:
    """The client loads no weights."""
    import subprocess
    import sys

    script = (
        "import gymnasium, hwm_env, hwm_env.checkpoint as c\n"
        "c.load = None\n"
        f"env = gymnasium.make('HWM-v0', url={server.url!r}, task='goal-image')\n"
        "env.reset(seed=0); print(env.step(env.action_space.sample())[0].shape)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "(64, 64, 3)\n"
