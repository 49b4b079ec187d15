"""`Pool` of the standard library's ``multiprocessing``, on actors (``ray.util.multiprocessing``)."""

from multiprocessing import JoinableQueue, TimeoutError

from raynb.util.multiprocessing.pool import Pool
from raynb.util.multiprocessing.results import AsyncResult, IMapIterator

__all__ = ["AsyncResult", "IMapIterator", "JoinableQueue", "Pool", "TimeoutError"]
