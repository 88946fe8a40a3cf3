"""comparison.png: what `mufnet ui demo` opens after `make demo`.

mufnet ui demo --no-browser &
python docs/comparison.py 'http://127.0.0.1:5000/#/...'   # the address that it printed
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SIZE = {"width": 1400, "height": 530}

with sync_playwright() as playwright:
    browser = playwright.chromium.launch(
        executable_path=shutil.which("chromium"), args=["--no-sandbox"]
    )
    page = browser.new_page(viewport=SIZE)
    # as on a second visit: the panel of MLflow's assistant, which opens once, is closed
    page.add_init_script(
        "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
    )
    page.goto(sys.argv[1])
    page.get_by_role("gridcell").first.wait_for(timeout=60_000)
    page.wait_for_timeout(3_000)
    page.screenshot(path=Path(__file__).with_name("comparison.png"))
    browser.close()
