"""The pages' shared style sheet, icons, templates and scripts, without a build step."""

from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from offhook.web.design.formats import FILTERS

__all__ = ["PATH", "Assets", "shared_templates", "templates"]

PATH: Final = "/design"
"""Where the shared style sheet and scripts are served."""

_HERE: Final = Path(str(files(__package__)))


class Assets(StaticFiles):
    """Serves a directory named `static`; browsers revalidate its files each time.

    Args:
        beside: the directory that it is in; by default that of the shared design.
    """

    def __init__(self, beside: Path = _HERE) -> None:
        super().__init__(directory=beside / "static")

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return a file, or 304."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file with its content type."""
        response = await super().get_response(path, scope)
        if path.endswith(".js"):
            # The registry of types of some systems says text/plain, and browsers run only this.
            response.headers["Content-Type"] = "text/javascript; charset=utf-8"
        return response


def shared_templates() -> Environment:
    """Return an environment for the shared templates only."""
    return templates(_HERE)


def templates(beside: Path, **filters: Any) -> Environment:
    """Return an environment for a page's own `templates` directory and the shared ones.

    All values are escaped, and an undefined name is an error.

    Args:
        beside: the directory that `templates` is in.
        filters: further filters, by name.
    """
    environment = Environment(
        loader=FileSystemLoader([beside / "templates", _HERE / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS, **filters)
    return environment
