"""What passes through the machine: events, commands, rows, transition tables."""
