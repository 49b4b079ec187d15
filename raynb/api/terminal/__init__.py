"""Shows the output of tasks, and the prompts of those at a breakpoint, at the terminal of a plain script."""
