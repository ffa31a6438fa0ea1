"""Demonstrations of hwm_env."""
