"""``ray._private.ray_constants``: the constants that libraries read."""

ID_SIZE = 28
DEFAULT_MAX_CONCURRENCY_ASYNC = 1000
#: Bytes of a store that Ray refuses to be smaller than.
OBJECT_STORE_MINIMUM_MEMORY_BYTES = 75 * 1024 * 1024
REDIS_DEFAULT_PASSWORD = ""
