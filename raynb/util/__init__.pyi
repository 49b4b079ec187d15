"""Types of `raynb.util`, whose names are loaded when they are first used; for editors and type checkers."""

import pdb as pdb
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, Literal, overload

from typing_extensions import TypeVar

from raynb import ObjectRef
from raynb import as_completed as as_completed
from raynb.actor import Remote
from raynb.util import accelerators as accelerators
from raynb.util import actor_pool as actor_pool
from raynb.util import annotations as annotations
from raynb.util import check_serialize as check_serialize
from raynb.util import dask as dask
from raynb.util import debug as debug
from raynb.util import executor as executor
from raynb.util import frames as frames
from raynb.util import helpers as helpers
from raynb.util import joblib as joblib
from raynb.util import metrics as metrics
from raynb.util import multiprocessing as multiprocessing
from raynb.util import node as node
from raynb.util import queue as queue
from raynb.util import scheduling_strategies as scheduling_strategies
from raynb.util import serialization as serialization
from raynb.util import state as state
from raynb.util import timer as timer
from raynb.util import tqdm_ray as tqdm_ray
from raynb.util.actor_pool import ActorPool as ActorPool
from raynb.util.check_serialize import inspect_serializability as inspect_serializability
from raynb.util.debug import disable_log_once_globally as disable_log_once_globally
from raynb.util.debug import enable_periodic_logging as enable_periodic_logging
from raynb.util.debug import log_once as log_once
from raynb.util.executor import Executor as Executor
from raynb.util.kept_functions import keep as keep
from raynb.util.node import get_node_instance_id as get_node_instance_id
from raynb.util.node import get_node_ip_address as get_node_ip_address
from raynb.util.node import list_named_actors as list_named_actors
from raynb.util.node import timeline as timeline
from raynb.util.placement_group import get_current_placement_group as get_current_placement_group
from raynb.util.placement_group import get_placement_group as get_placement_group
from raynb.util.placement_group import placement_group as placement_group
from raynb.util.placement_group import placement_group_table as placement_group_table
from raynb.util.placement_group import remove_placement_group as remove_placement_group
from raynb.util.queue import Queue as Queue
from raynb.util.serialization import deregister_serializer as deregister_serializer
from raynb.util.serialization import register_serializer as register_serializer

A = TypeVar("A")
R = TypeVar("R")

rpdb: ModuleType

@overload
def map_unordered(
    fn: Remote[Callable[[A], R]],
    items: Iterable[A],
    *,
    backpressure_size: int | None = 100,
    chunk_size: int = 10,
    yield_obj_refs: Literal[False] = False,
    **kwargs: Any,
) -> Iterator[R]: ...
@overload
def map_unordered(
    fn: Remote[Callable[[A], R]],
    items: Iterable[A],
    *,
    backpressure_size: int | None = 100,
    chunk_size: int = 10,
    yield_obj_refs: Literal[True],
    **kwargs: Any,
) -> Iterator[ObjectRef[R]]: ...
