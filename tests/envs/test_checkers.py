"""Gymnasium's and Stable-Baselines3's own checks; an unexpected warning is an error."""

import itertools
import warnings

import gymnasium.utils.env_checker
import pytest
from gymnasium.wrappers import FlattenObservation

from tests.combinations import grid
from tests.envs.conftest import MakeEnv

pytestmark = pytest.mark.slow

OBS_MODES, ACTION_MODES = ["pixels", "pixels_state", "state", "clip", "tokens", "latents"], ["chunk", "hold", "delta"]
MODES = list(
    grid({"obs_mode": OBS_MODES, "action_mode": ACTION_MODES, "normalized": [False, True], "renders": [True, False]})
)
# The reference world differs in what it draws, not in its spaces; drawing takes its time.
MODES_OF = {"HWM-v0": MODES, "HWMReference-v0": [pytest.param(*modes.values) for modes in MODES[::14]]}
WANTS_NORMALISED = "symmetric and normalized"


@pytest.mark.usefixtures("no_screen")
@pytest.mark.parametrize(
    ("env_id", "obs_mode", "action_mode", "normalized", "renders"),
    [pytest.param(env_id, *modes.values, marks=modes.marks) for env_id, each in MODES_OF.items() for modes in each],
)
def test_gymnasium(
    make_env: MakeEnv, env_id: str, obs_mode: str, action_mode: str, normalized: bool, renders: bool
) -> None:
    env = make_env(env_id, obs_mode=obs_mode, action_mode=action_mode, normalized_actions=normalized)
    with warnings.catch_warnings():
        if action_mode != "chunk" and not normalized:
            warnings.filterwarnings("ignore", f".*{WANTS_NORMALISED}")
        gymnasium.utils.env_checker.check_env(env.unwrapped, skip_render_check=not renders)


def test_gymnasium_wants_normalised_vectors(make_env: MakeEnv) -> None:
    with pytest.warns(UserWarning, match=WANTS_NORMALISED):
        gymnasium.utils.env_checker.check_env(make_env(action_mode="hold").unwrapped, skip_render_check=True)


def test_gymnasium_without_a_task(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id, task=None, obs_mode="pixels_state")
    gymnasium.utils.env_checker.check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize(
    ("env_id", "obs_mode", "action_mode"),
    [
        *(("HWM-v0", *modes) for modes in itertools.product(OBS_MODES, ACTION_MODES)),
        ("HWMReference-v0", "pixels_state", "delta"),
    ],
)
def test_stable_baselines3(make_env: MakeEnv, env_id: str, obs_mode: str, action_mode: str) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    env = make_env(env_id, obs_mode=obs_mode, action_mode=action_mode, normalized_actions=True, render_mode="rgb_array")
    if obs_mode in ("clip", "tokens", "latents"):
        # It knows images and vectors only.
        checker.check_env(FlattenObservation(env.unwrapped))
    else:
        checker.check_env(env.unwrapped, skip_render_check=False)


@pytest.mark.parametrize("task", ["face-target", "look-at", "reach-cube", "goal-image"])
def test_every_task(make_env: MakeEnv, env_id: str, task: str) -> None:
    env = make_env(env_id, task=task, obs_mode="pixels_state")
    gymnasium.utils.env_checker.check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize("render_mode", ["rgb_array", "rgb_array_list"])
def test_the_passive_checker_is_silent(make_env: MakeEnv, render_mode: str) -> None:
    """`gymnasium.make` wraps environments in it; warnings are errors here."""
    env = make_env(render_mode=render_mode)
    for _ in range(2):
        env.reset(seed=0)
        env.step(env.action_space.sample())
        env.render()


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
