"""The process that measures one engine: reads commands, answers with lines of JSON.

Run by `benchmarks.session`, as ``python -m benchmarks.host ENGINE FD``. The commands come on
standard input, one a line: ``start WORKERS [STORE_BYTES SPILL_FOLDER]``, ``version``,
``case MODULE:NAME SECONDS``, ``stop``. Answers go to the descriptor ``FD``, so whatever an engine
prints can't get among them.

Little is imported before the engine, so that its own imports are not paid for by us.
"""

from __future__ import annotations

import os
import sys

from benchmarks import engines


def _answer(fd: int, **fields: object) -> None:
    import json

    os.write(fd, json.dumps(fields).encode() + b"\n")


def _case(adapter: engines.Adapter, name: str, seconds: float) -> dict[str, object]:
    import importlib

    module, _, short = name.partition(":")
    case = importlib.import_module(module).BY_NAME.get(short)
    if case is None:
        return {"error": f"there is no case {short!r} in {module}"}
    run = case.run
    if run is None:
        return {"error": f"the case {name!r} is measured from outside"}
    try:
        return {"samples": run(adapter, seconds)}
    except engines.Unsupported:
        return {"samples": []}
    except Exception as error:
        import traceback

        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"[:500]}


def main() -> None:
    """Serves one orchestrator until it says stop or goes away."""
    adapter = engines.adapter(sys.argv[1])
    fd = int(sys.argv[2])
    os.set_inheritable(fd, False)
    os.write(fd, b'{"ready": true}\n')
    started = False
    try:
        for line in sys.stdin:
            command, *words = line.split()
            if command == "start":
                if len(words) > 1:
                    adapter.store_memory, adapter.spill_folder = int(words[1]), words[2]
                adapter.load()
                adapter.start(int(words[0]))
                started = True
                adapter.task()
                os.write(fd, b'{"started": true}\n')
            elif command == "version":
                _answer(fd, version=adapter.version(), note=adapter.note, label=adapter.label)
            elif command == "case":
                _answer(fd, **_case(adapter, words[0], float(words[1])))
            elif command == "stop":
                break
    finally:
        if started:
            adapter.stop()
    _answer(fd, stopped=True)


if __name__ == "__main__":
    main()
