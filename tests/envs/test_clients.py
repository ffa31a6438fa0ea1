"""Programs that others wrote, unmodified: Gymnasium's wrappers, Stable-Baselines3, a CleanRL loop, TorchRL."""

import copy
import itertools
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import vector as vector_wrappers

from hwm_env.errors import InvalidInputError
from hwm_env.types import LINEAR_VELOCITY
from tests.envs import cleanrl_ppo
from tests.envs.conftest import MakeEnv, MakeVec
from tests.envs.rollouts import fingerprint, rollout

FAST = {"decoding_steps": 1}
NORMALIZED = {"action_mode": "hold", "normalized_actions": True}


def speed(previous: Any, now: Any) -> float:
    """Rewards speed: never 0, and never the end of an episode, which random read-outs cause in the room's tasks."""
    return 1.0 + float(np.abs(now.measured[:, LINEAR_VELOCITY]).mean())


@pytest.fixture
def make_vec(make_vec: MakeVec) -> MakeVec:
    """Makes vector environments with few decoding steps."""
    return lambda num_envs=2, **arguments: make_vec(num_envs, **FAST, **arguments)


# Gymnasium


@pytest.mark.slow
def test_record_video_keeps_a_picture_a_step(make_env: MakeEnv, tmp_path: Path) -> None:
    pytest.importorskip("moviepy")
    from hwm_env.data.videos import frame_times, read_frames

    env = gymnasium.wrappers.RecordVideo(
        make_env(task=speed, render_mode="rgb_array", max_episode_steps=3, **FAST),
        str(tmp_path / "videos"),
        episode_trigger=lambda episode: True,
    )
    pictures = []
    for episode in range(2):
        env.reset(seed=episode)
        pictures.append([env.unwrapped.render()])
        over = False
        while not over:
            *_, over, _ = env.step(env.action_space.sample())
            pictures[-1].append(env.unwrapped.render())
    env.close()
    videos = sorted(tmp_path.glob("videos/*.mp4"))
    assert len(videos) == 2
    for video, expected in zip(videos, pictures, strict=True):
        np.testing.assert_allclose(frame_times(video), np.arange(4) / env.metadata["render_fps"], atol=1e-3)
        shown = np.stack(list(read_frames(video, np.arange(4), None)))
        away = np.abs(shown[:, None].astype(int) - np.stack(expected)).mean((2, 3, 4))
        assert away.argmin(axis=1).tolist() == [0, 1, 2, 3]


def test_record_episode_statistics_adds_up_rewards(make_env: MakeEnv) -> None:
    env = gymnasium.wrappers.RecordEpisodeStatistics(make_env(task=speed, max_episode_steps=3, **FAST))
    steps = rollout(env, seed=0, steps=3)[1:]
    assert [("episode" in step[-1]) for step in steps] == [False, False, True]
    episode = steps[-1][-1]["episode"]
    assert episode["l"] == 3
    assert episode["r"] == pytest.approx(sum(step[1] for step in steps))


def test_normalize_reward_scales_by_the_returns_seen(make_env: MakeEnv) -> None:
    still = {"task": speed, **FAST}
    env, plain = gymnasium.wrappers.NormalizeReward(make_env(**still), gamma=0.9), make_env(**still)
    total, totals = 0.0, []
    for scaled, step in itertools.islice(
        zip(rollout(env, seed=0, steps=5), rollout(plain, seed=0, steps=5), strict=True), 1, None
    ):
        total = 0.9 * total + step[1]
        totals.append(total)
        assert np.isfinite(scaled[1])
    # The running variance begins with 1 and the weight of 1e-4 returns.
    assert scaled[1] == pytest.approx(step[1] / np.sqrt(np.var(totals)), rel=0.05)


@pytest.mark.parametrize("way", ["wrapper", "make"])
def test_other_time_limits_hold(make_env: MakeEnv, way: str) -> None:
    env = (
        gymnasium.wrappers.TimeLimit(make_env(**FAST), 2) if way == "wrapper" else make_env(max_episode_steps=2, **FAST)
    )
    for seed in range(2):
        assert [step[3] for step in rollout(env, seed=seed, steps=2)] == [False, False, True]


def test_frame_stack_observation_shows_the_last_steps(make_env: MakeEnv) -> None:
    plain, env = make_env(**FAST), gymnasium.wrappers.FrameStackObservation(make_env(**FAST), 3)
    shown = [step[0] for step in rollout(plain, seed=0, steps=3)]
    for index, step in enumerate(rollout(env, seed=0, steps=3)):
        expected = [shown[max(0, index - back)] for back in (2, 1, 0)]
        np.testing.assert_array_equal(step[0], np.stack(expected))
        assert step[0] in env.observation_space


@pytest.mark.slow
@pytest.mark.parametrize("obs_mode", ["pixels", "pixels_state", "state", "clip", "tokens", "latents"])
def test_flatten_observation_makes_a_vector(make_env: MakeEnv, obs_mode: str) -> None:
    plain = make_env(obs_mode=obs_mode, **FAST)
    env = gymnasium.wrappers.FlattenObservation(make_env(obs_mode=obs_mode, **FAST))
    for one, other in zip(rollout(plain, seed=0, steps=1), rollout(env, seed=0, steps=1), strict=True):
        parts = [one[0][name].ravel() for name in sorted(one[0])] if isinstance(one[0], dict) else [one[0].ravel()]
        np.testing.assert_array_equal(other[0], np.concatenate(parts))
        assert other[0] in env.observation_space


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP"])
def test_vector_statistics_are_those_of_single_worlds(make_env: MakeEnv, make_vec: MakeVec, mode: str) -> None:
    envs = vector_wrappers.RecordEpisodeStatistics(make_vec(task=speed, max_episode_steps=3, autoreset_mode=mode))
    envs.reset(seed=5)
    chunk = envs.single_action_space.high
    returns: list[list[float]] = [[], []]
    for _ in range(8):
        *_, info = envs.step(np.stack([chunk, chunk]))
        for world in np.flatnonzero(info.get("_episode", [])):
            assert info["episode"]["l"][world] == 3
            returns[world].append(info["episode"]["r"][world])
    assert (envs.episode_count, [len(each) for each in returns]) == (4, [2, 2])
    for world in range(2):
        single = make_env(task=speed, max_episode_steps=3, **FAST)
        for episode, total in enumerate(returns[world]):
            single.reset(seed=5 + world if episode == 0 else None)
            assert total == pytest.approx(sum(single.step(chunk)[1] for _ in range(3)), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP"])
def test_vector_rewards_are_normalised(make_vec: MakeVec, mode: str) -> None:
    arguments = {"task": speed, "max_episode_steps": 2, "autoreset_mode": mode}
    plain, envs = make_vec(**arguments), vector_wrappers.NormalizeReward(make_vec(**arguments))
    plain.reset(seed=0)
    envs.reset(seed=0)
    for _ in range(5):
        action = plain.action_space.sample()
        rewards, scaled = plain.step(action)[1], envs.step(action)[1]
        assert scaled == pytest.approx(rewards / np.sqrt(envs.return_rms.var + 1e-8))
    assert envs.return_rms.count == pytest.approx(10 if mode == "SAME_STEP" else 8, abs=1e-3), (
        "one step begins an episode"
    )


# Stable-Baselines3


def learned(model: Any, steps: int) -> Any:
    """Returns the model after some steps, in which its weights have changed and stayed finite."""
    before = copy.deepcopy(model.policy.state_dict())
    model.learn(steps)
    assert model.num_timesteps >= steps
    after = model.policy.state_dict()
    assert all(torch.isfinite(weight).all() for weight in after.values())
    assert any((after[name] != weight).any() for name, weight in before.items())
    action, _ = model.predict(model.env.reset(), deterministic=True)
    assert all(each in model.action_space for each in action)
    return model


PPO_ARGUMENTS = {"n_steps": 8, "batch_size": 8, "n_epochs": 1, "seed": 0}
SAC_ARGUMENTS = {"learning_starts": 4, "batch_size": 4, "buffer_size": 50, "seed": 0}
CLIENTS = [
    pytest.param("PPO", "CnnPolicy", {"obs_mode": "pixels", "action_mode": "hold"}, id="PPO on pixels"),
    pytest.param("PPO", "CnnPolicy", {"obs_mode": "pixels", "action_mode": "delta"}, id="PPO by changes"),
    pytest.param("PPO", "MultiInputPolicy", {"obs_mode": "pixels_state", "action_mode": "hold"}, id="PPO on dicts"),
    pytest.param("SAC", "MlpPolicy", {"obs_mode": "latents", "action_mode": "hold"}, id="SAC on latents"),
    pytest.param("SAC", "MultiInputPolicy", {"obs_mode": "pixels_state", "action_mode": "delta"}, id="SAC on dicts"),
]


def sb3_model(algorithm: str, policy: str, env: Any, **arguments: Any) -> Any:
    sb3 = pytest.importorskip("stable_baselines3")
    defaults = PPO_ARGUMENTS if algorithm == "PPO" else SAC_ARGUMENTS
    return getattr(sb3, algorithm)(policy, env, device="cpu", **{**defaults, **arguments})


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "policy", "arguments"), CLIENTS)
def test_sb3_learns_in_single_worlds(make_env: MakeEnv, algorithm: str, policy: str, arguments: dict[str, Any]) -> None:
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env")

    def make() -> gymnasium.Env:
        env = make_env(normalized_actions=True, max_episode_steps=5, **arguments, **FAST)
        return gymnasium.wrappers.FlattenObservation(env) if policy == "MlpPolicy" else env

    learned(sb3_model(algorithm, policy, vec_env.DummyVecEnv([make, make])), 16)


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "policy", "arguments"), [CLIENTS[0], CLIENTS[2], CLIENTS[4]])
def test_sb3_learns_in_many_worlds_at_once(
    make_vec: MakeVec, algorithm: str, policy: str, arguments: dict[str, Any]
) -> None:
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env")
    from hwm_env.envs.sb3 import SB3VecEnv

    envs = make_vec(
        4, task=speed, autoreset_mode="SAME_STEP", normalized_actions=True, max_episode_steps=5, **arguments
    )
    model = learned(sb3_model(algorithm, policy, vec_env.VecMonitor(SB3VecEnv(envs))), 32)
    # Eight steps of four worlds, and the reset after them.
    assert [episode["l"] for episode in model.ep_info_buffer] == [5] * 4


@pytest.mark.slow
def test_sb3_sees_the_same_in_many_worlds_as_in_single_ones(make_env: MakeEnv, make_vec: MakeVec) -> None:
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env")
    from hwm_env.envs.sb3 import SB3VecEnv

    arguments = {"obs_mode": "pixels_state", "action_mode": "delta", "max_episode_steps": 2, "strict": True}
    many = SB3VecEnv(make_vec(autoreset_mode="SAME_STEP", **arguments))
    single = vec_env.DummyVecEnv([lambda: make_env(**arguments, **FAST)] * 2)
    assert (many.num_envs, many.observation_space, many.action_space) == (
        single.num_envs,
        single.observation_space,
        single.action_space,
    )
    for envs in (many, single):
        envs.seed(7)
        envs.set_options([{"start": 1}, {"target": "sofa"}])
    # DummyVecEnv gives OrderedDicts.
    assert fingerprint(many.reset()) == fingerprint(dict(single.reset()))
    assert fingerprint(many.reset_infos) == fingerprint(single.reset_infos)
    rng = np.random.default_rng(0)
    endings = 0
    for _ in range(5):
        actions = rng.uniform(-0.1, 0.1, (2, 25)).astype(np.float32)
        (seen, *judged, infos), (expected, *expected_judged, expected_infos) = many.step(actions), single.step(actions)
        assert fingerprint([seen, judged]) == fingerprint([dict(expected), expected_judged])
        for info, expected_info in zip(infos, expected_infos, strict=True):
            ended = "terminal_observation" in info
            # At an end, the first info of the next episode is there too.
            assert set(info) >= set(expected_info) if ended else set(info) == set(expected_info)
            assert fingerprint({name: info[name] for name in expected_info}) == fingerprint(expected_info)
            endings += ended
    assert endings >= 4
    # Options are for one reset.
    assert fingerprint(many.reset()) == fingerprint(dict(single.reset()))


@pytest.mark.parametrize("ends", [False, True])
def test_sb3_is_told_why_an_episode_ended(make_vec: MakeVec, ends: bool) -> None:
    pytest.importorskip("stable_baselines3")
    from hwm_env.envs.sb3 import SB3VecEnv
    from hwm_env.tasks.base import Outcome

    def task(previous: Any, now: Any) -> Outcome:
        return Outcome({"reward": 1.0}, success=ends, terminated=ends and now.predicted_steps == 2)

    envs = SB3VecEnv(make_vec(task=task, autoreset_mode="SAME_STEP", max_episode_steps=2))
    first = envs.reset()
    actions = np.stack([envs.action_space.low] * 2)
    for step in range(4):
        seen, _, dones, infos = envs.step(actions)
        last = step % 2 == 1
        assert dones.tolist() == [last] * 2
        # Both, where both happen, is a real end.
        assert [info["TimeLimit.truncated"] for info in infos] == [last and not ends] * 2
        for world, info in enumerate(infos):
            assert info["is_success"] == ends
            assert not {"final_obs", "final_info"} & set(info)
            assert ("terminal_observation" in info) == last
            if last:
                assert info["terminal_observation"].shape == seen[world].shape
                assert (info["terminal_observation"] != seen[world]).any()
    assert seen.shape == first.shape


def test_sb3_evaluates_policies(make_vec: MakeVec) -> None:
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    from hwm_env.envs.sb3 import SB3VecEnv

    def count(previous: Any, now: Any) -> float:
        return 1.5

    envs = SB3VecEnv(make_vec(task=count, autoreset_mode="SAME_STEP", max_episode_steps=3, **NORMALIZED))
    model = sb3_model("PPO", "CnnPolicy", envs)
    with pytest.warns(UserWarning, match="Evaluation environment is not wrapped with a ``Monitor``"):
        rewards, lengths = evaluation.evaluate_policy(model, envs, n_eval_episodes=3, return_episode_rewards=True)
    assert (rewards, lengths) == ([4.5] * 3, [3] * 3)


def test_sb3_shows_and_changes_all_worlds_at_once(make_vec: MakeVec) -> None:
    pytest.importorskip("stable_baselines3")
    from hwm_env.envs.sb3 import SB3VecEnv

    inner = make_vec(autoreset_mode="SAME_STEP", render_mode="rgb_array")
    envs = SB3VecEnv(inner)
    envs.reset()
    assert envs.render_mode == "rgb_array"
    assert [image.shape for image in envs.get_images()] == [(256, 256, 3)] * 2
    assert envs.get_attr("num_envs") == [2, 2]
    assert envs.get_attr("num_envs", indices=1) == [2]
    (states, _) = envs.env_method("get_state")
    envs.step(np.stack([envs.action_space.low] * 2))
    envs.env_method("set_state", states)
    assert inner.unwrapped.moments == tuple(state.episode.moment for state in states)
    envs.set_attr("favourite", 3)
    assert inner.unwrapped.favourite == 3
    assert envs.env_is_wrapped(gymnasium.Wrapper) == [False, False]
    for call in (lambda: envs.set_attr("favourite", 4, 0), lambda: envs.env_method("get_state", indices=[1])):
        with pytest.raises(InvalidInputError, match=r"indices must be None.* got some of them"):
            call()


@pytest.mark.parametrize("mode", ["NEXT_STEP", "DISABLED"])
def test_sb3_wants_resets_in_the_same_step(make_vec: MakeVec, mode: str) -> None:
    pytest.importorskip("stable_baselines3")
    from hwm_env.envs.sb3 import SB3VecEnv

    with pytest.raises(InvalidInputError, match=rf"envs must be gymnasium.make_vec.*SAME_STEP.*got Humanoid.*{mode}"):
        SB3VecEnv(make_vec(autoreset_mode=mode))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "policy", "arguments"),
    [
        CLIENTS[0],
        CLIENTS[4],
        *(pytest.param(*client.values, id=client.id, marks=pytest.mark.exhaustive) for client in CLIENTS[1:4]),
    ],
)
def test_sb3_learns_for_two_hundred_steps(
    make_env: MakeEnv, algorithm: str, policy: str, arguments: dict[str, Any]
) -> None:
    env = make_env(task=speed, normalized_actions=True, image_size=64, **arguments, **FAST)
    env = gymnasium.wrappers.FlattenObservation(env) if policy == "MlpPolicy" else env
    model = sb3_model(algorithm, policy, env, **({"n_steps": 40} if algorithm == "PPO" else {"buffer_size": 200}))
    assert len(learned(model, 200).ep_info_buffer) == 5, "of 40 steps each"


# CleanRL


@pytest.mark.slow
@pytest.mark.parametrize("obs_mode", ["pixels", "latents"])
def test_a_cleanrl_loop_learns(make_vec: MakeVec, obs_mode: str) -> None:
    torch.manual_seed(0)
    envs = make_vec(4, task=speed, obs_mode=obs_mode, max_episode_steps=3, **NORMALIZED)
    envs = vector_wrappers.RecordEpisodeStatistics(envs)
    agent = cleanrl_ppo.Agent(envs)
    before = [weight.clone() for weight in agent.parameters()]
    rollouts = cleanrl_ppo.train(envs, agent, updates=3, num_steps=6)
    for weight, was in zip(agent.parameters(), before, strict=True):
        assert torch.isfinite(weight).all()
        assert (weight != was).any()
    assert np.isfinite([loss for each in rollouts for loss in each.losses]).all()
    # Three steps, and one that only begins the next episode.
    begins = torch.cat([each.begins for each in rollouts])
    assert begins[:, 0].tolist() == [float(step % 4 == 3) for step in range(18)]
    rewards = torch.cat([each.rewards for each in rollouts])
    assert ((rewards == 0) == (begins == 1)).all()
    assert (envs.episode_count, set(envs.length_queue)) == (4 * 4, {3})


# TorchRL


@pytest.mark.slow
@pytest.mark.parametrize("obs_mode", ["pixels", "pixels_state", "clip", "tokens", "latents"])
def test_torchrl_accepts_the_specs(make_env: MakeEnv, obs_mode: str) -> None:
    torchrl = pytest.importorskip("torchrl.envs")
    utils = pytest.importorskip("torchrl.envs.utils")
    utils.check_env_specs(torchrl.GymWrapper(make_env(obs_mode=obs_mode, **FAST)))


@pytest.mark.slow
@pytest.mark.parametrize("obs_mode", ["pixels", "pixels_state", "tokens"])
def test_torchrl_lives_what_gymnasium_lives(make_env: MakeEnv, obs_mode: str) -> None:
    torchrl = pytest.importorskip("torchrl.envs")
    arguments = {"task": speed, "obs_mode": obs_mode, "max_episode_steps": 3, **NORMALIZED, **FAST}
    plain, env = make_env(**arguments), torchrl.GymWrapper(make_env(**arguments))
    # TorchRL resets to seed, and again to begin.
    env.set_seed(3)
    plain.reset(seed=3)
    played, (observation, _) = env.rollout(10), plain.reset()
    single_name = "pixels" if obs_mode == "pixels" else "observation"
    assert len(played) == 3
    for step in played:
        seen, reward, terminated, truncated, _ = plain.step(step["action"].numpy())
        for stored, values in ((step, observation), (step["next"], seen)):
            for name, value in (values if isinstance(values, dict) else {single_name: values}).items():
                # TorchRL calls what is named "state" an observation.
                np.testing.assert_array_equal(stored["observation" if name == "state" else name].numpy(), value)
        assert step["next", "reward"].item() == pytest.approx(reward)
        assert (step["next", "terminated"].item(), step["next", "truncated"].item()) == (terminated, truncated)
        observation = seen
