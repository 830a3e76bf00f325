"""Alerts: what is news of a lane, and that the log has it whatever the webhook does."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from runtime import alerts
from runtime.address import PUBLIC_ONLY, AddressPolicy
from runtime.alerts import BURYING_MS, EXPIRING_MS, Alerts, LaneAlerts
from runtime.clock import rfc3339
from runtime.exchange import HttpExchange
from schemas.alert import Alert
from schemas.connector import Connector
from schemas.lane_status import LaneStatus
from tests.runtime.wire import DEADLINE_SECONDS, Script, WireServer, ok, says, serving

NOW = 1_790_000_000_000
KEY = "T0K3N-of-the-webhook"
FAILS = says(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def exchange() -> Iterator[HttpExchange]:
    running = HttpExchange(AddressPolicy(allow_local=True), 4)
    yield running
    running.close()


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "runtime.alerts")
    return caplog


def alert_of(**fields: Any) -> Alert:
    known = {"event": "suspended", "lane": "crm", "connector": "crm", "at": rfc3339(NOW)}
    return Alert(**{**known, **fields})


def posts_of(server: WireServer) -> list[dict[str, Any]]:
    return [json.loads(request.partition(b"\r\n\r\n")[2]) for request in server.requests]


def post(
    exchange: HttpExchange,
    webhook: str,
    *sent: Alert,
    waits: Sequence[float] = (0.0, 0.0),
    seconds: float = DEADLINE_SECONDS,
) -> None:
    running = Alerts(webhook, exchange.send, waits)
    for alert in sent:
        running.send(alert)
    running.close(seconds)


def eventually(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + DEADLINE_SECONDS
    while not condition() and time.monotonic() < until:
        time.sleep(0.005)
    return condition()


def in_turn(*scripts: Script) -> Script:
    """A script that answers each request by the next of `scripts`."""
    left = iter(scripts)

    def answer(connection: socket.socket, request: bytes) -> None:
        next(left)(connection, request)

    return answer


# The log


@pytest.mark.parametrize(
    ("event", "level"),
    [("suspended", "WARNING"), ("resumed", "INFO"), ("expiring", "WARNING"), ("burying", "ERROR")],
)
def test_an_alert_is_one_line_of_words_and_json(
    event: str, level: str, exchange: HttpExchange, log: pytest.LogCaptureFixture
) -> None:
    sent = alert_of(event=event, lane="crm\n\x1b[2J", answer="a\nb", buried={"expired": 3})
    Alerts(None, exchange.send).send(sent)
    (record,) = log.records
    line = record.getMessage()
    assert (record.name, record.levelname) == ("runtime.alerts", level)
    assert line.isprintable()
    assert line.startswith("lane 'crm\\n\\x1b[2J' ")
    said = json.loads(line[line.index("{") :])
    assert (said["event"], said["answer"], said["buried"]) == (event, "a\nb", {"expired": 3})
    assert said["lane"] == sent.lane


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"event": "suspended", "reason": "status_401"},
            "is suspended: status_401; 7 events are held",
        ),
        ({"event": "resumed"}, "has resumed; 7 events are held"),
        (
            {"event": "expiring", "dead_letters_from": "2026-09-21T14:13:20Z"},
            "begins dead-lettering at 2026-09-21T14:13:20Z: 7 events are held",
        ),
        (
            {"event": "burying", "buried": {"rejected": 2, "expired": 3}},
            "has buried 5 events (3 expired, 2 rejected); 7 events are held",
        ),
    ],
)
def test_an_alert_says_in_words_what_has_happened(fields: dict[str, Any], said: str) -> None:
    assert alert_of(**fields, held_events=7).sentence == f"lane 'crm' {said}"


# The webhook


def test_the_webhook_gets_what_the_log_gets(
    exchange: HttpExchange, log: pytest.LogCaptureFixture
) -> None:
    sent = alert_of(kind="postback", reason="status_401", status=401, held_events=7, contact="ops")
    with serving(says(ok())) as server:
        post(exchange, server.url, sent, alert_of(event="resumed"))
    first, second = posts_of(server)
    line = log.messages[0]
    assert {**json.loads(line[line.index("{") :]), "text": sent.sentence} == first
    assert first["text"] == "lane 'crm' is suspended: status_401; 7 events are held"
    assert second["event"] == "resumed"
    assert b"\r\nContent-Type: application/json\r\n" in server.requests[0]


def test_a_webhook_that_fails_is_tried_three_times_and_said_to_fail(
    exchange: HttpExchange, log: pytest.LogCaptureFixture
) -> None:
    with serving(FAILS) as server:
        post(exchange, server.url, alert_of())
    assert len(server.requests) == 3
    assert log.messages[1:] == [
        "the alert that lane 'crm' is suspended was not posted: the webhook: status 500"
    ]


def test_a_webhook_that_comes_back_gets_the_alert_once(
    exchange: HttpExchange, log: pytest.LogCaptureFixture
) -> None:
    with serving(in_turn(FAILS, says(ok()))) as server:
        post(exchange, server.url, alert_of())
    assert len(server.requests) == 2
    assert len(log.messages) == 1


def test_what_a_webhook_refuses_is_not_tried_again(exchange: HttpExchange) -> None:
    with serving(says(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")) as server:
        post(exchange, server.url, alert_of())
    assert len(server.requests) == 1


def test_a_refused_connection_costs_the_caller_nothing(
    exchange: HttpExchange, log: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/{KEY}"
    post(exchange, url, alert_of())
    assert log.messages[1].endswith("the webhook: Connection refused")
    assert KEY not in log.text


def test_an_address_that_is_not_opened_is_not_posted_to(log: pytest.LogCaptureFixture) -> None:
    exchange = HttpExchange(PUBLIC_ONLY, 1)
    with serving(says(ok())) as server:
        post(exchange, server.url, alert_of())
        assert not server.connections
    exchange.close()
    assert "was not posted" in log.messages[1]


def test_a_webhook_that_hangs_holds_up_neither_sender_nor_closing(
    exchange: HttpExchange, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it cannot take in time is dropped, the oldest first, and the log says how many."""
    monkeypatch.setattr(alerts, "MAX_QUEUED", 5)
    let_go = threading.Event()
    answered: list[bytes] = []

    def hang(connection: socket.socket, request: bytes) -> None:
        let_go.wait(DEADLINE_SECONDS)
        connection.sendall(ok())
        answered.append(request)

    with serving(hang) as server:
        running = Alerts(server.url, exchange.send)
        running.send(alert_of(held_events=0))
        assert eventually(lambda: len(server.requests) == 1)
        for number in range(1, 9):
            running.send(alert_of(held_events=number))
        assert len([text for text in log.messages if text.startswith("lane 'crm'")]) == 9
        let_go.set()
        assert eventually(lambda: len(answered) == 6)
        assert [post["held_events"] for post in posts_of(server)] == [0, 4, 5, 6, 7, 8]
        assert "3 alerts were not posted: the webhook is too slow" in log.messages

        let_go.clear()
        for number in range(10, 13):
            running.send(alert_of(held_events=number))
        assert eventually(lambda: len(server.requests) == 7)
        running.close(seconds=0)
        assert log.messages[-1] == "2 alerts were not posted: the webhook is too slow"
        let_go.set()
        running.close(DEADLINE_SECONDS)
    assert len(server.requests) == 7


def test_closing_does_not_wait_for_the_next_try(exchange: HttpExchange) -> None:
    with serving(FAILS) as server:
        running = Alerts(server.url, exchange.send, [3_600, 3_600])
        running.send(alert_of())
        assert eventually(lambda: len(server.requests) == 1)
        running.close(DEADLINE_SECONDS)
        assert len(server.requests) == 3


# The webhook's URL as a secret


def test_a_url_that_is_a_secret_is_read_when_needed_and_again_once_refused(
    exchange: HttpExchange, log: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    secret = tmp_path / "url"
    with serving(FAILS) as old, serving(says(ok())) as new:
        running = Alerts(f"file:{secret}", exchange.send, [0])
        secret.write_text(f"{old.url}{KEY}\n")
        running.send(alert_of(lane="a"))
        assert eventually(lambda: len(old.requests) == 2)
        secret.write_text(f"{new.url}{KEY}\n")
        running.send(alert_of(lane="b"))
        running.close(DEADLINE_SECONDS)
    assert f"POST /{KEY} HTTP/1.1".encode() in old.requests[0]
    assert [post["lane"] for post in posts_of(new)] == ["b"]
    assert KEY not in log.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        (KEY, "the secret is no URL"),
        (f"https://u:{KEY}@host/", "the secret is no URL"),
        (f"https://[{KEY}/", "the secret is no URL"),
        (f"env:{KEY}".replace("-", "_"), "the secret is another reference"),
        (f"http://127.0.0.1:1/{KEY}", "Connection refused"),
        (f"http://127.0.0.1:1/{KEY}\x00\r\nX: y", "the secret is no URL"),
        (f"http://127.0.0.1:99999/{KEY}", "was not posted"),
        (f"http://{'a' * 300}.example/{KEY}", "was not posted"),
    ],
)
def test_a_secret_that_leads_nowhere_is_said_and_not_shown(
    content: str | None,
    said: str,
    exchange: HttpExchange,
    log: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    secret = tmp_path / "url"
    if content is not None:
        secret.write_text(content)
    post(exchange, f"file:{secret}", alert_of(), alert_of(lane="next"))
    assert [text for text in log.messages if "was not posted" in text and said in text]
    assert "lane 'next' is suspended was not posted" in log.messages[-1]
    assert KEY not in log.text
    assert KEY.replace("-", "_") not in log.text


# What is news


class Lane:
    """A lane whose alerts are kept, and a clock."""

    def __init__(self) -> None:
        self.sent: list[Alert] = []
        self.now_ms = NOW
        self._alerts = LaneAlerts("crm+ios", self.sent.append)

    def look(self, state: str | None, **fields: Any) -> list[str]:
        """The events that are told when the lane stands so, and `buried` events were buried."""
        buried = fields.pop("buried", 0)
        known = {"lane": "crm+ios", "connector": "crm", "reason": "status_503", "since": ""}
        status = LaneStatus(**{**known, "state": state, **fields}) if state else None
        settings = Connector(name="crm", kind="postback", contact="ops@example.com")
        before = len(self.sent)
        self._alerts.look(status, settings, self.now_ms, {"expired": buried} if buried else None)
        return [alert.event for alert in self.sent[before:]]


def test_a_suspension_and_its_end_are_told_once() -> None:
    lane = Lane()
    told = [lane.look(state) for state in ["holding", "suspended", "suspended", "resuming"]]
    assert told == [[], ["suspended"], [], ["resumed"]]
    assert [lane.look("resuming"), lane.look(None)] == [[], []]


def test_each_suspension_is_told() -> None:
    lane = Lane()
    for _ in range(2):
        assert lane.look("suspended") == ["suspended"]
        assert lane.look(None) == ["resumed"]


def test_a_lane_that_only_holds_is_no_news() -> None:
    lane = Lane()
    assert [lane.look(state) for state in ["holding", "resuming", None]] == [[], [], []]


@pytest.mark.parametrize("state", ["holding", "suspended"])
def test_dead_letters_to_come_are_told_six_hours_before_and_once(state: str) -> None:
    lane = Lane()
    begins = {"dead_letters_from": rfc3339(NOW + EXPIRING_MS + 1_000)}
    lane.look(state, **begins)
    lane.now_ms += 999
    assert lane.look(state, **begins) == []
    lane.now_ms += 1
    assert lane.look(state, **begins) == ["expiring"]
    assert lane.sent[-1].dead_letters_from == begins["dead_letters_from"]
    lane.now_ms += 2 * EXPIRING_MS
    assert lane.look(state, **begins) == []
    # The next suspension is told anew.
    lane.look("resuming", **begins)
    assert lane.look("suspended", **begins) == ["suspended", "expiring"]


def test_nothing_expires_while_a_lane_resumes() -> None:
    assert Lane().look("resuming", dead_letters_from=rfc3339(NOW)) == []


def test_burying_is_told_once_a_minute_with_all_that_was_buried_since() -> None:
    lane = Lane()
    assert lane.look("holding", buried=10) == ["burying"]
    for _ in range(59):
        lane.now_ms += BURYING_MS // 60
        assert lane.look("holding", buried=2) == []
    lane.now_ms += BURYING_MS // 60
    assert lane.look("holding") == ["burying"]
    assert [alert.buried for alert in lane.sent] == [{"expired": 10}, {"expired": 118}]
    lane.now_ms += BURYING_MS
    assert lane.look("holding") == [], "nothing was buried since"


def test_the_last_that_were_buried_are_told_when_nothing_is_held_any_more() -> None:
    lane = Lane()
    assert lane.look("holding", buried=10) == ["burying"]
    assert lane.look(None, buried=5) == ["burying"]
    assert (lane.sent[-1].buried, lane.sent[-1].held_events) == ({"expired": 5}, 0)


def test_a_clock_that_was_put_back_keeps_no_burying_secret() -> None:
    lane = Lane()
    lane.look("holding", buried=10)
    lane.now_ms -= 3_600_000
    assert lane.look("holding", buried=1) == ["burying"]


def test_an_alert_says_all_that_is_known_of_its_lane() -> None:
    lane = Lane()
    oldest, begins = rfc3339(NOW - 1_000), rfc3339(NOW + 2 * EXPIRING_MS)
    lane.look(
        "suspended",
        status=503,
        answer="no",
        events=7,
        oldest=oldest,
        dead_letters_from=begins,
    )
    assert lane.sent == [
        Alert(
            event="suspended",
            lane="crm+ios",
            connector="crm",
            kind="postback",
            reason="status_503",
            status=503,
            answer="no",
            held_events=7,
            oldest=oldest,
            dead_letters_from=begins,
            contact="ops@example.com",
            at=rfc3339(NOW),
        )
    ]
