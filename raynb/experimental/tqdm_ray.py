"""``ray.experimental.tqdm_ray``: progress bars inside tasks, see `raynb.util.tqdm_ray`."""

from raynb.util.tqdm_ray import safe_print, tqdm

__all__ = ["safe_print", "tqdm"]
