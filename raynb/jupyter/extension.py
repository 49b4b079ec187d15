"""Loads and unloads the extension: ``%load_ext raynb`` and ``%unload_ext raynb``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from raynb.jupyter import notebook as notebooks
from raynb.jupyter.notebook import Notebook
from raynb.jupyter.reports.card import LiveCards
from raynb.jupyter.taken_names import watch_names

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Loads the extension: settings, magics, output routing; the runtime starts behind it.

    Loading it again shows the card and changes nothing.

    Args:
        shell: the InteractiveShell.
    """
    notebook = notebooks.loaded()
    if notebook is None or notebook.shell is not shell:
        notebook = Notebook(shell)
        notebook.attach()
        try:
            _add_magics(notebook)
            _add_views(notebook)
            notebook.extras.append(watch_names(notebook))
        except BaseException:
            notebook.detach()
            raise
        if notebook.config.autostart:
            notebook.start()
    show_card(notebook)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Shuts the runtime down in order and removes everything that loading added."""
    notebook = notebooks.loaded()
    if notebook is None:
        return
    try:
        notebook.stop()
    finally:
        notebook.detach()


def show_card(notebook: Notebook) -> None:
    """Shows the card; not where nobody looks yet (an extension loaded from a profile)."""
    if notebook.cards is None:
        notebook.cards = LiveCards(notebook)
    notebook.cards.show()


def _add_magics(notebook: Notebook) -> None:
    from raynb.jupyter.magics.actor import ActorMagics
    from raynb.jupyter.magics.completion import complete_options
    from raynb.jupyter.magics.line import LineMagics
    from raynb.jupyter.magics.remote import RemoteMagics

    manager = notebook.shell.magics_manager
    before = {kind: dict(table) for kind, table in manager.magics.items()}
    for kind in (RemoteMagics, ActorMagics, LineMagics):
        notebook.shell.register_magics(kind(notebook.shell, notebook))
    notebook.shell.register_magic_function(_load_again(notebook), "line", "load_ext")
    notebook.extras.append(_restorer(manager, before))
    notebook.extras.append(complete_options(notebook))


def _load_again(notebook: Notebook) -> Callable[[str], Any]:
    """Returns a ``%load_ext`` that shows the card when raynb is loaded already; IPython's own only
    says that it is, without asking the extension."""
    load = notebook.shell.magics_manager.magics["line"]["load_ext"]

    @functools.wraps(load)
    def load_ext(line: str) -> Any:
        if line.strip() == "raynb" and notebooks.loaded() is notebook:
            return show_card(notebook)
        return load(line)

    return load_ext


def _restorer(manager: Any, before: dict[str, dict[str, Any]]) -> Callable[[], None]:
    """Returns a function that removes raynb's magics and restores those they replaced."""
    ours = {
        kind: {name: found for name, found in table.items() if before[kind].get(name) is not found}
        for kind, table in manager.magics.items()
    }

    def restore() -> None:
        for kind, names in ours.items():
            for name, found in names.items():
                if manager.magics[kind].get(name) is found:
                    del manager.magics[kind][name]
                    if name in before[kind]:
                        manager.magics[kind][name] = before[kind][name]

    return restore


def _add_views(notebook: Notebook) -> None:
    from raynb.jupyter.cells.surroundings import Surroundings
    from raynb.jupyter.inspection.collecting import Profiles
    from raynb.jupyter.inspection.post_mortem import PostMortems
    from raynb.jupyter.inspection.prompt import Breakpoints
    from raynb.jupyter.kept.results import Kept
    from raynb.jupyter.lineage.drawing import markup
    from raynb.jupyter.lineage.record import Record
    from raynb.jupyter.module_reloads import Reloads
    from raynb.jupyter.output.live_refs import LiveLines
    from raynb.jupyter.output.ref_lists import install as install_ref_lists
    from raynb.jupyter.output.registry import UNNUMBERED, cell_name
    from raynb.jupyter.output.transcripts import remember
    from raynb.jupyter.progress.waits import Waits
    from raynb.jupyter.reports.serialisation_log import SerialisationLog
    from raynb.jupyter.views.panel import attach_views

    notebook.surroundings = Surroundings(notebook)
    notebook.surroundings.install()
    notebook.extras.append(notebook.surroundings.uninstall)

    notebook.kept = Kept(notebook)
    notebook.extras.append(notebook.kept.uninstall)

    notebook.lineage = Record(notebook)
    notebook.lineage.install()
    notebook.extras.append(notebook.lineage.uninstall)

    notebook.waits = Waits(notebook)
    notebook.waits.install()
    notebook.extras.append(notebook.waits.uninstall)

    notebook.breakpoints = Breakpoints(notebook)
    notebook.breakpoints.install()
    notebook.extras.append(notebook.breakpoints.uninstall)

    notebook.profiles = Profiles(notebook)
    notebook.router.on_profile = notebook.profiles.received

    post_mortems = PostMortems(notebook)
    post_mortems.install()
    notebook.extras.append(post_mortems.uninstall)

    notebook.serialisation_log = SerialisationLog(notebook.shell.user_ns)
    notebook.serialisation_log.install()
    notebook.extras.append(notebook.serialisation_log.uninstall)

    reloads = Reloads(notebook)
    reloads.install()
    notebook.extras.append(reloads.uninstall)

    notebook.extras.append(remember(notebook.shell))
    notebook.extras.append(install_ref_lists(notebook.shell))
    lines = LiveLines(notebook)
    lines.install()
    notebook.extras.append(lines.uninstall)
    label = lambda scope: cell_name(scope) if 0 < scope < UNNUMBERED else ""  # noqa: E731
    notebook.extras.append(attach_views(notebook.shell, label, notebook.show_progress, notebook.lineage.why,
                                        lambda: markup(notebook.lineage), notebook.lineage.changes,
                                        lambda task: notebook.items.get(task, ""), notebook.on_names))  # fmt: skip
