"""Tests of hwm_env. The package is imported before PyTorch, as in most scripts of users."""

import hwm_env  # noqa: F401
