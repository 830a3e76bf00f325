"""The page in a real browser, on partners that stand alone: what it shows, and what it refuses."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from sandbox.partners import (
    Fault,
    MParticleSite,
    PartnerSandbox,
    PostbackSite,
    RudderStackSite,
    SegmentSite,
    TreasureDataSite,
)
from tests.sandbox.browsing import Complaints, opened_browser

CANARIES = [f"canary/{number}+kanari" for number in range(5)]
HOOK, RUDDER, CDP, SEGMENT, FEED = CANARIES
SITES = {
    "hook": PostbackSite(token=HOOK),
    "warehouse": RudderStackSite(write_key=RUDDER),
    "cdp": TreasureDataSite(write_key=CDP),
    "analytics": SegmentSite(write_key=SEGMENT),
    "mobile": MParticleSite(feeds={"ios": (FEED, "secret-of-" + FEED)}),
}
HOSTILE = [
    "<script>alert('script')</script>",
    "<img src=x onerror=alert('image')>",
    "\"><svg onload=alert('attribute')>",
    "javascript:alert('address')",
    "</pre></dialog><iframe srcdoc='<script>parent.alert(1)</script>'>",
    "{{7*7}} ${7*7} \u202e\u0000",
]
SECONDS = 10


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser() as found:
        yield found


@pytest.fixture
def sandbox() -> Iterator[PartnerSandbox]:
    with PartnerSandbox(SITES) as server:
        yield server


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


@pytest.fixture
def page(browser: Browser, complaints: Complaints) -> Iterator[Page]:
    with browser.new_context() as context:
        opened = context.new_page()
        complaints.listen_to(opened)
        yield opened


def post(sandbox: PartnerSandbox, event: Any = None, **changes: Any) -> requests.Response:
    body = json.dumps({"events": [{"event_type": "t", "id": "1", "time": 1, "user": event or {}}]})
    headers = {
        "Braze-Currents-Version": "1",
        "Content-Type": "application/json",
        "Authorization": f"Bearer {HOOK}",
    }
    path = changes.pop("path", "")
    return requests.post(
        sandbox.url("hook") + path,
        data=body,
        headers={**headers, **changes},
        timeout=SECONDS,
    )


def state_of(sandbox: PartnerSandbox) -> Any:
    return requests.get(sandbox.page_url + "_sandbox/state", timeout=SECONDS).json()


def put_fault(sandbox: PartnerSandbox, **headers: str) -> int:
    answer = requests.put(
        sandbox.page_url + "_sandbox/sites/hook/fault",
        data=b'{"status": 503}',
        headers=headers,
        timeout=SECONDS,
    )
    return answer.status_code


# What it shows.


def test_each_partner_has_a_card_with_its_last_request(
    page: Page, sandbox: PartnerSandbox, complaints: Complaints
) -> None:
    page.goto(sandbox.page_url)
    expect(page.get_by_role("article")).to_have_count(len(SITES))
    card = page.get_by_role("article", name="hook")
    expect(card).to_contain_text("No request yet")
    post(sandbox)
    expect(card).to_contain_text("Last: 200")
    expect(card).to_contain_text("1 event")
    assert complaints == []


def test_a_switch_sets_a_fault_by_keyboard_too(page: Page, sandbox: PartnerSandbox) -> None:
    page.goto(sandbox.page_url)
    switches = page.get_by_role("group", name="The partner of hook")
    works = switches.get_by_role("radio", name="Works")
    expect(works).to_be_checked()
    works.focus()
    page.keyboard.press("ArrowRight")
    expect(switches.get_by_role("radio", name="Refuses key")).to_be_checked()
    switches.get_by_role("radio", name="429").check()
    expect(page.locator("[data-connector=hook][data-fault='429']")).to_be_visible()
    assert post(sandbox).status_code == 429
    assert post(sandbox).headers["Retry-After"] == "10"
    switches.get_by_role("radio", name="Works").check()
    expect(page.locator("[data-connector=hook][data-fault=none]")).to_be_visible()
    assert post(sandbox).status_code == 200


def test_a_fault_that_is_set_elsewhere_is_shown(page: Page, sandbox: PartnerSandbox) -> None:
    page.goto(sandbox.page_url)
    switches = page.get_by_role("group", name="The partner of hook")
    sandbox.set_fault("hook", Fault(hang=True))
    expect(switches.get_by_role("radio", name="Hangs")).to_be_checked()
    sandbox.set_fault("hook", Fault(drip=True))
    expect(switches.locator(":checked")).to_have_count(0)


def test_a_request_is_shown_whole_and_without_secrets(
    page: Page, sandbox: PartnerSandbox, complaints: Complaints
) -> None:
    post(sandbox, {"note": HOOK}, path="/currents?app_group=Brand", **{"X-Api-Key": "unheard-of"})
    page.goto(sandbox.page_url)
    page.get_by_role("button", name="Requests to hook").click()
    shown = page.get_by_role("region", name="The chosen request")
    expect(shown).to_contain_text("POST /currents?app_group=•••")
    expect(shown).to_contain_text("braze-currents-version1")
    expect(shown).to_contain_text("authorizationBearer •••")
    expect(shown).to_contain_text('"note": "•••"')
    expect(shown).to_contain_text("200 in")
    assert "unheard-of" not in page.content()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert complaints == []


def test_no_credential_of_any_partner_is_shown(page: Page, sandbox: PartnerSandbox) -> None:
    """Sent as each partner wants it, and as text in an event and an answer besides."""
    body = json.dumps({"events": [{"id": "1", "told": CANARIES}], "writeKey": SEGMENT})
    json_type = {"Content-Type": "application/json"}
    queries = {"writeKey": RUDDER, "td_write_key": CDP, "app_group": HOOK}
    for name in SITES:
        sandbox.set_fault(name, Fault(status=500, body=body.encode()))
        requests.post(
            sandbox.url(name) + "/v1/" + FEED,
            data=body,
            params=queries,
            auth=(SEGMENT, FEED),
            headers={**json_type, "X-TD-Write-Key": CDP, HOOK.replace("/", "-"): HOOK},
            timeout=SECONDS,
        )
    page.goto(sandbox.page_url)
    texts = [json.dumps(state_of(sandbox))]
    for name in SITES:
        page.get_by_role("button", name=f"Requests to {name}").click()
        shown = page.get_by_role("region", name="The chosen request")
        expect(shown).to_contain_text("500 in")
        texts.append(page.content())
        texts.append(exchange_of(sandbox, name))
        page.get_by_role("button", name="Close").click()
    leaks = [canary for canary in CANARIES for text in texts if canary in text]
    assert leaks == []
    assert "•••" in texts[-1]


def test_no_credential_is_in_what_a_run_tells(sandbox: PartnerSandbox) -> None:
    sandbox.tell_run(lambda: hostile_run(" ".join(CANARIES)))
    told = json.dumps(state_of(sandbox), ensure_ascii=False)
    assert [canary for canary in CANARIES if canary in told] == []
    assert "••• ••• ••• ••• •••" in told


def exchange_of(sandbox: PartnerSandbox, name: str) -> str:
    url = f"{sandbox.page_url}_sandbox/sites/{name}/requests/0"
    return requests.get(url, timeout=SECONDS).text


def test_a_request_that_is_forgotten_or_was_never_there_is_said_to_be(
    sandbox: PartnerSandbox,
) -> None:
    for number in ("0", "99", "9" * 400, "x"):
        url = f"{sandbox.page_url}_sandbox/sites/hook/requests/{number}"
        assert requests.get(url, timeout=SECONDS).status_code == 404


def test_nothing_is_called_healthy_before_it_was_seen_to_be(
    page: Page, sandbox: PartnerSandbox
) -> None:
    run = hostile_run("")
    run["connectors"][0] |= {"state": "healthy", "lanes": []}
    card = page.get_by_role("article", name="hook")
    page.goto(sandbox.page_url)
    expect(card).to_contain_text("Postback")
    expect(card).not_to_contain_text("Healthy")
    for phase, shown in (("starting", "Starting"), ("running", "Healthy")):
        run["phase"] = phase
        sandbox.tell_run(lambda: run)
        expect(card).to_contain_text(shown)


def test_what_failed_is_still_shown_after_many_that_did_not(
    page: Page, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", Fault(status=400, body=b"an event is not valid"))
    post(sandbox)
    sandbox.set_fault("hook", None)
    for _ in range(20):
        post(sandbox)
    page.goto(sandbox.page_url)
    page.get_by_role("button", name="Requests to hook").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="200 in")).to_have_count(12)
    dialog.get_by_role("button", name="400 in").click()
    expect(dialog.get_by_role("region")).to_contain_text("an event is not valid")


@pytest.mark.parametrize(
    ("state", "figures"),
    [
        ("suspended", ["Next probe in", "now", "Dead letters in", "47 h 59 min"]),
        ("holding", ["Next try in", "a moment", "Dead letters in", "47 h 59 min"]),
        ("resuming", ["Fewer a second", "50", "Nothing held in", "about 3 s"]),
    ],
)
def test_a_card_says_what_comes_next(
    state: str, figures: list[str], page: Page, sandbox: PartnerSandbox
) -> None:
    soon = datetime.now(timezone.utc) + timedelta(hours=47, minutes=59, seconds=50)
    run = hostile_run("text")
    (connector,) = run["connectors"]
    connector |= {"state": state, "held": 150, "holding": [400, 250, 200, 150], "states": "ssss"}
    connector["lanes"][0] |= {"state": state}
    connector["lanes"][0]["status"] |= {
        "next_probe": "2026-01-01T00:00:00Z",
        "dead_letters_from": soon.isoformat(),
    }
    sandbox.tell_run(lambda: run)
    page.goto(sandbox.page_url)
    cells = page.get_by_role("article", name="hook").locator(".figures > div")
    expect(cells).to_have_count(4)
    told = [text for cell in cells.all()[2:] for text in cell.locator("dt, dd").all_inner_texts()]
    assert told == figures


# Hostile input.


def test_what_events_hold_is_shown_as_text(
    page: Page, sandbox: PartnerSandbox, complaints: Complaints
) -> None:
    sandbox.set_fault("hook", Fault(status=500, body=" ".join(HOSTILE).encode()))
    post(sandbox, {text: text for text in HOSTILE}, path="/<b>?<i>=<script>", Accept=HOSTILE[0])
    page.goto(sandbox.page_url)
    page.get_by_role("button", name="Requests to hook").click()
    shown = page.get_by_role("region", name="The chosen request")
    for text in HOSTILE[:5]:
        expect(shown).to_contain_text(text.replace('"', '\\"'))
    expect(shown.locator("script, img, svg, iframe, b:not([class]), i")).to_have_count(0)
    assert complaints == []


def test_what_a_run_tells_is_shown_as_text(
    page: Page, sandbox: PartnerSandbox, complaints: Complaints
) -> None:
    sandbox.tell_run(lambda: hostile_run(HOSTILE[1]))
    page.goto(sandbox.page_url)
    expect(page.get_by_role("log")).to_contain_text(HOSTILE[1])
    expect(page.get_by_role("article").locator(".why")).to_contain_text(HOSTILE[1])
    expect(page.locator("main img")).to_have_count(0)
    assert complaints == []


def hostile_run(text: str) -> dict[str, Any]:
    """As a run is told of whose files somebody else has written."""
    status = {"reason": text, "answer": text, "probes_failed": 1, "next_probe": text}
    lane = {"lane": text, "state": "suspended", "held": 1, "oldest": 1, "status": status}
    connector = {
        "name": "hook",
        "kind": text,
        "site": "hook",
        "state": "suspended",
        "held": 1,
        "lanes": [lane],
        "counts": None,
        "delivered": [1],
        "holding": [1],
        "states": "s",
    }
    news = {"number": 1, "at": 1, "connector": text, "what": text, "detail": text, "held": 0}
    return {
        "phase": "running",
        "exit_code": None,
        "started": 1,
        "published": 1,
        "reported": None,
        "balanced": None,
        "connectors": [connector],
        "news": [{**news, "fault": None}],
    }


# Who may ask.


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_no_other_site_sets_a_fault(headers: dict[str, str], sandbox: PartnerSandbox) -> None:
    assert put_fault(sandbox, **headers) == 403
    assert sandbox.fault("hook") is None


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"}],
)
@pytest.mark.parametrize("path", ["", "state", "page.js", "sites/hook/requests/0"])
def test_no_other_site_reads_anything(
    path: str, headers: dict[str, str], sandbox: PartnerSandbox
) -> None:
    post(sandbox)
    url = f"{sandbox.page_url}_sandbox/{path}"
    assert requests.get(url, headers=headers, timeout=SECONDS).status_code == 403


def test_the_page_itself_and_curl_may_set_a_fault(sandbox: PartnerSandbox) -> None:
    port = urlsplit(sandbox.page_url).port
    assert put_fault(sandbox) == 200
    for name in ("127.0.0.1", "localhost"):
        host = f"{name}:{port}"
        own = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        assert put_fault(sandbox, **own) == 200


def test_a_page_of_another_origin_is_kept_out_by_a_real_browser(
    page: Page, sandbox: PartnerSandbox
) -> None:
    url = sandbox.page_url + "_sandbox/sites/hook/fault"
    with PartnerSandbox({"other": PostbackSite()}) as other:
        page.goto(other.page_url)
        for method, mode in (("PUT", "cors"), ("POST", "no-cors")):
            tried = page.evaluate(
                """([url, method, mode]) => fetch(url, {method, mode, body: '{"status": 503}'})
                    .then(() => 'answered', String)""",
                [url, method, mode],
            )
            assert tried == "TypeError: Failed to fetch"
    assert sandbox.fault("hook") is None


@pytest.mark.parametrize("path", ["", "page.css", "state", "nothing", "sites/hook/requests/9"])
def test_every_answer_says_what_a_browser_may_do_with_it(
    path: str, sandbox: PartnerSandbox
) -> None:
    headers = requests.get(f"{sandbox.page_url}_sandbox/{path}", timeout=SECONDS).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers


# Anybody, any screen, any time.


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_audit_finds_nothing_that_keeps_anybody_out(
    scheme: Any, browser: Browser, sandbox: PartnerSandbox
) -> None:
    post(sandbox)
    sandbox.tell_run(lambda: hostile_run("status_503"))
    with browser.new_context(color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(sandbox.page_url)
        expect(page.get_by_role("article", name="hook")).to_be_visible()
        audits = [Axe().run(page)]
        page.get_by_role("button", name="Requests to hook").click()
        expect(page.get_by_role("dialog")).to_contain_text("POST")
        audits.append(Axe().run(page))
    assert [audit.generate_report() for audit in audits if audit.violations_count] == []


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_a_phone_and_a_laptop_in_light_and_dark(
    width: int, scheme: Any, dark: bool, browser: Browser, sandbox: PartnerSandbox
) -> None:
    sandbox.tell_run(lambda: hostile_run("x" * 200))
    size: Any = {"width": width, "height": 800}
    with browser.new_context(
        viewport=size, color_scheme=scheme, reduced_motion="reduce"
    ) as context:
        page = context.new_page()
        page.goto(sandbox.page_url)
        expect(page.get_by_role("article")).to_have_count(1)
        overhang, background, moves = page.evaluate(
            """() => [
                document.documentElement.scrollWidth - innerWidth,
                getComputedStyle(document.body).backgroundColor,
                getComputedStyle(document.querySelector('.card')).transitionDuration,
            ]"""
        )
    assert overhang <= 0
    assert (int(background.removeprefix("rgb(").split(",")[0]) < 100) is dark
    assert moves == "0s"


def test_no_word_is_broken_on_a_phone(page: Page, sandbox: PartnerSandbox) -> None:
    sandbox.tell_run(lambda: hostile_run("status_503"))
    page.set_viewport_size({"width": 360, "height": 800})
    page.goto(sandbox.page_url)
    card = page.locator("[data-connector=hook]")
    card.locator(".name").evaluate("name => { name.textContent = 'warehouse-of-brand'; }")
    box, state = (card.locator(which).bounding_box() for which in (".name", ".state"))
    assert box
    assert state
    assert box["height"] < 1.5 * 15 * 1.45
    assert abs(box["y"] - state["y"]) < box["height"]


def test_it_says_that_the_sandbox_is_gone_and_goes_on_when_it_is_back(page: Page) -> None:
    with PartnerSandbox(SITES) as first:
        port = urlsplit(first.page_url).port
        page.goto(first.page_url)
        expect(page.get_by_role("article")).to_have_count(len(SITES))
    expect(page.locator("#banner")).to_contain_text("does not answer")
    with PartnerSandbox(SITES, port=int(port or 0)) as second:
        expect(page.locator("#banner")).to_be_hidden()
        post(second)
        expect(page.get_by_role("article", name="hook")).to_contain_text("Last: 200")
