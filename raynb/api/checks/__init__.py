"""Checks of what callers give: arguments against signatures, labels against Ray's rules."""
