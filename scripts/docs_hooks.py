"""Add the pages at the top of the repository to the documentation site (a hook of MkDocs).

CHANGELOG.md and the others lie where readers of the repository look for them. Their links are
relative to that place, so they are adapted here, and so are links of the site's own pages to them.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGES = ("CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md")
LINK = re.compile(r"(?<=\]\()[^)#\s:]+")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, under lower-case names, with links that are relative to ``docs``."""
    root = Path(config.config_file_path).parent
    for name in PAGES:
        text = LINK.sub(_from_docs, (root / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, _site_name(name), content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links that leave ``docs`` for one of the pages to its place on the site."""
    depth = len(PurePosixPath(page.file.src_uri).parts)
    for name in PAGES:
        below = "../" * (depth - 1) + _site_name(name)
        markdown = markdown.replace("](" + "../" * depth + name, f"]({below}")
    return markdown


def _site_name(name: str) -> str:
    """Return the name of a page on the site; SECURITY.md is about reports, security.md is ours."""
    return {"SECURITY.md": "reporting.md"}.get(name, name.lower().replace("_", "-"))


def _from_docs(link: re.Match[str]) -> str:
    """Return a link of a page at the top of the repository, as seen from ``docs``."""
    if link[0] in PAGES:
        return _site_name(link[0])
    return link[0].removeprefix("docs/")
