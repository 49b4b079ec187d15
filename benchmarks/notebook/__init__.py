"""The same notebook situations on raynb, Ray, ipyparallel and Dask, through real kernels.

``python -m benchmarks.notebook --peers PYTHON_WITH_THE_PEERS`` prints what each of them does.
"""
