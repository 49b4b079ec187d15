"""A plugin of pytest for Dask's own tests: raynb's scheduler where they take their default."""

import dask

import raynb
from raynb.util.dask import ray_dask_get

raynb.init(num_cpus=2, log_to_driver=False)
dask.config.set(scheduler=ray_dask_get)
