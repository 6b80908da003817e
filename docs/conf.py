# SPDX-License-Identifier: GPL-3.0-or-later
"""How `tests/site` makes a site of the pages of this collection and of what antsibull-docs says of its roles and plugins."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

# Half of what a build takes is a search for cycles, of which it makes few: without it, 20 s of CPU in place of 38, and half a gigabyte.
gc.disable()

project = "drydock.registry"
author = "The drydock authors"
version = release = str(yaml.safe_load(Path(__file__).parents[1].joinpath("galaxy.yml").read_text("utf-8"))["version"])

extensions = ["myst_parser", "sphinx_antsibull_ext"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "molecule/*.md", "rehearsal/*.md", "roles/*/README.md", "collections/**.rst"]
highlight_language = "none"
# Links lead to headings as on GitHub.
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"drydock.registry {version}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
antsibull_ext_color_scheme = "default-autodark"

# The pages that list others, by a link at the start of a list's item or a table's row. What stands in no list fails the build.
LISTS = {"docs/index", "docs/roles"}
# Ansible's own documentation, which a build without a network cannot ask where its labels are.
ANSIBLE = "https://docs.ansible.com/projects/ansible/latest"
ANSIBLE_LABELS = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "callback_plugins": "plugins/callback.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}
# An entry point's name and its inputs, as antsibull-docs writes them.
ENTRY = re.compile(r"^Entry point ``(\w+)``.*?^Parameters\n\^+\n(.*?)(?=^\.\. Attributes$)", re.DOTALL | re.MULTILINE)
REFERENCE = "All inputs and options </collections/drydock/registry/index>"


def add_contents(_app: Sphinx, page: str, source: list[str]) -> None:
    """Make the site's contents of what a page lists, so that a new page takes one line there."""
    if page not in LISTS:
        return
    for section in re.split(r"^#+ ", source[0], flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        entries = [
            f"{name} <{path}>" for name, path in re.findall(r"^(?:-|\|) \[(.+?)\]\((.+?)\.md\)", section, re.MULTILINE)
        ]
        if title == "Reference":
            entries.append(REFERENCE)
        if entries:
            source[0] += "\n".join(["\n```{toctree}", ":hidden:", f":caption: {title}", "", *entries, "```\n"])


def shorten_reference(_app: Sphinx, page: str, source: list[str]) -> None:
    """Take out of what antsibull-docs writes what stands there twice.

    The theme has a page's contents beside it, and complains of others. Most entry points of a role take the inputs of `main`.
    """
    if not page.startswith("collections/"):
        return
    text = re.sub(r"^\.\. contents::\n(?: +.*\n)*", "", source[0], flags=re.MULTILINE)
    head, *entries = re.split(r"^(?=\.\. Entry point title$)", text, flags=re.MULTILINE)
    inputs = {name: found for entry in entries for name, found in re.findall(ENTRY, entry)}
    for number, entry in enumerate(entries):
        for name, found in re.findall(ENTRY, entry):
            if name != "main" and re.sub(rf"(parameter-|#role:){name}(--|__|:)", r"\1main\2", found) == inputs.get(
                "main"
            ):
                main = f"{page.replace('/', '.').replace('collections.', 'ansible_collections.')}__entrypoint-main"
                entries[number] = entry.replace(found, f"\nIt has the inputs of :ref:`main <{main}>`.\n\n")
    source[0] = head + "".join(entries)


def ansible_reference(
    _app: Sphinx, _env: BuildEnvironment, node: pending_xref, text: nodes.TextElement
) -> nodes.reference | None:
    """Lead from what antsibull-docs writes to Ansible's documentation; a name of this collection's own has to be here."""
    label = node["reftarget"]
    page = ANSIBLE_LABELS.get(label)
    if plugin := re.fullmatch(r"ansible_collections\.(?!drydock\.registry\.)(\w+)\.(\w+)\.(\w+)", label):
        page = "collections/{}/{}/{}.html".format(*plugin.groups())
    return nodes.reference("", "", text, refuri=f"{ANSIBLE}/{page}", internal=False) if page else None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_contents)
    app.connect("source-read", shorten_reference)
    app.connect("missing-reference", ansible_reference)
