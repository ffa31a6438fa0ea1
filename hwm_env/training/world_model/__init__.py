"""Trains the world model by masked video modelling."""
