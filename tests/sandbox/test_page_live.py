"""The page of the local run, as one who tries it sees it: a partner fails, and comes back."""

import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.pipeline.running import eventually
from tests.sandbox.browsing import Complaints, opened_browser
from tests.sandbox.local_run import LocalRun

START_SECONDS = 90
FAILING = "analytics"
ENOUGH_HELD = 300
"""For the release to take seconds."""


@pytest.mark.slow
def test_a_partner_that_fails_is_suspended_and_resumed_before_ones_eyes(tmp_path: Path) -> None:
    complaints = Complaints()
    with opened_browser() as browser, LocalRun(tmp_path) as run:
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
        assert run.process.wait(timeout=90) == 0


def suspend(page: Page, run: LocalRun) -> None:
    """Have one partner fail: its connector alone is suspended, and the others get their events."""
    switch(page, "503")
    card = page.get_by_role("article", name=FAILING)
    expect(card).to_have_attribute("data-state", "suspended")
    expect(card).to_contain_text("Answered 503: we are down for maintenance")
    expect(card.locator("text.held")).to_have_text(re.compile(r"^[1-9][\d,]* held"))
    before = accepted_by_others(run)
    assert eventually(lambda: run.connector(FAILING)["held"] >= ENOUGH_HELD, 60)
    after = accepted_by_others(run)
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


def accepted_by_others(run: LocalRun) -> dict[str, int]:
    sites = run.state["sites"].items()
    return {name: site["counts"]["accepted"] for name, site in sites if name != FAILING}


def switch(page: Page, label: str) -> None:
    group = page.get_by_role("group", name=f"The partner of {FAILING}")
    group.get_by_role("radio", name=label).check()


def what_happened_to(connector: str, run: LocalRun) -> list[str]:
    return [one["what"] for one in run.state["run"]["news"] if one["connector"] == connector]
