"""What a failing task or actor looks like from outside."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from parity_programs import differs, program
from parity_programs._tools import PATIENCE, Tally, error, family, first_error, kind, says, until


@program
def an_error_is_a_task_error_and_its_cause(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def bad() -> None:
        raise ValueError("wrong number 7")

    caught = error(ray.get, bad.remote())
    return [
        type(caught).__name__,
        family(caught, ray.exceptions.RayTaskError, ValueError, ray.exceptions.RayError, KeyError),
        says(caught, "wrong number 7", "ValueError", "bad"),
        type(caught.cause).__name__,
    ]


@program
def attributes_and_methods_of_the_cause(ray: Any) -> Any:
    class Rich(Exception):
        def __init__(self, code: int) -> None:
            super().__init__(code)
            self.code = code

        def double(self) -> int:
            return 2 * self.code

    @ray.remote(max_retries=0)
    def bad() -> None:
        raise Rich(21)

    caught = error(ray.get, bad.remote())
    return [isinstance(caught, Rich), caught.code, caught.double(), repr(caught).partition("(Rich)")[0]]


@program
@differs("raynb keeps the class; Ray gives up on it", expected=[["RayTaskError", "Odd"], ["5: five"]])
def an_exception_whose_constructor_takes_two_arguments(ray: Any) -> Any:
    class Odd(Exception):
        def __init__(self, code: int, text: str) -> None:
            super().__init__(f"{code}: {text}")
            self.code = code

    @ray.remote(max_retries=0)
    def bad() -> None:
        raise Odd(5, "five")

    caught = error(ray.get, bad.remote())
    return [family(caught, ray.exceptions.RayTaskError, Odd), says(caught, "5: five")]


@program
@differs(
    "raynb keeps the class of an exception whose attributes cannot travel",
    expected=[["RayTaskError", "Locked"], ["held", "Locked"]],
)
def an_exception_that_cannot_be_pickled(ray: Any) -> Any:
    class Locked(Exception):
        def __init__(self, text: str) -> None:
            import threading

            super().__init__(text)
            self.lock = threading.Lock()

    @ray.remote(max_retries=0)
    def bad() -> None:
        raise Locked("held")

    caught = error(ray.get, bad.remote())
    return [family(caught, ray.exceptions.RayTaskError, Locked), says(caught, "held", "Locked")]


@program
def a_cause_of_a_cause(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def bad() -> None:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise RuntimeError("outer") from inner

    caught = error(ray.get, bad.remote())
    return [family(caught, RuntimeError, KeyError), says(caught, "inner", "outer", "direct cause")]


@program
def errors_pass_through_dependents(ray: Any) -> Any:
    ran = Tally()

    @ray.remote(max_retries=0)
    def bad() -> None:
        raise ValueError("first")

    @ray.remote
    def after(x: Any) -> None:
        ran.add()

    caught = error(ray.get, after.remote(after.remote(bad.remote())))
    return [family(caught, ray.exceptions.RayTaskError, ValueError), says(caught, "first"), ran.count()]


@program
def errors_of_nested_tasks(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def inner() -> None:
        raise ValueError("deep down")

    @ray.remote(max_retries=0)
    def outer() -> None:
        ray.get(inner.remote())

    caught = error(ray.get, outer.remote())
    return [family(caught, ray.exceptions.RayTaskError, ValueError), says(caught, "deep down", "outer")]


@program
def nested_refs_do_not_pass_errors(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def bad() -> None:
        raise ValueError("x")

    @ray.remote
    def look(box: list) -> str:
        return kind(ray.get, box[0])

    return ray.get(look.remote([bad.remote()]))


@program
def every_return_carries_the_error(ray: Any) -> Any:
    @ray.remote(num_returns=2, max_retries=0)
    def bad() -> None:
        raise ValueError("x")

    return [kind(ray.get, ref) for ref in bad.remote()]


@program
def get_of_a_list_raises_the_first_error(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def bad(which: str) -> None:
        raise ValueError(which)

    # A get ends with the first error that comes, so both must be there.
    refs = [ray.put(1), bad.remote("first"), bad.remote("second")]
    ray.wait(refs, num_returns=3, timeout=PATIENCE)
    return says(error(ray.get, refs), "first", "second")


@program
def a_base_exception(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def stop() -> None:
        raise KeyboardInterrupt("stop")

    @ray.remote(max_retries=0)
    def close() -> None:
        raise GeneratorExit

    @ray.remote
    def fine() -> str:
        return "fine"

    found = [family(error(ray.get, f.remote()), ray.exceptions.RayError) for f in (stop, close)]
    return [found, ray.get(fine.remote())]


@program
def system_exit_in_a_task(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def leave() -> None:
        sys.exit(3)

    return family(error(ray.get, leave.remote()), ray.exceptions.WorkerCrashedError)


@program
def os_exit_in_a_task(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def leave() -> None:
        os._exit(0)

    return kind(ray.get, leave.remote())


@program
def a_killed_worker(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @ray.remote
    def fine() -> str:
        return "fine"

    return [kind(ray.get, die.remote()), ray.get(fine.remote())]


@program
def a_constructor_that_raises(ray: Any) -> Any:
    @ray.remote
    class Broken:
        def __init__(self) -> None:
            raise ValueError("no start")

        def work(self) -> None: ...

    broken = Broken.remote()
    caught = error(ray.get, broken.work.remote())
    again = error(ray.get, broken.work.remote())
    return [
        family(caught, ray.exceptions.ActorDiedError, ray.exceptions.RayActorError, ValueError),
        says(caught, "no start", "ValueError"),
        type(again).__name__,
    ]


@program
def a_method_that_raises_leaves_the_actor_alive(ray: Any) -> Any:
    @ray.remote
    class Careful:
        def fail(self) -> None:
            raise KeyError("method")

        def fine(self) -> str:
            return "fine"

    careful = Careful.remote()
    caught = error(ray.get, careful.fail.remote())
    return [type(caught).__name__, says(caught, "Careful.fail", "method"), ray.get(careful.fine.remote())]


@program
def an_actor_that_dies_in_a_method(ray: Any) -> Any:
    @ray.remote
    class Mortal:
        def die(self) -> None:
            os._exit(1)

        def fine(self) -> str:
            return "fine"

    mortal = Mortal.remote()
    first = error(ray.get, mortal.die.remote())
    second = error(ray.get, mortal.fine.remote())
    return [type(first).__name__, type(second).__name__]


@program
def system_exit_in_a_method(ray: Any) -> Any:
    @ray.remote
    class Leaver:
        def leave(self) -> None:
            sys.exit(0)

        def fine(self) -> str:
            return "fine"

    leaver = Leaver.remote()
    first = error(ray.get, leaver.leave.remote())
    return [
        family(first, ray.exceptions.RayActorError),
        family(error(ray.get, leaver.fine.remote()), ray.exceptions.ActorDiedError),
    ]


@program
def a_constructor_that_dies(ray: Any) -> Any:
    @ray.remote
    class Stillborn:
        def __init__(self) -> None:
            os._exit(1)

        def work(self) -> None: ...

    return family(error(ray.get, Stillborn.remote().work.remote()), ray.exceptions.RayActorError)


@program(on_ray=False)
@differs(
    "Ray may lose the results of calls that finished before the death",
    expected=[[0, 1, 2], ["RayActorError"], ["RayActorError"], ["RayActorError"], ["RayActorError"]],
)
def a_queue_behind_a_death(ray: Any) -> Any:
    @ray.remote
    class Mortal:
        def fine(self, i: int) -> int:
            return i

        def die(self) -> None:
            os._exit(1)

    mortal = Mortal.remote()
    before = [mortal.fine.remote(i) for i in range(3)]
    dying = mortal.die.remote()
    after = [mortal.fine.remote(i) for i in range(3)]
    first = ray.get(before)
    return [first, family(error(ray.get, dying), ray.exceptions.RayActorError)] + [
        family(error(ray.get, ref), ray.exceptions.RayActorError) for ref in after
    ]


@program
def a_dead_actor_as_an_argument(ray: Any) -> Any:
    @ray.remote
    class Mortal:
        def value(self) -> int:
            return 1

    @ray.remote
    def use(handle: Any) -> str:
        return kind(ray.get, handle.value.remote())

    mortal = Mortal.remote()
    ray.get(mortal.value.remote())
    ray.kill(mortal)
    first_error(lambda: ray.get(mortal.value.remote()))  # on Ray, the kill arrives a moment after it was asked for
    return ray.get(use.remote(mortal))


@program
def errors_travel_inside_arguments(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def bad() -> None:
        raise ValueError("carried")

    @ray.remote
    def look(box: list) -> list:
        return [isinstance(box[0], ValueError), "carried" in str(box[0])]

    return ray.get(look.remote([error(ray.get, bad.remote())]))


@program
def returning_an_exception_is_no_error(ray: Any) -> Any:
    @ray.remote
    def give() -> Exception:
        return ValueError("a value")

    value = ray.get(give.remote())
    return [type(value).__name__, str(value)]


@program
def stop_iteration_in_a_task(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def stop() -> None:
        raise StopIteration("enough")

    return family(error(ray.get, stop.remote()), ray.exceptions.RayTaskError, StopIteration)


@program
def recursion_errors(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def deep() -> Any:
        def down(n: int) -> int:
            return down(n + 1)

        return down(0)

    return family(error(ray.get, deep.remote()), ray.exceptions.RayTaskError, RecursionError)


@program
def import_errors(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def load() -> None:
        import no_such_module_anywhere  # noqa: F401

    caught = error(ray.get, load.remote())
    return [family(caught, ray.exceptions.RayTaskError, ImportError), says(caught, "no_such_module_anywhere")]


@program(python=(3, 11))
def exception_groups(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def several() -> None:
        raise ExceptionGroup("both", [ValueError("a"), KeyError("b")])  # noqa: F821

    caught = error(ray.get, several.remote())
    inner = [type(one).__name__ for one in getattr(caught, "exceptions", [])]
    return [family(caught, ray.exceptions.RayTaskError, Exception), inner, says(caught, "both")]


@program
def the_exception_tree(ray: Any) -> Any:
    e = ray.exceptions
    pairs = [
        (e.RayTaskError, e.RayError),
        (e.TaskCancelledError, e.RayError),
        (e.GetTimeoutError, TimeoutError),
        (e.WorkerCrashedError, e.RayError),
        (e.ActorDiedError, e.RayActorError),
        (e.ActorUnavailableError, e.RayActorError),
        (e.ObjectLostError, e.RayError),
        (e.ObjectFreedError, e.ObjectLostError),
        (e.OwnerDiedError, e.ObjectLostError),
        (e.ObjectReconstructionFailedError, e.ObjectLostError),
        (e.ObjectStoreFullError, e.RayError),
        (e.OutOfMemoryError, e.RayError),
        (e.OutOfDiskError, e.RayError),
        (e.RuntimeEnvSetupError, e.RayError),
        (e.TaskUnschedulableError, e.RayError),
        (e.ActorUnschedulableError, e.RayError),
        (e.PendingCallsLimitExceeded, e.RayError),
        (e.RaySystemError, e.RayError),
        (e.AsyncioActorExit, e.RayError),
    ]
    return [[child.__name__, parent.__name__, issubclass(child, parent)] for child, parent in pairs]


@program
def the_traceback_names_the_users_lines(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def outermost() -> None:
        def helper_function() -> None:
            raise ValueError("seen")

        helper_function()

    caught = error(ray.get, outermost.remote())
    return says(caught, "helper_function", "outermost", 'raise ValueError("seen")')


@program
def failed_refs_are_still_there(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def bad() -> None:
        raise ValueError("again")

    ref = bad.remote()
    return [kind(ray.get, ref), kind(ray.get, ref), until(lambda: len(ray.wait([ref])[0]) == 1)]
