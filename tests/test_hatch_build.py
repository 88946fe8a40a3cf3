"""What the build makes of the README for a package index."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def hatch_build() -> Any:
    """The module, which lies beside the package."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_relative_links_lead_to_the_repository() -> None:
    text = "![A crop](docs/a.png) [b](docs/b.md#c) [doi](https://doi.org/1) [above](#top)"
    assert hatch_build().for_index(text, "https://forge.example/mufnet/") == (
        "![A crop](https://forge.example/mufnet/raw/HEAD/docs/a.png) "
        "[b](https://forge.example/mufnet/blob/HEAD/docs/b.md#c) [doi](https://doi.org/1) [above](#top)"
    )


def test_without_a_repository_no_link_is_broken() -> None:
    readme = (ROOT / "README.md").read_text()
    text = hatch_build().for_index(readme, None)
    assert "](docs/" not in text
    assert "](https://doi.org/10.3389/fphys.2025.1558997)" in text
    assert "*A dual-pane frame of a simulated clip" in text


def test_metadata_takes_the_repository_from_the_urls() -> None:
    hook = hatch_build().ReadmeForIndex(str(ROOT), {})
    metadata: dict[str, Any] = {"urls": {"Repository": "https://forge.example/mufnet"}}
    hook.update(metadata)
    assert metadata["readme"]["content-type"] == "text/markdown"
    assert (
        "](https://forge.example/mufnet/raw/HEAD/docs/frame_and_crops.png)"
        in metadata["readme"]["text"]
    )
