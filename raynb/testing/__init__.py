"""Tools for tests, ours and the users': leak checks, a runtime fixture, faults, conformance.

Nothing here is imported by the rest of the package. `raynb_pytest` is a pytest plugin that installing raynb makes
available: it gives the fixture ``raynb_runtime``, which `raynb.testing.plugin` makes.
"""
