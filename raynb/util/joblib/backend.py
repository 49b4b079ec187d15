"""The joblib backend: each batch that joblib makes is one remote task.

Large arguments that occur in many batches (the data of a grid search) are put into the object
store once and travel as refs.
"""

from __future__ import annotations

import concurrent.futures
import contextvars
import inspect
import multiprocessing
import threading
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

from joblib import Parallel
from joblib._parallel_backends import AutoBatchingMixin, ParallelBackendBase

from raynb import api as ray
from raynb.base.process import shelter
from raynb.base.ref import is_ref
from raynb.base.sizes import own_count, size_of
from raynb.util._private import Copies, Pickled, Repeated, private
from raynb.util.executor import Setup, as_broken_pool

#: Arguments from this size on (bytes) are shared through the store.
SHARED_MIN_BYTES = 100_000
#: A function, its arguments and its keywords.
_Item = tuple[Any, tuple[object, ...], dict[str, object]]
#: Returns the bytes of a value, or None if it cannot tell.
_Size = Callable[[object], int | None]


class _Place(int):
    """The number of the ref that stands there, among those of the batch."""


class _Lent(_Place):
    """The same of a ref that is the user's."""


#: Values of these classes are sent as they are, and are small.
PLAIN = frozenset((int, float, bool, complex, type(None), _Place, _Lent))
#: Values of these nobody changes: all may have the same one.
FIXED = frozenset((str, bytes))


def _number(ref: object, refs: list[object]) -> int:
    if ref not in refs:
        refs.append(ref)
    return refs.index(ref)


def _places(item: _Item) -> set[_Place]:
    """Returns those among an item's arguments."""
    _, args, kwargs = item
    return {value for value in (*args, *kwargs.values()) if isinstance(value, _Place)}


class _Shared:
    """A large argument in the object store, as long as unfinished batches use it."""

    __slots__ = ("ref", "users", "value")

    def __init__(self, value: object, ref: ray.ObjectRef[object]) -> None:
        self.value = value  # kept alive: its id names it
        self.ref = ref
        self.users = 1


class RaynbBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs joblib's batches as remote tasks.

    Args:
        ray_remote_args: options of the tasks (``num_cpus=`` ...).
        initializer: called in each worker process before the first batch there.
        initargs: its arguments.
        **kwargs: passed to joblib's base class.

    Raises:
        TypeError: an argument that is none of these.
    """

    supports_retrieve_callback = True
    supports_return_generator = True
    supports_timeout = True
    supports_inner_max_num_threads = False
    #: Seconds that joblib's batches are to take at least and at most. joblib's own, 0.2 and 2, hide what a pool's batch
    #: costs; one of ours costs less than a millisecond, and a long last batch leaves the other CPUs idle.
    MIN_IDEAL_BATCH_DURATION = 0.02
    MAX_IDEAL_BATCH_DURATION = 0.2
    #: Without ``n_jobs``, all CPUs: who names the backend wants it used.
    default_n_jobs = -1

    def __init__(
        self,
        *args: object,
        ray_remote_args: dict[str, Any] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[object, ...] = (),
        **kwargs: object,
    ) -> None:
        _refuse(kwargs, frozenset(("nesting_level", "inner_max_num_threads")))
        super().__init__(*args, **kwargs)
        self._options = ray_remote_args or {}
        self._setup = Setup.of(initializer, initargs)
        self._lock = threading.Lock()
        self._shared: dict[int, _Shared] = {}  # id of the object →
        # One backend serves several runs at once where a Parallel is called while another takes its items. Each run has
        # a thread for its callbacks, which wait for the lock of the run, and cancels its own batches only.
        self._refs: dict[ray.ObjectRef[object], Parallel] = {}
        self._threads: dict[Parallel, concurrent.futures.ThreadPoolExecutor] = {}

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[object, ...] = (),
        **others: object,
    ) -> int:
        """Called by joblib before a run; returns how many batches run at once."""
        _refuse(others, _of_parallel())
        self.parallel = parallel
        if ray_remote_args is not None:
            self._options = ray_remote_args  # also after an abort, which configures again
        if initializer is not None:
            self._setup = Setup.of(initializer, initargs)
        self._run = ray.remote(**self._options)(_run_batch) if self._options else ray.remote(_run_batch)
        return self.effective_n_jobs(n_jobs)

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Returns how many batches run at once; None and -1: as many as there are CPUs."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            n_jobs = self.default_n_jobs
        if n_jobs != 1 and multiprocessing.current_process().daemon and not ray.is_initialized():
            warnings.warn(
                "raynb-backed parallel loops cannot be called in a daemonic process, which has no runtime and may "
                "not start processes; setting n_jobs=1",
                stacklevel=3,
            )
            return 1
        if n_jobs > 0:
            return n_jobs
        if not ray.is_initialized():
            ray.init()
        return max(1, int(ray.cluster_resources().get("CPU", 1)) + 1 + n_jobs)

    def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> Any:
        """Starts a batch; joblib's ``callback`` gets its finished future."""
        used: dict[int, _Shared] = {}
        refs: list[object] = []
        sent, items = self._sent(func.items, used, refs)
        several = Counter(place for item in items for place in _places(item) if type(place) is _Lent)
        lent = {place: refs[place] for place, users in several.items() if users > 1}
        # What joblib wants a Parallel inside the batch to use: threads, or nothing parallel from the second level on.
        # Refs are arguments of their own, which a worker has when the batch starts: getting one inside would be a wait.
        ref = self._run.remote(sent, func._backend, func._n_jobs, self._setup, lent, *refs)
        run = getattr(callback, "parallel", self.parallel)
        self._refs[ref] = run
        future = ref.future()
        if callback is not None:
            # joblib submits more from its callback: not on a thread of the runtime.
            thread = self._threads.get(run)
            if thread is None:
                thread = self._threads[run] = concurrent.futures.ThreadPoolExecutor(1, "raynb-joblib")
            context = contextvars.copy_context()
            future.add_done_callback(lambda done: _post(thread, context, callback, done))
        future.add_done_callback(lambda _: self._ended(ref, used))
        return future

    apply_async = submit

    def _sent(
        self, items: list[_Item], used: dict[int, _Shared], refs: list[object]
    ) -> tuple[object, list[_Item]]:
        """Returns what travels in the place of a batch's items, all of them in one pickle, and these; see `_share`.

        To look through an estimator, a scorer and twenty other arguments for what is large takes longer than to pickle
        them. So only if the pickle is large they are looked through, and pickled again without what is shared.
        """
        items = self._replaced(items, used, refs, own_count)
        try:
            pickled = Pickled(items)
        except Exception as error:
            if shelter.was_sent(error):  # what a signal handler raises is the caller's
                raise
            return private(items), items  # whose error, where it is pickled with the call, names the culprit
        if pickled.size < SHARED_MIN_BYTES:
            return pickled, items
        before = len(used)
        items = self._replaced(items, used, refs, size_of)
        return (private(items) if len(used) > before else pickled), items

    def _replaced(
        self, items: list[_Item], used: dict[int, _Shared], refs: list[object], size: _Size
    ) -> list[_Item]:
        return [
            (
                f,
                tuple(self._share(value, used, refs, size) for value in args),
                {name: self._share(value, used, refs, size) for name, value in kwargs.items()},
            )
            for f, args, kwargs in items
        ]

    def _share(
        self, value: object, used: dict[int, _Shared], refs: list[object], size: _Size
    ) -> object:
        """Returns what travels in a value's place; a shared one is added to those that its batch uses.

        Args:
            value: an argument of an item.
            used: id of a large value → the shared one of it.
            refs: those that the batch's items have, with the `_Place` of each in the items.
            size: returns the bytes of a value, or None if it cannot tell.
        """
        if type(value) in PLAIN:
            return value
        if is_ref(value):
            return _Lent(_number(value, refs))
        key = id(value)
        if key not in used:
            with self._lock:
                shared = self._shared.get(key)
                if shared is not None:
                    shared.users += 1
            if shared is None:
                if (size(value) or 0) < SHARED_MIN_BYTES:
                    return value
                shared = _Shared(value, ray.put(value if type(value) in FIXED else Repeated(value)))
                with self._lock:
                    self._shared[key] = shared
            used[key] = shared
        return _Place(_number(used[key].ref, refs))

    def _ended(self, ref: ray.ObjectRef[object], used: dict[int, _Shared]) -> None:
        """Drops what no unfinished batch uses: where each item has large arguments of its own, all would stay else."""
        self._refs.pop(ref, None)
        with self._lock:
            for key, shared in used.items():
                shared.users -= 1
                if not shared.users and self._shared.get(key) is shared:
                    del self._shared[key]
        used.clear()  # the last of them go here, where no lock is held

    def retrieve_result_callback(self, out: Any) -> Any:
        """Returns a finished future's value, or raises its error."""
        error = out.exception()
        if error is not None:
            raise as_broken_pool(error)
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Called by joblib after an error: cancels what has not finished."""
        for ref, run in list(self._refs.items()):
            if getattr(run, "_aborting", True):
                ray.cancel(ref)
                self._refs.pop(ref, None)
        if ensure_ready:
            self.configure(n_jobs=self.parallel.n_jobs, parallel=self.parallel)

    def terminate(self) -> None:
        """Called by joblib at the end of a run; others may go on."""
        for run, thread in list(self._threads.items()):
            if not getattr(run, "_calling", False):
                thread.shutdown(wait=False)
                self._threads.pop(run, None)
        if not self._threads:
            self.reset_batch_stats()
            with self._lock:
                self._shared.clear()


def _of_parallel() -> frozenset[str]:
    """Returns the names of what joblib itself passes to every backend."""
    return frozenset((*inspect.signature(Parallel.__init__).parameters, "context"))


def _refuse(given: dict[str, object], known: frozenset[str]) -> None:
    """Raises `TypeError` for an argument of the user's that would do nothing."""
    unknown = sorted(given.keys() - known)
    if unknown:
        raise TypeError(
            f'the joblib backend "ray" has no argument {unknown[0]!r}; it takes ray_remote_args= (a dict of the '
            "options of its tasks: num_cpus, max_retries, ...), initializer= and initargs="
        )


def _post(
    thread: concurrent.futures.Executor, context: contextvars.Context, callback: Any, done: Any
) -> None:
    try:
        thread.submit(context.run, callback, done)
    except RuntimeError:  # the run was aborted and its thread is gone
        pass


def _run_batch(
    items: list[_Item],
    inner: object,
    inner_jobs: int | None,
    setup: Setup | None,
    lent: dict[int, Any],
    *shared: object,
) -> object:
    """Runs a batch on a worker, where code that names the backend finds it too."""
    from joblib import parallel_config

    from raynb.util.joblib import register_ray

    register_ray()
    if setup is not None:
        setup.run()
    given = _Given(shared, lent)
    with parallel_config(inner, n_jobs=inner_jobs):
        results = []
        for item in items:
            func, args, kwargs = given.filled(item)
            results.append(func(*args, **kwargs))
            del args, kwargs  # a large argument ends before the next one is made
        return private(results)


class _Given:
    """What a batch's places stand for: each item gets a value of its own, whatever another one does to its."""

    def __init__(self, shared: tuple[object, ...], lent: dict[int, Any]) -> None:
        self._shared = shared
        self._lent = lent  # number of a user's ref that several items have → it
        self._taken: set[_Place] = set()

    def filled(self, item: _Item) -> _Item:
        """Returns an item with values in its places."""
        func, args, kwargs = item
        values = {place: self._value(place) for place in _places(item)}
        if not values:
            return item
        return (
            func,
            tuple(values[value] if isinstance(value, _Place) else value for value in args),
            {key: values[value] if isinstance(value, _Place) else value for key, value in kwargs.items()},
        )

    def _value(self, place: _Place) -> object:
        value = self._shared[place]
        if isinstance(value, Copies):
            return value.another()
        if place in self._taken and place in self._lent:
            return ray.get(self._lent[place])
        self._taken.add(place)
        return value
