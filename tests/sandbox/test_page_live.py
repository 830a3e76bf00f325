"""The page of the local run, as one who tries it sees it: a partner fails, and comes back."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.pipeline.running import eventually
from tests.sandbox.browsing import Complaints, opened_browser

START_SECONDS = 90
FAILING = "analytics"
ENOUGH_HELD = 300
"""For the release to take seconds."""


class LocalRun:
    """`./run_local.sh --keep`, less the making of its environment."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "out"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sandbox.run_local", "--keep", "--folder", str(folder)],
                stdout=log,
                env={**os.environ, "COLUMNS": "120"},
            )
        assert eventually(lambda: self._address is not None, START_SECONDS)
        self.url = str(self._address)

    @property
    def _address(self) -> str | None:
        found = re.search(r"page: +(http://\S+)", self._log.read_text())
        return found and found[1]

    @property
    def state(self) -> Any:
        return requests.get(self.url + "_sandbox/state", timeout=10).json()

    def connector(self, name: str) -> Any:
        return next(one for one in self.state["run"]["connectors"] if one["name"] == name)

    def accepted_by_others(self) -> dict[str, int]:
        sites = self.state["sites"].items()
        return {name: site["counts"]["accepted"] for name, site in sites if name != FAILING}


@contextmanager
def local_run(folder: Path) -> Iterator[LocalRun]:
    run = LocalRun(folder)
    try:
        yield run
    finally:
        run.process.terminate()
        run.process.wait(timeout=60)


@pytest.mark.slow
def test_a_partner_that_fails_is_suspended_and_resumed_before_ones_eyes(tmp_path: Path) -> None:
    complaints = Complaints()
    with opened_browser() as browser, local_run(tmp_path) as run:
        page = browser.new_page(color_scheme="dark", viewport={"width": 1280, "height": 800})
        complaints.listen_to(page)
        page.goto(run.url)
        expect(page.locator("#phase")).to_contain_text(
            "The pipeline runs", timeout=START_SECONDS * 1_000
        )
        expect(page.locator("[data-state=healthy]")).to_have_count(6)
        suspend(page, run)
        resume(page, run)
        assert complaints == []
        run.process.send_signal(signal.SIGINT)
        expect(page.locator("#banner")).to_contain_text(
            "The pipeline has ended, and the books balance", timeout=START_SECONDS * 1_000
        )
        assert run.process.wait(timeout=60) == 0


def suspend(page: Page, run: LocalRun) -> None:
    """Have one partner fail: its connector alone is suspended, and the others get their events."""
    switch(page, "503")
    card = page.get_by_role("article", name=FAILING)
    expect(card).to_have_attribute("data-state", "suspended")
    expect(card).to_contain_text("Answered 503: we are down for maintenance")
    expect(card.locator("text.held")).to_have_text(re.compile(r"^[1-9][\d,]* held"))
    before = run.accepted_by_others()
    assert eventually(lambda: run.connector(FAILING)["held"] >= ENOUGH_HELD, 60)
    after = run.accepted_by_others()
    assert [name for name, accepted in before.items() if after[name] <= accepted] == []
    expect(page.locator("[data-state=healthy]")).to_have_count(5)


def resume(page: Page, run: LocalRun) -> None:
    """Have it work again: what is held leaves oldest first, until nothing is held."""
    switch(page, "Works")
    card = page.get_by_role("article", name=FAILING)
    oldest: list[int] = []

    def is_healthy() -> bool:
        connector = run.connector(FAILING)
        oldest.extend(lane["oldest"] for lane in connector["lanes"] if lane["oldest"])
        return bool(connector["state"] == "healthy")

    assert eventually(is_healthy, 60)
    assert oldest == sorted(oldest)
    assert oldest[0] < oldest[-1]
    expect(card).to_have_attribute("data-state", "healthy")
    expect(card.locator("text.held")).to_have_text("0 held")
    told = [what for what in what_happened_to(FAILING, run) if what != "holding"]
    assert told == ["fault", "suspended", "repaired", "resuming", "healthy"]
    log = page.get_by_role("log")
    for text in ("partner is told to fail: 503", "suspended: status_503", "resuming, oldest first"):
        expect(log).to_contain_text(f"{FAILING} {text}")


def switch(page: Page, label: str) -> None:
    group = page.get_by_role("group", name=f"The partner of {FAILING}")
    group.get_by_role("radio", name=label).check()


def what_happened_to(connector: str, run: LocalRun) -> list[str]:
    return [one["what"] for one in run.state["run"]["news"] if one["connector"] == connector]
