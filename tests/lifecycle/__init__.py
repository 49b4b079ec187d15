"""How processes end, and that nothing of ours outlives them."""
