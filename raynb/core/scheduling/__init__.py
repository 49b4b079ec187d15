"""Scheduling: which task runs on which worker; the workers and resources."""
