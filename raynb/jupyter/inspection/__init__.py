"""Stacks, profiles, breakpoints and post-mortems in the notebook."""
