"""Cells: what a cell reads and binds, and its tasks."""
