"""Benchmarks: raynb beside its peers, in one run, on one machine.

``python -m benchmarks`` is the comparison; ``benchmarks.ray_perf``, ``benchmarks.store``,
``benchmarks.many`` and ``benchmarks.notebook`` are the others. See ``benchmarks/README.md``.
"""
