"""What the build adds: configs/ inside the wheel, and a README that a package index can show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

RELATIVE_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s]+)\)")


class ConfigsInside(BuildHookInterface[Any]):
    """configs/ stands once, in the repository: a wheel carries it, an editable install finds it."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put configs/ into the package, except where the package stays in the repository."""
        if version == "standard":
            build_data["force_include"]["configs"] = "mufnet_lightning/configs"


class ReadmeForIndex(MetadataHookInterface):
    """An index shows the README without the files beside it, so what it links to must be absolute."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `readme` from README.md; the repository is that of `[project.urls]`."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": for_index(text, metadata.get("urls", {}).get("Repository")),
        }


def for_index(text: str, repository: str | None) -> str:
    """Markdown whose relative links lead to the repository; without one, their words stay alone.

    >>> for_index("![A crop](docs/a.png), see [b](docs/b.md)", "https://forge.example/mufnet")
    '![A crop](https://forge.example/mufnet/raw/HEAD/docs/a.png), see [b](https://forge.example/mufnet/blob/HEAD/docs/b.md)'
    >>> for_index("![A crop](docs/a.png), see [b](docs/b.md)", None)
    '*A crop*, see b'
    """

    def absolute(link: re.Match[str]) -> str:
        image, words, path = link.groups()
        if repository is None:
            return f"*{words}*" if image else words
        return f"{image}[{words}]({repository.rstrip('/')}/{'raw' if image else 'blob'}/HEAD/{path})"

    return RELATIVE_LINK.sub(absolute, text)
