"""What a worker answers about its running tasks, and its debugger."""
