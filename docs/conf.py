# SPDX-License-Identifier: GPL-3.0-or-later
"""How `tests/site` makes a site of the pages of this collection and of what antsibull-docs says of its roles and plugins."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from sphinx.application import Sphinx

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
html_show_sphinx = False
html_copy_source = False
antsibull_ext_color_scheme = "default-autodark"

# The pages that list others, by a link at the start of a list's item or a table's row. What stands in no list fails the build.
LISTS = {"docs/index", "docs/roles"}
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


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_contents)
