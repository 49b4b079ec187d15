"""debugpy in this process, for editors that speak the debug adapter protocol, at a socket that only this user can open.

debugpy itself listens on a port of this machine, which every user of it could open. Here it gets a Unix socket, in the
runtime's folder for this user alone, in the place of that port.

Thread contract: `serve` in a thread of ours, one at a time.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType, ModuleType
from typing import Any

SOCKET_SECONDS = 30.0  # that debugpy's own thread may take to begin
PATH_MAX_BYTES = 107  # of a socket's name, on Linux

_lock = threading.Lock()
_served = ""


def serve(path: str) -> str:
    """Has debugpy listen at a socket in this process; returns where it does, which is where it did before.

    Raises:
        ValueError: debugpy is not installed, or refuses.
    """
    global _served
    with _lock:
        if not _served:
            _listen(path)
            _served = path
        return _served


def _listen(path: str) -> None:
    if len(os.fsencode(path)) > PATH_MAX_BYTES:
        raise ValueError(f"the name of the socket, {path}, is longer than the system takes; "
                         "give init(object_spilling_directory=...) a shorter folder")  # fmt: skip
    # It would warn on stderr that a breakpoint in a module of Python's own may be missed.
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    try:
        import debugpy.server.api  # it puts its own pydevd in place

        pydevd = importlib.import_module("pydevd")
        # Of `sys.settrace`, which pdb calls when a task stops in the notebook instead.
        pydevd.pydevd_tracing.TracingFunctionHolder._warn = False
    except ImportError as error:
        raise ValueError(f"debugpy is not installed here ({error}): `%pip install 'raynb[debug]'`") from None
    for thread in threading.enumerate():
        if thread.name.startswith("raynb-"):  # a task that stops in the editor must not stop those
            _leave_out(thread)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(path)  # the folder is this user's alone, so nobody comes in before the next line
        os.chmod(path, 0o600)
        listening.listen(1)  # pydevd does it again, but only after the answer that it is there
        with _in_place_of_port(pydevd, listening):
            pydevd.settrace(
                host="127.0.0.1", port=0, suspend=False, wait_for_ready_to_run=False, block_until_connected=False,
                dont_trace_start_patterns=(os.path.dirname(debugpy.__file__),),
                dont_trace_end_patterns=("debugpy_launcher.py",), notify_stdin=False,
            )  # fmt: skip
        _let_go_on_when_editors_vanish(pydevd)
    except BaseException:
        listening.close()
        with contextlib.suppress(OSError):  # else the next try finds the name in use
            os.unlink(path)
        raise


@contextlib.contextmanager
def _in_place_of_port(pydevd: ModuleType, listening: socket.socket) -> Iterator[None]:
    """pydevd has no option for a Unix socket: it is given one where it makes its own."""
    made, given = pydevd.create_server_socket, threading.Event()

    def create_server_socket(host: str, port: int) -> socket.socket:
        given.set()
        return listening

    vars(pydevd)["create_server_socket"] = create_server_socket
    try:
        yield
        if not given.wait(SOCKET_SECONDS):
            raise ValueError("debugpy did not begin to listen")
    finally:
        vars(pydevd)["create_server_socket"] = made


def stop(frame: FrameType) -> bool:
    """Stops the calling thread at a frame's next line in the attached editor; returns False if there is none."""
    pydevd = sys.modules["pydevd"]
    debugger = _debugger(pydevd)
    if debugger is None or not debugger.is_attached() or not debugger.reader.is_alive():
        return False
    pydevd.settrace(suspend=True, trace_only_current_thread=True, stop_at_frame=frame, notify_stdin=False)
    return True


def _debugger(pydevd: ModuleType) -> Any:
    find = getattr(pydevd, "get_global_debugger", None)  # None: somebody imports it right now
    return find() if find is not None else None


def _leave_out(thread: threading.Thread) -> None:
    vars(thread)["pydev_do_not_trace"] = True


def _let_go_on_when_editors_vanish(pydevd: ModuleType) -> None:
    """pydevd lets a stopped task wait for the next editor when one is gone without a word (a tunnel that broke)."""
    debugger = _debugger(pydevd)
    connect = debugger.initialize_network

    def initialize_network(sock: socket.socket, **options: bool) -> None:
        connect(sock, **options)
        watch = threading.Thread(target=_await_end, args=(pydevd, debugger.reader), name="raynb-dap", daemon=True)
        _leave_out(watch)
        watch.start()

    vars(debugger)["initialize_network"] = initialize_network


def _await_end(pydevd: ModuleType, reader: threading.Thread) -> None:
    reader.join()
    debugger = _debugger(pydevd)
    if debugger.reader is reader and debugger.is_attached():
        pydevd.PyDevdAPI().request_disconnect(debugger, resume_threads=True)
