"""The engine's processes: the supervisor, and what watches over the workers."""
