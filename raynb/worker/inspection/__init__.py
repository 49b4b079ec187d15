"""Answers questions about a worker's running tasks, and debugs them."""
