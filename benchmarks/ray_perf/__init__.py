"""Ray's own microbenchmark script, as it comes in Ray's package, on raynb and on Ray.

``python -m benchmarks.ray_perf --peers PYTHON_WITH_RAY`` runs both and prints the ratio of each row. ``--before TREE``
(a commit, or the root of a checkout) runs another version of raynb in Ray's place. The folder ``alias`` holds a package
named ``ray`` that stands for raynb; it is put on the path of the raynb process and of its workers alone.
"""
