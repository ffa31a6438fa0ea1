"""Gymnasium environments of the learned world and of the reference world, with one interface."""
