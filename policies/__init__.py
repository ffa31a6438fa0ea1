"""Policies for HWM-v0 and HWMReference-v0."""
