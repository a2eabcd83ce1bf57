"""How the documentation is built: `sphinx-build -W --keep-going -b html docs docs/_build/html`.

Pages with `{code-cell}` blocks are notebooks: the build runs them and fails when a cell fails.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.ext.napoleon import Config, GoogleDocstring

import structpage

project = "structpage"
author = "The structpage developers"
copyright = f"2026, {author}"  # noqa: A001  the name that Sphinx reads
version = release = structpage.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

# Each page is run anew, in a temporary folder, because a cache would not see a change of the library.
os.environ["STRUCTPAGE_DOCS"] = str(Path(__file__).parent)  # where a page finds a file beside it
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
myst_heading_anchors = 3
smartquotes = False  # `--json` in a heading must stay what one types

# Docstrings write names in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
python_maximum_signature_line_length = 90

html_theme = "furo"
html_title = f"structpage {release}"
html_copy_source = False


def skip_bare_fields(app, what, name, member, skip, options):
    """Leave out the fields of a NamedTuple that nobody documented: the class says what they are."""
    return True if (getattr(member, "__doc__", None) or "").startswith("Alias for field number") else None


def read_sections(app, what, name, member, options, lines):
    """Read `Args:` and `Raises:`; not in an attribute's text, where words before a colon would be taken for a type."""
    if what not in ("attribute", "data", "property"):
        lines[:] = GoogleDocstring(lines, Config(), app, what, name, member, options).lines()


ARRAY = re.compile(r"[~\w.]*ndarray\[tuple\[[~\w.]*Any, \.\.\.\], [~\w.]*dtype\[[~\w.]*?(\w+)(?:\[[~\w.]*Any\])?\]\]")
ARRAY_LIKE = re.compile(r"[~\w.]*_Buffer \| [~\w.]*_SupportsArray.*?complex \| bytes \| str\]")


def shorter(text):
    """Write the types of numpy as the source does: `NDArray[int64]`, `ArrayLike`."""
    return ARRAY_LIKE.sub("ArrayLike", ARRAY.sub(lambda found: f"NDArray[{found[1]}]", text))


def shorten_signature(app, what, name, member, options, signature, returned):
    """Shorten the types of a function."""
    return signature and shorter(signature), returned and shorter(returned)


def shorten_attribute(app, domain, kind, content):
    """Shorten the type of an attribute or a property."""
    for annotation in content.parent[0].findall(addnodes.desc_annotation):
        if shorter(annotation.astext()) != annotation.astext():
            annotation[:] = [nodes.Text(shorter(annotation.astext()))]


def setup(app):
    """Connect what this file defines."""
    app.connect("autodoc-skip-member", skip_bare_fields)
    app.connect("autodoc-process-docstring", read_sections)
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("object-description-transform", shorten_attribute)
