"""Actors: placement, ordered calls, restarts, rings of waits."""
