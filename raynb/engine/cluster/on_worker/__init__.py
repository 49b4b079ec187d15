"""What runs inside Ray's workers: raynb's tasks and actors, the engine of their nested calls, their reports."""
