"""Objects: reference counts, spilling, streams."""
