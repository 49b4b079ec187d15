"""Sphinx settings of the documentation site; `make docs` builds it."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "scripts"))

import make_reference  # noqa: E402  found by the line above

make_reference.write(HERE / "generated")

from pygments.lexers.special import TextLexer  # noqa: E402
from sphinx.highlighting import lexers  # noqa: E402

import raynb  # noqa: E402

lexers["mermaid"] = TextLexer()  # diagrams that GitHub draws are shown as their text

project = "raynb"
author = "raynb contributors"
release = raynb.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["build", "jupyter_execute", "**/.ipynb_checkpoints"]
html_theme = "furo"
html_title = "raynb"
html_static_path: list[str] = []
# The notebooks are run by their own stage of the tests; the site shows the outputs that they were saved with.
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "deflist", "linkify"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # a column named `type` is no target: it would take the links to Python's own
suppress_warnings = [
    "mystnb.unknown_mime_type",  # widgets are saved beside a text that is shown instead
    "myst.xref_missing",  # links from docs to files of the repository
]
