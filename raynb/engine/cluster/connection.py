"""Connecting to a Ray cluster, and waiting until it can run something."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray import exceptions as theirs

from raynb.base import interrupts
from raynb.base.config import Config
from raynb.engine.cluster import bridge, rays, shipping
from raynb.engine.cluster.local_nodes import LocalNodes
from raynb.exceptions import RaySystemError

KNOCK_SECONDS = 10.0  # seconds that an address has to answer
LOOK_SECONDS = 0.5  # seconds between two looks while waiting, so that Ctrl-C comes through
SAID_AFTER, SAID_EVERY = 5.0, 15.0  # seconds after which, and how often, a wait is explained
#: What Ray says where none of the cluster's nodes is on this machine.
NO_NODE = ("No node info found", "Can't find a `node_ip_address.json`")
AUTH_MODE = "RAY_AUTH_MODE"  # the variable that says whether this process sends a token
TOKENS = (
    "the cluster asks for a token, or this process is to send one and has none (Ray 2.60 and later use tokens where "
    "RAY_AUTH_MODE=token is set, or where it is not set and there is a token): set RAY_AUTH_TOKEN, or "
    "RAY_AUTH_TOKEN_PATH, to its token (where Jupyter starts, or in os.environ), and not RAY_AUTH_MODE=disabled; "
    "`ray get-auth-token` on the head prints it. For a cluster without authentication set RAY_AUTH_MODE=disabled"
)


def connect(config: Config, env: dict[str, Any] | None = None) -> bool:
    """Connects this process to the cluster; returns False if it was connected already.

    Args:
        config: the settings.
        env: what `ship` returned: goes into the job's ``runtime_env``.

    Raises:
        ConnectionError: there is no cluster at that address.
        ValueError: settings of an embedded runtime were given as well.
    """
    if rays.is_connected():
        return False
    sizes = () if config.cluster else ("num_cpus", "num_gpus", "object_store_memory", "memory")
    sized = [name for name in sizes if getattr(config, name) is not None]
    if sized:
        raise ValueError(
            f"address={config.address!r} is a cluster that has its size: leave {', '.join(sized)} out."
        )
    _knock(config.address or "")
    # What tasks print comes to us on a way of its own; Ray's log monitor brings what C code and subprocesses print.
    given: dict[str, Any] = {"log_to_driver": config.log_to_driver, "logging_level": "WARNING"}
    if config.namespace:
        given["namespace"] = config.namespace
    wanted = dict(config.runtime_env or {})
    if env:
        wanted["py_modules"] = [*(wanted.get("py_modules") or ()), *env["py_modules"]]
    if wanted:
        given["runtime_env"] = wanted
    logging.getLogger("ray._private.worker").addFilter(_of_interest)
    try:
        _read_token_again()
        _check_token()
        ray.init(config.address, **given)
    except Exception as error:
        raise _explained(config.address or "", error) from error
    return True


@contextlib.contextmanager
def plain_ray_waits() -> Iterator[None]:
    """Has plain Ray's calls of other threads wait until this process is connected: the first of them would start a
    cluster of its own, or meet this start half-way."""
    hook = getattr(ray._private, "auto_init_hook", None)
    with getattr(hook, "auto_init_lock", contextlib.nullcontext()):
        yield


def throw_away(config: Config, say: Callable[[str], None]) -> LocalNodes:
    """Starts a Ray cluster on this machine that ends with the runtime; sets ``config.address``.

    Says after a few seconds how many nodes there are; a Ctrl-C ends the wait.

    Raises:
        ValueError: it is no cluster of this kind, or another one is connected already.
        RuntimeError: a node did not start; the text has its log's end.
        RaySystemError: the user waits no longer.
    """
    if config.cluster != "local":
        raise ValueError(f'cluster={config.cluster!r}: raynb starts "local" ones only; name others by address')
    if config.nodes < 1:
        raise ValueError(f"nodes={config.nodes!r}: a cluster has at least one node")
    if rays.is_connected():
        raise ValueError("this process is connected to a Ray cluster already; call ray.shutdown() first")
    given = {"num_cpus": int(config.num_cpus or 2), "num_gpus": int(config.num_gpus or 0)}
    if config.object_store_memory:
        given["object_store_memory"] = config.object_store_memory
    waiting = StartWait(say)
    with interrupts.Allowed():  # that takes up to minutes; what has started ends with the error
        made = LocalNodes([dict(given)])
    try:
        for number in range(1, config.nodes):
            waiting.look("start", f"{number} of {config.nodes} nodes {'is' if number == 1 else 'are'} there")
            with interrupts.Allowed():
                made.add_node(dict(given))
        config.address = made.address
        made.at_end = _without_token()  # its nodes ask for none, whatever other clusters do
    except BaseException:
        made.close()
        raise
    return made


def _check_token() -> None:
    """Raises Ray's error if this process is to send a token and has none: asking a head would end the process."""
    if not _has_tokens():
        return
    try:
        from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled as ensure

        inspect.signature(ensure).bind(None, create_token_if_missing=False)
    except (ImportError, TypeError, ValueError):
        return  # a Ray that looks in another way: what it says when it connects is explained
    ensure(None, create_token_if_missing=False)


def _has_tokens() -> bool:
    """Returns whether this Ray knows tokens; older ones do not."""
    return importlib.util.find_spec("ray._private.authentication") is not None


def _without_token() -> Callable[[], None]:
    """Has this process connect without a token of Ray's; returns the function that undoes it."""
    before = os.environ.get(AUTH_MODE)

    def undo() -> None:
        if before is None:
            os.environ.pop(AUTH_MODE, None)
        else:
            os.environ[AUTH_MODE] = before
        _read_auth_mode()

    try:
        os.environ[AUTH_MODE] = "disabled"
        _read_auth_mode()
    except BaseException:
        undo()
        raise
    return undo


def _read_token_again() -> None:
    """Has Ray look for the token again: where it was missing or wrong, the user has set it since."""
    _read_auth_mode()
    if _has_tokens():
        with contextlib.suppress(AttributeError, TypeError):
            ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


def _read_auth_mode() -> None:
    """Has Ray read the variable again: it does so once a process. One that offers no way to is left as it is."""
    if _has_tokens():
        with contextlib.suppress(AttributeError, TypeError):
            ray._raylet.Config.initialize("")


def _explained(address: str, error: Exception) -> Exception:
    """Returns an error of Ray's with what it means and what to do."""
    text = str(error) or type(error).__name__
    if not _is_about_tokens(text):
        text = _refusal(address) or text
    lower = text.lower()
    if _is_about_tokens(text):
        said = text.partition(" Ensure that")[0]  # what follows is in our words already
        return ConnectionError(f"no connection to the Ray cluster at {address}: {TOKENS}. Ray says: {said}")
    if "version mismatch" in lower:
        return RaySystemError(f"the Ray cluster at {address} runs other versions than this kernel: {text}")
    if isinstance(error, ConnectionError) and address == "auto":
        return ConnectionError(
            "address='auto' means the Ray cluster that this machine belongs to, and none is running here: start one "
            f"with `ray start --head`, or name an address (\"ray://host:10001\"). Ray says: {text}"
        )
    cause = f"{text} {error.__cause__ or ''}"
    if any(words in cause for words in NO_NODE):
        host = address.rpartition(":")[0]
        return ConnectionError(
            f"this machine is no node of the Ray cluster at {address}, and only nodes connect by that address: connect "
            f'as a client, init("ray://{host}:10001") (the head\'s client port), or run Jupyter on one of the nodes. '
            f"Ray says: {cause}"
        )
    if isinstance(error, (ConnectionError, RuntimeError, TimeoutError)):
        where = f"the Ray cluster at {address} answers, but the connection failed"
        said = f" Ray says: {cause.strip()}" if str(error) else ""  # an older driver on a newer cluster gets no word
        return ConnectionError(
            f"{where} (this is Ray {ray.__version__} on Python {sys.version.split()[0]}; the cluster must run the same "
            "Ray and the same minor version of Python: `ray --version` on the head says which, and "
            f"pip install \"ray==...\" brings it here).{said}"
        )
    return error


def _is_about_tokens(text: str) -> bool:
    return any(word in text.lower() for word in ("token", "unauthenticated", "authentication"))


def _refusal(address: str) -> str:
    """Returns the head's own answer to a connection it refuses: `ray.init` only says that it failed."""
    if "://" in address or ":" not in address:
        return ""
    try:
        from ray._raylet import GcsClient

        GcsClient(address=address)
    except Exception as error:
        return str(error) if "token" in str(error).lower() else ""
    return ""


def _of_interest(record: logging.LogRecord) -> bool:
    """Returns whether a warning of Ray's is worth showing: in a notebook it rightly sets no SIGTERM handler."""
    return "SIGTERM handler" not in record.getMessage()


def _knock(address: str) -> None:
    """Checks whether the address accepts connections: Ray itself takes minutes to find out."""
    host, _, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()
    except OSError as error:
        raise ConnectionError(f"no Ray cluster answers at {address}: {error}") from error


class StartWait:
    """A wait for the cluster while a runtime starts: says after a few seconds what is waited for, and can be given up.

    Args:
        say: shows a text to the user.

    Thread contract: one thread.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._began = time.monotonic()
        self._say_at = self._began + SAID_AFTER

    def seconds(self) -> float:
        """Returns for how long it has gone on."""
        return time.monotonic() - self._began

    def look(self, until: str, so_far: str = "") -> None:
        """Is called about every `LOOK_SECONDS`.

        Args:
            until: what the cluster is waited for to do, in words.
            so_far: what there is, in words; empty: what the cluster it is connected to has.

        Raises:
            RaySystemError: the user waits no longer.
        """
        if interrupts.given_up.is_set():
            raise RaySystemError("the start was interrupted while it waited for the cluster")
        if time.monotonic() >= self._say_at:
            self._say_at = time.monotonic() + SAID_EVERY
            told = f"waiting for the Ray cluster to {until} since {self.seconds():.0f} s: {so_far or lack()}"
            self._say(f"raynb: {told}. Interrupt the cell to stop waiting.\n")


def await_first(ref: object, config: Config, say: Callable[[str], None]) -> None:
    """Waits until the first thing that runs on the cluster is there (`Config.connect_timeout` seconds).

    Says after a few seconds what is waited for; a Ctrl-C ends the wait.

    Raises:
        RaySystemError: it did not come in time, or cannot run; the text says why and what to do.
    """
    waiting = StartWait(say)
    while True:
        try:
            with interrupts.Allowed():
                rays.get(ref, timeout=LOOK_SECONDS)
            return
        except theirs.GetTimeoutError:
            if waiting.seconds() >= config.connect_timeout:
                raise RaySystemError(
                    f"the cluster started no worker within {config.connect_timeout:g} s (connect_timeout): {lack()}"
                ) from None
            waiting.look("start a worker")
        except theirs.RayError as error:
            raise bridge.translate(error) from error


def lack() -> str:
    """Returns a text with the cluster's resources, for a message about a wait."""
    with contextlib.suppress(Exception):
        alive = [node for node in ray.nodes() if node["Alive"]]
        free, total = ray.available_resources(), ray.cluster_resources()
        cpus = f"{free.get('CPU', 0):g} of {total.get('CPU', 0):g} CPUs are free"
        return (
            f"{len(alive)} {'node is' if len(alive) == 1 else 'nodes are'} alive, {cpus}; a node that is new may still "
            "fetch its image or set up the runtime_env (see `ray status`)"
        )
    return "the cluster does not say what it has (see `ray status`)"


def ship(config: Config, say: Callable[[str], None]) -> dict[str, Any] | None:
    """Looks whether every node has this raynb; returns the ``runtime_env`` that brings it where it lacks.

    Says after a few seconds what is waited for; a Ctrl-C ends the wait.

    Raises:
        RaySystemError: nodes lack it, and ``ship_package`` is off.
    """
    waiting = StartWait(say)
    lines = shipping.lacking(shipping.ask_nodes(look=lambda: waiting.look("answer on every node")))
    if not lines:
        return None
    if not config.ship_package:
        raise RaySystemError(shipping.remedy(lines))
    return {"py_modules": shipping.upload()}
