"""Makes the README's pictures of the page anew, from a real run: `python -m tests.sandbox.screenshots`.

It takes some two minutes: one partner hangs and comes back, then another answers 503; then that one
comes back too.
"""

import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.pipeline.running import eventually
from tests.sandbox.browsing import opened_browser
from tests.sandbox.local_run import LocalRun

Scheme = Literal["light", "dark"]

FOLDER = Path(__file__).parents[2] / "docs"
WIDTH, HEIGHT = 1280, 630
COLOURS = 256
SCHEMES: tuple[Scheme, Scheme] = ("light", "dark")
QUIET_SAMPLES = 45
HUNG, FAILING = "crm-hook", "analytics"


def main() -> None:
    """Run it where nothing of it stays but the pictures."""
    with (
        tempfile.TemporaryDirectory() as folder,
        opened_browser() as browser,
        LocalRun(Path(folder)) as run,
    ):
        take_pictures(browser, run)


def take_pictures(browser: Browser, run: LocalRun) -> None:
    """Have things happen, and take a picture of each."""
    light, dark = (opened(browser, run, scheme) for scheme in SCHEMES)
    wait(lambda: len(run.connector(FAILING)["delivered"]) > QUIET_SAMPLES)
    switch(light, HUNG, "Hangs")
    wait(lambda: run.connector(HUNG)["held"] > 600)
    switch(light, HUNG, "Works")
    wait(lambda: run.connector(HUNG)["state"] == "healthy")
    switch(light, FAILING, "503")
    wait(lambda: run.connector(FAILING)["held"] > 1_500)
    take(light, "page-suspended.png")
    switch(light, FAILING, "Works")
    wait(lambda: run.connector(FAILING)["held"] < 900)
    take(dark, "page-resuming.png")


def opened(browser: Browser, run: LocalRun, scheme: Scheme) -> Page:
    page = browser.new_page(color_scheme=scheme, viewport={"width": WIDTH, "height": HEIGHT})
    page.goto(run.url)
    expect(page.get_by_role("article")).to_have_count(6)
    return page


def switch(page: Page, connector: str, label: str) -> None:
    group = page.get_by_role("group", name=f"The partner of {connector}")
    group.get_by_role("radio", name=label).check()


def wait(condition: Callable[[], bool]) -> None:
    if not eventually(condition, 180):
        raise SystemExit("what was to be shown did not happen")


def take(page: Page, name: str) -> None:
    """Write a picture of few colours, which is a third of the size and looks the same."""
    page.bring_to_front()
    page.evaluate("scrollTo(0, 0)")
    with Image.open(io.BytesIO(page.screenshot())) as image:
        few = image.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1)
        few.save(FOLDER / name, optimize=True)
    size = (FOLDER / name).stat().st_size
    sys.stdout.write(f"{FOLDER / name}: {size:,} bytes\n")


if __name__ == "__main__":
    main()
