"""Writes reports as self-contained HTML pages, which load nothing from the network."""

from pathlib import Path
from typing import Any, Final

from hwm_env.data.files import write_bytes
from hwm_env.errors import require_extra

TEMPLATES: Final = Path(__file__).parent.parent.parent / "assets" / "pages"


def write_html(template: str, file: Path, **content: Any) -> None:
    """Renders a template of this package to a file.

    Args:
        template: name of the template, without its suffix.
        file: HTML to write, atomically.
        content: variables of the template.

    Raises:
        MissingExtraError: Jinja2 is not installed.
    """
    jinja = require_extra("jinja2", "evaluation")
    environment = jinja.Environment(
        loader=jinja.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, undefined=jinja.StrictUndefined
    )
    page: str = environment.get_template(f"{template}.html").render(**content)
    write_bytes(file, page.encode())
