"""Reads the kernel's surroundings, part by part, as plain values that can be compared and sent.

Each reader returns what a fresh process needs in order to be like this one. What only the kernel has
(its own loggers' handlers, its plotting backend) is left out.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: rcParams that belong to the kernel's own process: where it draws, not how.
NOT_STYLE = ("backend", "interactive", "toolbar", "webagg.", "tk.", "macosx.", "savefig.directory", "datapath",
             "docstring.")  # fmt: skip

_FIGURES = ("image/png", "image/svg+xml", "image/jpeg", "application/pdf")


def environment(base: Mapping[str, str], touched: set[str]) -> dict[str, str | None]:
    """Returns the variables that ever differed from ``base``: name → value now, None: deleted.

    Args:
        base: the environment when the extension was loaded.
        touched: names that differed before; those that differ now are added.
    """
    now = _variables()
    touched.update(name for name in now.keys() | base.keys() if now.get(name) != base.get(name))
    return {name: now.get(name) for name in sorted(touched)}


def _variables() -> dict[str, str]:
    while True:
        try:
            return dict(os.environ)
        except KeyError:  # another thread has removed one meanwhile
            continue


def logging_levels() -> dict[str, Any]:
    """Returns levels of all loggers that have one, and the root's handlers that another process can have too."""
    manager = logging.root.manager
    # A copy, which is made at once: another thread imports what has loggers, while a runtime starts for example.
    loggers = {
        name: logger.level for name, logger in sorted(manager.loggerDict.copy().items())
        if isinstance(logger, logging.Logger) and logger.level
    }  # fmt: skip
    found = [described(handler) for handler in logging.root.handlers]
    capture = getattr(logging, "_warnings_showwarning", None) is not None
    return {"root": logging.root.level, "disable": manager.disable, "loggers": loggers, "capture": capture,
            "handlers": [handler for handler in found if handler is not None]}  # fmt: skip


def described(handler: logging.Handler) -> tuple[str, Any, int, logging.Formatter | None] | None:
    """Returns (kind, where, level, formatter) of a handler such as `basicConfig` makes; None for others."""
    if type(handler) is logging.FileHandler:
        return "file", (handler.baseFilename, handler.encoding), handler.level, handler.formatter
    if type(handler) is logging.StreamHandler:
        stream = handler.stream
        name = getattr(stream, "name", "")
        out = stream is sys.stdout or name in ("stdout", "<stdout>")
        if out or stream is sys.stderr or name in ("stderr", "<stderr>"):
            return "stream", "stdout" if out else "stderr", handler.level, handler.formatter
    return None


def warning_filters(filters: list[Any]) -> list[tuple[Any, ...]]:
    """Returns the filters; a category of a module as (module, name), so that nothing is imported for it."""
    found = []
    for action, message, category, module, line in filters:
        place = category
        if category.__module__ not in ("__main__", "builtins"):
            place = (category.__module__, category.__qualname__)
        found.append((action, message, place, module, line))
    return found


# -- print options -------------------------------------------------------------------------------
def numpy_raw() -> Any:
    """Returns numpy's own table of print options: another one after each change; None: it is not loaded."""
    kept = getattr(sys.modules.get("numpy._core.printoptions"), "format_options", None)
    return kept.get() if kept is not None else numpy_options()


def numpy_options() -> dict[str, Any] | None:
    """Returns numpy's print options; None: it is not loaded."""
    numpy = sys.modules.get("numpy")
    return dict(numpy.get_printoptions()) if hasattr(numpy, "get_printoptions") else None  # type: ignore[union-attr]


def pandas_raw() -> dict[str, Any] | None:
    """Returns pandas' own table of display options, as it is; None: it is not loaded, or has none."""
    config = sys.modules.get("pandas._config.config")
    table = getattr(config, "_global_config", None)
    display = table.get("display") if isinstance(table, dict) else None
    return display if isinstance(display, dict) else None


def pandas_options(touched: set[str]) -> dict[str, Any] | None:
    """Returns the display options that ever differed from pandas' defaults: name → value now."""
    config: Any = sys.modules.get("pandas._config.config")
    raw = pandas_raw()
    if raw is None:
        return None
    flat = dict(_flat(raw, "display."))
    known = getattr(config, "_registered_options", {})
    defaults = {name: known[name].defval for name in flat if name in known}
    touched.update(name for name, value in flat.items() if name in defaults and value != defaults[name])
    return {name: flat[name] for name in sorted(touched) if name in flat}


def _flat(table: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in table.copy().items():  # another thread may be in the middle of importing pandas
        nested = isinstance(value, dict)
        found.extend(_flat(value, f"{prefix}{name}.") if nested else [(prefix + name, value)])
    return found


def rc_raw() -> Any:
    """Returns matplotlib's ``rcParams``, as they are; None: it is not loaded."""
    return getattr(sys.modules.get("matplotlib"), "rcParams", None)


def rc_options(touched: set[str]) -> dict[str, Any] | None:
    """Returns the ``rcParams`` that ever differed from matplotlib's defaults: name → value now."""
    matplotlib: Any = sys.modules.get("matplotlib")
    now = rc_raw()
    if now is None:
        return None
    defaults = getattr(matplotlib, "rcParamsDefault", {})
    for name, value in dict.copy(now).items():
        if not name.startswith(NOT_STYLE) and dict.get(defaults, name) != value:
            touched.add(name)
    return {name: dict.__getitem__(now, name) for name in sorted(touched)}


#: numpy's print options as they come.
_NUMPY = {"edgeitems": 3, "threshold": 1000, "floatmode": "maxprec", "precision": 8, "suppress": False,
          "linewidth": 75, "nanstr": "nan", "infstr": "inf", "sign": "-", "formatter": None,
          "legacy": False}  # fmt: skip


def display_options() -> dict[str, Any]:
    """Returns the print options and ``rcParams`` that are not as they come: name → value."""
    numpy = numpy_options() or {}
    found = {f"numpy.{name}": value for name, value in numpy.items() if _NUMPY.get(name, value) != value}
    return {**found, **(pandas_options(set()) or {}), **(rc_options(set()) or {})}


def figures_raw(shell: InteractiveShell) -> tuple[Any, ...]:
    """Returns the printers of figures, for comparison."""
    figure = getattr(sys.modules.get("matplotlib.figure"), "Figure", None)
    if figure is None:
        return ()
    formatters = shell.display_formatter.formatters
    return tuple([formatters[mime].type_printers.get(figure) for mime in _FIGURES])


def figure_printers(shell: InteractiveShell) -> dict[str, Any] | None:
    """Returns how the notebook shows figures: mimetype → printer; None: as nobody has said."""
    found = zip(_FIGURES, figures_raw(shell), strict=False)
    return {mime: printer for mime, printer in found if printer is not None} or None
