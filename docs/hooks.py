"""What the site has beyond the pages in docs/: the model card, and the help of each command."""

import contextlib
import io
import os
import posixpath
import re
from pathlib import Path
from typing import Final
from unittest import mock

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]
MODEL_CARD: Final = "hwm_env/assets/room-64/README.md"
"""The model card in the repository."""
MODEL_CARD_PAGE: Final = "room-64.md"
"""The same on the site."""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the model card."""
    text = (ROOT / MODEL_CARD).read_text(encoding="utf-8")
    files.append(File.generated(config, MODEL_CARD_PAGE, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leads links to where the site has their targets, and puts the help after each `hwm-env COMMAND --help`."""
    source = page.file.src_uri
    source = MODEL_CARD if source == MODEL_CARD_PAGE else f"docs/{source}"
    markdown = re.sub(r"(?<=\]\()\.\./[^)#\s]+", lambda link: site_link(link[0], source), markdown)
    return re.sub(r"```sh\nhwm-env ([\w-]+) --help\n```\n", lambda block: block[0] + help_block(block[1]), markdown)


def site_link(link: str, source: str) -> str:
    """Returns the relative link to a file from a page of the site.

    Args:
        link: the same in the repository.
        source: path of the page in the repository.
    """
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    page, target = (MODEL_CARD_PAGE if path == MODEL_CARD else path.removeprefix("docs/") for path in (source, target))
    return posixpath.relpath(target, posixpath.dirname(page) or ".")


def help_block(command: str) -> str:
    """Returns what a command of hwm-env prints with --help, as a block of Markdown."""
    from hwm_env.cli.parsing import parse

    shown = io.StringIO()
    with (
        mock.patch.dict(os.environ, {"COLUMNS": "80", "NO_COLOR": "1"}),
        contextlib.redirect_stdout(shown),
        contextlib.suppress(SystemExit),
    ):
        parse([command, "--help"])
    lines = [line.rstrip() for line in shown.getvalue().strip().splitlines()]
    return "\n".join(["", "```text", *lines, "```", ""])
