"""Runs raynb's tasks and actors inside Ray's workers, with the engine of their nested calls, and reports on them."""
