"""Policies for HWM-v0 and HWMReference-v0: experts, planners, recorded, cloned and trained ones."""
