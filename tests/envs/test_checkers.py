"""Gymnasium's and Stable-Baselines3's own checks; an unexpected warning is an error."""

import itertools
import warnings

import gymnasium.utils.env_checker
import pytest

from tests.envs.conftest import MakeEnv

ALL_MODES = list(itertools.product(["pixels", "pixels_state", "clip"], ["chunk", "hold"], [False, True]))
# The reference world differs in what it draws, not in its spaces; drawing takes its time.
MODES = {"HWM-v0": ALL_MODES, "HWMReference-v0": [ALL_MODES[0], ALL_MODES[7], ALL_MODES[9]]}
WANTS_NORMALISED = "symmetric and normalized"


@pytest.mark.usefixtures("no_screen")
@pytest.mark.parametrize(
    ("env_id", "obs_mode", "action_mode", "normalized"),
    [(env_id, *modes) for env_id, each in MODES.items() for modes in each],
)
def test_gymnasium(make_env: MakeEnv, env_id: str, obs_mode: str, action_mode: str, normalized: bool) -> None:
    env = make_env(env_id, obs_mode=obs_mode, action_mode=action_mode, normalized_actions=normalized)
    with warnings.catch_warnings():
        if action_mode == "hold" and not normalized:
            warnings.filterwarnings("ignore", f".*{WANTS_NORMALISED}")
        gymnasium.utils.env_checker.check_env(env.unwrapped)


def test_gymnasium_wants_normalised_vectors(make_env: MakeEnv) -> None:
    with pytest.warns(UserWarning, match=WANTS_NORMALISED):
        gymnasium.utils.env_checker.check_env(make_env(action_mode="hold").unwrapped, skip_render_check=True)


def test_gymnasium_without_a_task(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id, task=None, obs_mode="pixels_state")
    gymnasium.utils.env_checker.check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize("obs_mode", ["pixels", "pixels_state"])
@pytest.mark.parametrize("action_mode", ["chunk", "hold"])
def test_stable_baselines3(make_env: MakeEnv, env_id: str, obs_mode: str, action_mode: str) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    env = make_env(env_id, obs_mode=obs_mode, action_mode=action_mode, normalized_actions=True, render_mode="rgb_array")
    checker.check_env(env.unwrapped, skip_render_check=False)


@pytest.mark.parametrize(
    ("arguments", "warning"),
    [
        pytest.param({}, WANTS_NORMALISED, id="physical units"),
        pytest.param({"obs_mode": "clip", "normalized_actions": True}, "unconventional shape", id="clips"),
    ],
)
def test_what_stable_baselines3_recommends_otherwise(make_env: MakeEnv, arguments: dict, warning: str) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with pytest.warns(UserWarning, match=warning) as caught:
        checker.check_env(make_env(**arguments).unwrapped)
    assert len(caught) == 1
