"""Gymnasium environments: one environment, driven by the learned world or by the reference world."""
