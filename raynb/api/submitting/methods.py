"""Submits calls of actors' methods."""

from __future__ import annotations

from typing import Any

from raynb.api import measured, streams
from raynb.api import options as o
from raynb.api.submitting.shown import ShownCalls, face, handed
from raynb.base.engine import Engine
from raynb.base.ref import ObjectRef
from raynb.base.spec import ActorSpec, TaskOptions
from raynb.exceptions import PendingCallsLimitExceeded
from raynb.serde import pickling


class MethodCalls(ShownCalls):
    """Submits calls of one method of one actor with one set of options."""

    __slots__ = ("_about", "_bare", "_given", "_options", "_ref", "_signature", "_spec", "name")

    def __init__(self, ref: ObjectRef[Any], spec: ActorSpec, name: str, about: Any, given: dict[str, Any]) -> None:
        self._ref = ref
        self._spec = spec
        self.name = name
        self._about = about
        self._given = given
        count = given.get("num_returns")
        if count in ("streaming", "dynamic") and not about["generator"] and about["signature"] is not None:
            raise streams.no_generator(count, name)
        self._signature = about["signature"]
        self._options: TaskOptions | None = None
        self._bare: TaskOptions | None = None  # the same, once a call without arguments needs no more looking at

    @property
    def _face(self) -> Any:
        signature = self._signature
        if signature is None:  # one of Ray's own methods, or a builtin's
            return face(MethodCalls.remote, None, name=self.name)
        if signature.face is None:
            signature.face = face(MethodCalls.remote, signature.of, signature.shown, name=self.name)
        return signature.face

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submits a call of the method; returns its ref, a list of refs, None, or a generator."""
        bare = self._bare
        if bare is not None and not args and not kwargs:
            refs: Any = self._ref._engine.submit(bare, pickling.NO_ARGS, self._spec.actor_id)
            return refs[0]
        options = self._options
        if options is None:
            options = self._options = self._make_options()
        if self._signature is not None:
            self._signature.check(args, kwargs)
        engine: Engine = self._ref._engine
        spec = self._spec
        if spec.max_pending_calls > 0:
            _check_pending(engine, spec)
        if not args and not kwargs:
            if options.num_returns == 1 and spec.max_pending_calls <= 0:
                self._bare = options
            return handed(options, engine.submit(options, pickling.NO_ARGS, spec.actor_id))
        packed = pickling.pack_args(args, kwargs, options.name)
        given = engine.submit(options, packed, spec.actor_id)
        if packed.began:
            measured.stored((*args, *kwargs.values()), packed.began)
        return handed(options, given)

    def with_options(self, given: dict[str, Any]) -> MethodCalls:
        """Returns calls of the method with further options."""
        return MethodCalls(self._ref, self._spec, self.name, self._about, {**self._given, **o.check(given, o.METHOD)})

    def _make_options(self) -> TaskOptions:
        given = {**self._about["given"], **self._given}
        groups = dict(self._spec.concurrency_groups)
        group = given.get("concurrency_group") or ""
        if group and group not in groups:
            raise ValueError(f"concurrency group {group!r} is not one of {sorted(groups)} of {self._spec.class_name}")
        retries = given.get("max_task_retries")
        return TaskOptions(
            name=given.get("name") or f"{self._spec.class_name}.{self.name}",
            function_name=f"{self._spec.class_name}.{self.name}",
            function=self.name,
            num_returns=o.returns(given.get("num_returns"), self._about["generator"]),
            resources=(),
            max_retries=self._spec.max_task_retries if retries is None else retries,
            retry_exceptions=o.retry_on(given.get("retry_exceptions")),
            timeout=given.get("timeout"),
            backpressure=given.get("_generator_backpressure_num_objects") or -1,
            concurrency_group=group,
        )

    def __reduce__(self) -> Any:
        return MethodCalls, (self._ref, self._spec, self.name, self._about, self._given)


def _check_pending(engine: Engine, spec: ActorSpec) -> None:
    count = engine.pending_calls(spec.actor_id)
    if count >= spec.max_pending_calls:
        raise PendingCallsLimitExceeded(
            f"The task {spec.class_name} could not be submitted because more than {spec.max_pending_calls} "
            f"tasks are queued on the actor. This limit can be adjusted with the `max_pending_calls` actor option."
        )
