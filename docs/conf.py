"""Sphinx configuration: MyST pages by Diataxis, an API reference by autodoc, every warning an error."""

from __future__ import annotations

import builtins
import importlib.metadata
import os
import sys
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

logger = logging.getLogger(__name__)

project = "quantumio"
author = "the quantumio developers"
copyright = "2026, the quantumio developers"
release = importlib.metadata.version("quantumio")
version = ".".join(release.split(".")[:2])

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_click",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]
nitpicky = True

# Single backticks in docstrings link to what they name, as in astropy's.
default_role = "py:obj"

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "furo"
html_title = f"quantumio {release}"
html_show_sourcelink = False

# Links into the documentation of other projects need their inventories from the network, which a build
# must work without: they are made where the documentation is published, elsewhere the name is text.
if os.environ.get("QUANTUMIO_DOCS_LINKS"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "anyio": ("https://anyio.readthedocs.io/en/stable/", None),
        "astropy": ("https://docs.astropy.org/en/stable/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "pandas": ("https://pandas.pydata.org/docs/", None),
        "polars": ("https://docs.pola.rs/api/python/stable/", None),
        "pyarrow": ("https://arrow.apache.org/docs/", None),
        "python": ("https://docs.python.org/3", None),
    }

EXTERNAL = sys.stdlib_module_names | {
    "anyio", "asdf", "astropy", "attr", "attrs", "cattrs", "click", "fsspec", "hypothesis", "np", "numpy",
    "pa", "pandas", "pl", "polars", "pyarrow", "pytest", "rich", "sqlalchemy", "trio",
}  # fmt: skip
# Bare names of other projects, as annotations spell them.
EXTERNAL_NAMES = {
    "Any", "AsyncIterator", "Awaitable", "Callable", "CCDData", "HDUList", "Iterable", "Iterator", "Literal",
    "Mapping", "MutableMapping", "NDArray", "Path", "PathLike", "Protocol", "QTable", "Self", "Sequence",
    "StrEnum", "Table", "Time", "TracebackType", "UUID",
}  # fmt: skip
# Where names are documented: at the top what users write, in a room what they are given.
PLACES = ("quantumio", "quantumio.butler", "quantumio.engine", "quantumio.model", "quantumio.ports",
          "quantumio.supertask", "quantumio.testing")  # fmt: skip

# Made by methods of others, never by their constructors, whose parameters are nobody's business.
NOT_CONSTRUCTED = {
    "AsyncCertifications", "AsyncDataContext", "AsyncDeferredDataset", "AsyncJoin", "AsyncQuantumContext",
    "AsyncQuery", "AsyncReceipt", "AsyncTicket", "Certifications", "DataContext", "DeferredDataset", "Join",
    "QuantumContext", "Query", "Receipt", "Ticket",
}  # fmt: skip


def hide_constructor(
    app: Sphinx,
    what: str,
    name: str,
    obj: object,
    options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str, str | None] | None:
    """Leave out the signature of classes that users only meet."""
    if what == "class" and name.rpartition(".")[2] in NOT_CONSTRUCTED:
        return "", None
    return None


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: Element
) -> nodes.reference | Element | None:
    """Resolve a name that is written shorter, or longer, than where it is documented.

    A private home such as ``quantumio.model._dataset.DatasetRef`` stands for the public
    ``quantumio.DatasetRef``; a name of another project stays text. All else is a broken reference.
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].lstrip(".")
    first, _, _ = target.partition(".")
    last = target.rpartition(".")[2]
    if first in EXTERNAL or target in EXTERNAL_NAMES or hasattr(builtins, target):
        return contnode
    if last.startswith("_"):  # a private base class is shown, but documented by what derives from it
        return contnode
    if target.startswith(("quantumio.butler._butler_", "quantumio.butler._async_butler_")):
        # sides of the Butler: its page has their methods
        return contnode
    parts = target.split(".")
    start = next((index for index, part in enumerate(parts) if part[:1].isupper()), len(parts) - 1)
    short = ".".join(parts[start:])  # the name without its module: a function, a class, or Class.method
    if first == "quantumio" or start == 0:
        domain = env.domains.python_domain
        for place in PLACES:
            found = domain.objects.get(f"{place}.{short}")
            if found is not None:
                return make_refnode(
                    app.builder, node["refdoc"], found.docname, found.node_id, contnode, target
                )
    logger.warning("%s names %r, which the reference does not document", node["refdoc"], target)
    return contnode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what this file adds to Sphinx."""
    app.connect("autodoc-process-signature", hide_constructor)
    app.connect("missing-reference", resolve, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
