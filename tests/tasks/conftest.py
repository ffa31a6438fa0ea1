"""Tasks are tested in environments too."""

from tests.envs.conftest import env_id, make_env

__all__ = ["env_id", "make_env"]
