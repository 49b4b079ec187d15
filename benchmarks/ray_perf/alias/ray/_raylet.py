"""Stands for Ray's native module: the script asks whether it was built with optimization."""

OPTIMIZED = True
