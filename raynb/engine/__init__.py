"""The driver's side: the loop that owns the machine, its effects, the processes, the engines."""
