"""What a plain script shows at its terminal: the output of tasks, and the prompts of those at a breakpoint."""
