"""Looking inside a process while its tasks run: stacks, and a sampling profiler."""
