"""Ten real workloads, each written in the idiom of raynb and of its peers: ``python -m benchmarks.workloads``.

`problems` has the data and the plain functions that every engine runs; `idioms` has what a user writes around them;
`measured` is the process of one engine and one workload; `samples` is the file of a run, `tables` and `picture` show
it; `__main__` runs them all.
"""
