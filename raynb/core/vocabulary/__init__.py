"""The machine's vocabulary: events, commands, rows, transition tables."""
