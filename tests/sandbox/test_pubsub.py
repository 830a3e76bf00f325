"""Both stand-ins of Pub/Sub, through Google's own client and Beam's reader."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core import exceptions, retry
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.message import Message
from google.pubsub_v1 import PublisherClient as GapicPublisher
from google.pubsub_v1 import types

from sandbox.pubsub import EmbeddedPubSub, GoogleEmulator, start_pubsub
from sandbox.pubsub.broker import Broker

PROJECT = "sandbox"
DEADLINE_SECONDS = 30.0

Server = EmbeddedPubSub | GoogleEmulator


class Clients:
    """A publisher, a subscriber and names of their own, on one server."""

    def __init__(self, publisher: Any, subscriber: Any) -> None:
        self.publisher = publisher
        self.subscriber = subscriber
        unique = uuid.uuid4().hex
        self.topic = f"projects/{PROJECT}/topics/t-{unique}"
        self.subscription = f"projects/{PROJECT}/subscriptions/s-{unique}"

    def create(self, **settings: Any) -> None:
        self.publisher.create_topic(name=self.topic)
        self.subscriber.create_subscription(
            request={"name": self.subscription, "topic": self.topic, **settings}
        )

    def publish(self, *data: bytes, **fields: str) -> list[str]:
        futures = [self.publisher.publish(self.topic, each, **fields) for each in data]
        return [future.result(timeout=DEADLINE_SECONDS) for future in futures]

    def pull(self, max_messages: int = 1_000, timeout: float = DEADLINE_SECONDS) -> list[Any]:
        answer = self.subscriber.pull(
            subscription=self.subscription, max_messages=max_messages, timeout=timeout
        )
        return list(answer.received_messages)

    def pull_at_once(self) -> list[Any]:
        request = {
            "subscription": self.subscription,
            "max_messages": 1_000,
            "return_immediately": True,
        }
        with pytest.warns(DeprecationWarning, match="return_immediately"):
            answer = self.subscriber.pull(request=request)
        return list(answer.received_messages)

    def acknowledge(self, received: list[Any]) -> None:
        ack_ids = [each.ack_id for each in received]
        self.subscriber.acknowledge(subscription=self.subscription, ack_ids=ack_ids)

    def extend(self, received: list[Any], seconds: int) -> None:
        self.subscriber.modify_ack_deadline(
            subscription=self.subscription,
            ack_ids=[each.ack_id for each in received],
            ack_deadline_seconds=seconds,
        )

    @contextmanager
    def stream(self, callback: Callable[[Message], None], **flow: int) -> Iterator[Future[None]]:
        future = self.subscriber.subscribe(
            self.subscription, callback, flow_control=pubsub_v1.types.FlowControl(**flow)
        )
        try:
            yield future
        finally:
            future.cancel()
            with suppress(exceptions.GoogleAPICallError):
                future.result(timeout=DEADLINE_SECONDS)


class Inbox:
    """What callbacks have seen so far."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._messages: list[Message] = []

    def keep(self, message: Message) -> None:
        with self._changed:
            self._messages.append(message)
            self._changed.notify_all()

    def acknowledge(self, message: Message) -> None:
        self.keep(message)
        message.ack()

    def refuse_once(self, message: Message) -> None:
        self.keep(message)
        if len(self._messages) == 1:
            message.nack()
        else:
            message.ack()

    def wait_for(self, count: int, timeout: float = DEADLINE_SECONDS) -> list[Message]:
        assert self.comes(count, timeout), f"{len(self._messages)} of {count} messages came"
        return list(self._messages)

    def comes(self, count: int, within: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: len(self._messages) >= count, within)


def wait_until(holds: Callable[[], bool], timeout: float = DEADLINE_SECONDS) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        threading.Event().wait(0.01)


@pytest.fixture(scope="module")
def emulator() -> Iterator[GoogleEmulator]:
    found = GoogleEmulator.find()
    if found is None:
        pytest.skip("no Pub/Sub emulator of a Google Cloud SDK, or no Java, on this machine")
    with found as server:
        yield server


@pytest.fixture
def embedded() -> Iterator[EmbeddedPubSub]:
    with EmbeddedPubSub() as server:
        yield server


@pytest.fixture(params=["embedded", "emulator"])
def server(request: pytest.FixtureRequest) -> Server:
    return request.getfixturevalue(request.param)


@contextmanager
def clients_of(
    server: Server, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> Iterator[Clients]:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.address)
    publisher = pubsub_v1.PublisherClient(**options)
    with pubsub_v1.SubscriberClient() as subscriber:
        yield Clients(publisher, subscriber)
    publisher.stop()
    publisher.transport.close()


@pytest.fixture
def clients(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clients]:
    """On either server, with a topic and a subscription that exist."""
    with clients_of(server, monkeypatch) as found:
        found.create()
        yield found


@pytest.fixture
def ours(embedded: EmbeddedPubSub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clients]:
    """On the embedded server, with a topic and a subscription that exist."""
    with clients_of(embedded, monkeypatch) as found:
        found.create()
        yield found


# Both servers.


def test_what_is_published_is_pulled_with_its_id_time_and_attributes(clients: Clients) -> None:
    ids = clients.publish(b"a", b"b", kind="click")
    received = clients.pull()
    messages = {each.message.data: each.message for each in received}
    assert [messages[b"a"].message_id, messages[b"b"].message_id] == ids
    assert dict(messages[b"a"].attributes) == {"kind": "click"}
    assert abs(messages[b"a"].publish_time.timestamp() - time.time()) < DEADLINE_SECONDS
    assert {each.delivery_attempt for each in received} == {0}


def test_an_acknowledged_message_is_not_pulled_again(clients: Clients) -> None:
    clients.publish(b"a", b"b")
    received = clients.pull(max_messages=1)
    clients.acknowledge(received)
    rest = clients.pull()
    clients.extend(rest, 0)
    assert [each.message.data for each in clients.pull()] == [each.message.data for each in rest]
    assert {each.message.data for each in rest + received} == {b"a", b"b"}


def test_a_deadline_of_zero_gives_a_message_back_at_once(clients: Clients) -> None:
    clients.publish(b"a")
    clients.extend(clients.pull(), 0)
    assert [each.message.data for each in clients.pull(timeout=5)] == [b"a"]


@pytest.mark.slow
def test_a_message_comes_again_after_its_deadline_unless_extended(clients: Clients) -> None:
    clients.publish(b"forgotten", b"extended")
    received = clients.pull()
    pulled = time.monotonic()
    clients.extend([each for each in received if each.message.data == b"extended"], 60)
    again = clients.pull(timeout=20)
    assert [each.message.data for each in again] == [b"forgotten"]
    assert 9 < time.monotonic() - pulled < 15


def test_a_pull_that_returns_at_once_may_be_empty(clients: Clients) -> None:
    begun = time.monotonic()
    assert clients.pull_at_once() == []
    assert time.monotonic() - begun < 5


def test_a_pull_waits_for_a_message(clients: Clients) -> None:
    timer = threading.Timer(0.2, clients.publish, [b"late"])
    timer.start()
    assert [each.message.data for each in clients.pull()] == [b"late"]
    timer.join()


def test_a_pull_ends_with_its_clients_deadline_and_takes_nothing_along(clients: Clients) -> None:
    begun = time.monotonic()
    # The emulator answers an empty pull about a second before its client's deadline.
    with suppress(exceptions.DeadlineExceeded):
        assert clients.pull(timeout=0.3) == []
    assert time.monotonic() - begun < 5
    clients.publish(b"a")
    assert [each.message.data for each in clients.pull(timeout=5)] == [b"a"]


def test_a_stream_delivers_and_takes_acknowledgements(clients: Clients) -> None:
    inbox = Inbox()
    with clients.stream(inbox.acknowledge):
        ids = clients.publish(*[str(number).encode() for number in range(100)], kind="click")
        messages = inbox.wait_for(100)
    assert Counter(message.message_id for message in messages) == Counter(ids)
    assert {message.attributes["kind"] for message in messages} == {"click"}


def test_a_message_given_back_on_a_stream_comes_again(clients: Clients) -> None:
    inbox = Inbox()
    clients.publish(b"a")
    with clients.stream(inbox.refuse_once):
        first, second = inbox.wait_for(2, timeout=9)
    assert first.message_id == second.message_id


def test_a_stream_holds_no_more_than_its_flow_control(clients: Clients) -> None:
    clients.publish(*[b"a"] * 20)
    inbox = Inbox()
    with clients.stream(inbox.keep, max_messages=5):
        held = inbox.wait_for(5)
        assert not inbox.comes(6, within=0.3)
        for message in held:
            message.ack()
        inbox.wait_for(10)
        assert not inbox.comes(11, within=0.3)


@pytest.mark.slow
def test_twenty_thousand_messages_arrive_exactly_once_when_acknowledged(clients: Clients) -> None:
    inbox = Inbox()
    with clients.stream(inbox.acknowledge, max_messages=10_000, max_bytes=50_000_000):
        ids = clients.publish(*[bytes(1_000)] * 20_000)
        messages = inbox.wait_for(20_000, timeout=90)
    assert Counter(message.message_id for message in messages) == Counter(ids)


def test_large_messages_arrive_whole(clients: Clients) -> None:
    bodies = {bytes([number]) * 1_000_000 for number in range(1, 10)}
    clients.publish(*bodies)
    pulled: list[bytes] = []
    while len(pulled) < len(bodies):
        # More at once would, with the emulator, exceed the 4 MiB that the client takes.
        received = clients.pull(max_messages=3)
        clients.acknowledge(received)
        pulled += [each.message.data for each in received]
    assert len(pulled) == 9
    assert set(pulled) == bodies


def test_an_ordering_keys_messages_arrive_in_order(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordered = pubsub_v1.types.PublisherOptions(enable_message_ordering=True)
    with clients_of(server, monkeypatch, publisher_options=ordered) as clients:
        clients.create(enable_message_ordering=True)
        sent = [str(number).encode() for number in range(100)]
        clients.publish(*sent, ordering_key="k")
        inbox = Inbox()
        with clients.stream(inbox.acknowledge):
            messages = inbox.wait_for(100)
    assert [message.data for message in messages] == sent
    assert {message.ordering_key for message in messages} == {"k"}


def test_messages_of_a_topic_without_subscriptions_are_dropped(clients: Clients) -> None:
    clients.subscriber.delete_subscription(subscription=clients.subscription)
    clients.publish(b"dropped")
    clients.subscriber.create_subscription(name=clients.subscription, topic=clients.topic)
    clients.publish(b"kept")
    assert [each.message.data for each in clients.pull()] == [b"kept"]


def test_topics_and_subscriptions_are_got_listed_and_deleted(clients: Clients) -> None:
    project = f"projects/{PROJECT}"
    assert clients.publisher.get_topic(topic=clients.topic).name == clients.topic
    found = clients.subscriber.get_subscription(subscription=clients.subscription)
    assert (found.topic, found.ack_deadline_seconds) == (clients.topic, 10)
    assert clients.topic in {each.name for each in clients.publisher.list_topics(project=project)}
    listed = clients.subscriber.list_subscriptions(project=project)
    assert clients.subscription in {each.name for each in listed}
    clients.publisher.delete_topic(topic=clients.topic)
    clients.subscriber.delete_subscription(subscription=clients.subscription)
    with pytest.raises(exceptions.NotFound):
        clients.publisher.get_topic(topic=clients.topic)
    with pytest.raises(exceptions.NotFound):
        clients.subscriber.get_subscription(subscription=clients.subscription)


def test_the_deletion_of_its_subscription_ends_a_stream(clients: Clients) -> None:
    inbox = Inbox()
    with clients.stream(inbox.acknowledge) as future:
        clients.publish(b"a")
        inbox.wait_for(1)
        clients.subscriber.delete_subscription(subscription=clients.subscription)
        with pytest.raises(exceptions.NotFound):
            future.result(timeout=DEADLINE_SECONDS)


def test_what_is_missing_is_answered_not_found(clients: Clients) -> None:
    topic, subscription = f"{clients.topic}-none", f"{clients.subscription}-none"
    publisher, subscriber = clients.publisher, clients.subscriber
    calls: list[Callable[[], object]] = [
        lambda: publisher.publish(topic, b"a").result(timeout=DEADLINE_SECONDS),
        lambda: publisher.delete_topic(topic=topic),
        lambda: subscriber.create_subscription(name=subscription, topic=topic),
        lambda: subscriber.delete_subscription(subscription=subscription),
        lambda: subscriber.pull(subscription=subscription, max_messages=1),
    ]
    for call in calls:
        with pytest.raises(exceptions.NotFound):
            call()


def test_what_exists_is_answered_already_exists(clients: Clients) -> None:
    with pytest.raises(exceptions.AlreadyExists):
        clients.publisher.create_topic(name=clients.topic)
    with pytest.raises(exceptions.AlreadyExists):
        clients.subscriber.create_subscription(name=clients.subscription, topic=clients.topic)


def test_what_breaks_a_rule_is_answered_invalid_argument(clients: Clients) -> None:
    publisher, subscriber = clients.publisher, clients.subscriber
    calls: list[Callable[[], object]] = [
        lambda: publisher.create_topic(name="events"),
        lambda: publisher.publish(clients.topic, b"").result(timeout=DEADLINE_SECONDS),
        lambda: subscriber.pull(subscription=clients.subscription, max_messages=0),
        lambda: subscriber.modify_ack_deadline(
            subscription=clients.subscription, ack_ids=["1"], ack_deadline_seconds=601
        ),
    ]
    for call in calls:
        with pytest.raises(exceptions.InvalidArgument):
            call()


# The embedded server alone.


def test_an_answer_never_exceeds_what_the_client_takes(ours: Clients) -> None:
    bodies = {bytes([number]) * 1_000_000 for number in range(1, 10)}
    ours.publish(*bodies)
    pulled = [each.message.data for each in ours.pull()]
    inbox = Inbox()
    with ours.stream(inbox.acknowledge):
        messages = inbox.wait_for(9 - len(pulled))
    assert len(pulled) == 3
    assert {message.data for message in messages}.union(pulled) == bodies


def test_the_server_counts_what_is_outstanding_and_acknowledged(
    ours: Clients, embedded: EmbeddedPubSub
) -> None:
    ours.publish(b"a", b"b", b"c")
    received = ours.pull(max_messages=2)
    assert embedded.outstanding(ours.subscription) == 3
    ours.acknowledge(received)
    assert embedded.outstanding(ours.subscription) == 1
    assert embedded.acknowledged(ours.subscription) == 2


def test_the_clock_of_a_broker_passed_in_ends_the_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    with (
        EmbeddedPubSub(broker=Broker(clock=lambda: now[0])) as server,
        clients_of(server, monkeypatch) as clients,
    ):
        clients.create(ack_deadline_seconds=600)
        clients.publish(b"a")
        clients.pull()
        now[0] = 599.9
        assert clients.pull_at_once() == []
        now[0] = 600.0
        assert [each.message.data for each in clients.pull_at_once()] == [b"a"]


class RawStream:
    """A streaming pull without the client library: requests are sent one by one."""

    def __init__(self, clients: Clients, **first: Any) -> None:
        self._more = threading.Condition()
        self._requests = [
            types.StreamingPullRequest(
                subscription=clients.subscription, **{"stream_ack_deadline_seconds": 10, **first}
            )
        ]
        self._open = True
        self.call = clients.subscriber.streaming_pull(requests=iter(self._next, None))

    def _next(self) -> types.StreamingPullRequest | None:
        with self._more:
            self._more.wait_for(lambda: self._requests or not self._open)
            return self._requests.pop(0) if self._requests else None

    def send(self, **fields: Any) -> None:
        with self._more:
            self._requests.append(types.StreamingPullRequest(**fields))
            self._more.notify_all()

    def end(self) -> None:
        """Say that nothing more is sent."""
        with self._more:
            self._open = False
            self._more.notify_all()

    def receive(self) -> list[Any]:
        return list(next(self.call).received_messages)

    def data(self) -> list[bytes]:
        return [each.message.data for each in self.receive()]


@contextmanager
def raw_stream(clients: Clients, **first: Any) -> Iterator[RawStream]:
    stream = RawStream(clients, **first)
    try:
        yield stream
    finally:
        stream.end()
        stream.call.cancel()


def test_acknowledgements_and_deadlines_travel_on_the_stream_too(
    ours: Clients, embedded: EmbeddedPubSub
) -> None:
    ours.publish(b"a", b"b")
    with raw_stream(ours) as stream:
        first, second = stream.receive()
        stream.send(
            ack_ids=[first.ack_id],
            modify_deadline_ack_ids=[second.ack_id],
            modify_deadline_seconds=[0],
        )
        assert stream.data() == [second.message.data]
    assert embedded.acknowledged(ours.subscription) == 1


def test_a_stream_sends_no_more_bytes_than_it_may_have_outstanding(ours: Clients) -> None:
    ours.publish(*[bytes(1_000)] * 5)
    with raw_stream(ours, max_outstanding_bytes=1_500) as stream:
        held = stream.receive()
        assert len(held) == 2
        ours.acknowledge(held)
        assert len(stream.receive()) == 2


def test_a_stream_may_change_how_long_it_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    with (
        EmbeddedPubSub(broker=Broker(clock=lambda: now[0])) as server,
        clients_of(server, monkeypatch) as clients,
    ):
        clients.create()
        clients.publish(b"a")
        with raw_stream(clients) as stream:
            [first] = stream.receive()
            stream.send(stream_ack_deadline_seconds=600, ack_ids=[first.ack_id])
            wait_until(lambda: server.acknowledged(clients.subscription) == 1)
            clients.publish(b"b")
            assert stream.data() == [b"b"]
        wait_until(lambda: not server._outage._open)  # else the stream would take it back
        now[0] = 599.9
        assert clients.pull_at_once() == []
        now[0] = 600.0
        assert [each.message.data for each in clients.pull_at_once()] == [b"b"]


def test_an_empty_request_only_keeps_the_stream_alive(ours: Clients) -> None:
    with raw_stream(ours) as stream:
        stream.send()
        ours.publish(b"a")
        assert stream.data() == [b"a"]


def test_a_stream_whose_client_has_no_more_to_send_ends_well(ours: Clients) -> None:
    with raw_stream(ours) as stream:
        stream.end()
        assert list(stream.call) == []
        assert stream.call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    "request_fields",
    [
        {"modify_deadline_ack_ids": ["1"]},
        {"modify_deadline_ack_ids": ["1"], "modify_deadline_seconds": [601]},
        {"stream_ack_deadline_seconds": 9},
        {"subscription": f"projects/{PROJECT}/subscriptions/other"},
    ],
)
def test_a_stream_ends_with_the_rule_that_a_request_breaks(
    ours: Clients, request_fields: dict[str, Any]
) -> None:
    with raw_stream(ours) as stream:
        stream.send(**request_fields)
        with pytest.raises(exceptions.InvalidArgument):
            stream.receive()


def test_a_stream_begins_with_a_legal_deadline(ours: Clients) -> None:
    with (
        pytest.raises(exceptions.InvalidArgument, match="deadline"),
        raw_stream(ours, stream_ack_deadline_seconds=0) as stream,
    ):
        stream.receive()


def test_messages_up_to_the_services_ten_megabytes_are_taken(
    ours: Clients, embedded: EmbeddedPubSub
) -> None:
    ours.publish(bytes(9_900_000))
    assert embedded.outstanding(ours.subscription) == 1
    message = types.PubsubMessage(data=bytes(10_000_001))
    with pytest.raises(exceptions.InvalidArgument, match="10000000"):
        GapicPublisher.publish(ours.publisher, topic=ours.topic, messages=[message])


def test_every_call_is_unavailable_while_the_server_fails(
    ours: Clients, embedded: EmbeddedPubSub
) -> None:
    embedded.fail()
    at_once: dict[str, Any] = {"retry": None, "timeout": 5}
    with pytest.raises(exceptions.ServiceUnavailable):
        ours.publisher.get_topic(topic=ours.topic, **at_once)
    with pytest.raises(exceptions.ServiceUnavailable):
        ours.subscriber.pull(subscription=ours.subscription, max_messages=1, **at_once)
    with raw_stream(ours) as stream, pytest.raises(exceptions.ServiceUnavailable):
        stream.receive()
    embedded.heal()
    assert ours.publisher.get_topic(topic=ours.topic, **at_once).name == ours.topic


def test_an_outage_ends_open_pulls_with_unavailable(
    ours: Clients, embedded: EmbeddedPubSub
) -> None:
    with raw_stream(ours) as stream:
        ours.publish(b"a")
        assert stream.data() == [b"a"]  # so it is open
        embedded.fail()
        embedded.heal()
        with pytest.raises(exceptions.ServiceUnavailable):
            stream.receive()


def test_an_outage_ends_after_its_seconds(ours: Clients, embedded: EmbeddedPubSub) -> None:
    begun = time.monotonic()
    embedded.fail(seconds=0.5)
    patient = retry.Retry(initial=0.05, maximum=0.05, timeout=DEADLINE_SECONDS)
    ours.publisher.get_topic(topic=ours.topic, retry=patient)
    assert 0.5 <= time.monotonic() - begun < 5


def test_the_client_library_publishes_once_an_outage_is_over(
    ours: Clients, embedded: EmbeddedPubSub
) -> None:
    embedded.fail(seconds=0.1)
    ours.publish(b"a")
    assert embedded.outstanding(ours.subscription) == 1


def test_a_stream_of_the_client_library_survives_an_outage(
    ours: Clients, embedded: EmbeddedPubSub
) -> None:
    inbox = Inbox()
    with ours.stream(inbox.acknowledge):
        before = ours.publish(b"before")
        inbox.wait_for(1)
        wait_until(lambda: embedded.acknowledged(ours.subscription) == 1)
        embedded.fail()
        embedded.heal()  # at once: the library lets ten seconds pass after five vain attempts
        after = ours.publish(b"after")
        messages = inbox.wait_for(2)
        wait_until(lambda: embedded.outstanding(ours.subscription) == 0)
    assert [message.message_id for message in messages] == before + after


def test_the_server_stops_in_time_with_open_pulls_and_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = EmbeddedPubSub()
    with clients_of(server.__enter__(), monkeypatch) as clients:
        clients.create()
        with raw_stream(clients) as one, raw_stream(clients) as other:
            for _ in range(2):
                clients.publish(b"a")
            assert one.data() + other.data() == [b"a", b"a"]
            begun = time.monotonic()
            server.__exit__()
            assert time.monotonic() - begun < 2
    wait_until(lambda: not [t for t in threading.enumerate() if "embedded-pubsub" in t.name])


def test_a_client_that_leaves_ends_its_pull(ours: Clients, embedded: EmbeddedPubSub) -> None:
    with raw_stream(ours) as stream:
        ours.publish(b"a")
        stream.receive()
        assert len(embedded._outage._open) == 1
    wait_until(lambda: not embedded._outage._open)
    with pytest.raises(exceptions.DeadlineExceeded):
        ours.pull(timeout=0.2)
    wait_until(lambda: not embedded._outage._open)


def test_a_taken_port_is_refused(embedded: EmbeddedPubSub) -> None:
    port = int(embedded.address.rpartition(":")[2])
    with pytest.raises(RuntimeError, match=str(port)), EmbeddedPubSub(port=port):
        pass


# Finding and starting.


def test_the_start_takes_googles_emulator_where_there_is_one() -> None:
    expected = "google emulator" if GoogleEmulator.find() else "embedded"
    assert start_pubsub().name == expected


def test_the_start_takes_the_embedded_server_without_an_sdk_or_java(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with start_pubsub() as server:
        assert server.name == "embedded"


def test_the_newest_emulator_of_an_sdk_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "sdk" / "platform" / "pubsub-emulator" / "lib"
    folder.mkdir(parents=True)
    for version in ("99.9.2", "99.10.0"):
        (folder / f"cloud-pubsub-emulator-{version}-all.jar").touch()
    java = tmp_path / "java"
    java.touch(mode=0o755)
    monkeypatch.setenv("CLOUDSDK_ROOT_DIR", str(tmp_path / "sdk"))
    monkeypatch.setenv("PATH", str(tmp_path))
    found = GoogleEmulator.find()
    assert found is not None
    assert (found._jar.name, found._java) == ("cloud-pubsub-emulator-99.10.0-all.jar", java)


def test_an_emulator_that_does_not_start_says_why(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho no such jar\nexit 1\n")
    java.chmod(0o755)
    emulator = GoogleEmulator(tmp_path / "none.jar", java)
    with pytest.raises(RuntimeError, match="no such jar"), emulator:
        pass


def test_the_emulator_is_gone_after_its_block() -> None:
    found = GoogleEmulator.find()
    if found is None:
        pytest.skip("no Pub/Sub emulator of a Google Cloud SDK, or no Java, on this machine")
    with found as server:
        assert server._process.poll() is None
    assert server._process.poll() == -signal.SIGKILL


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_the_emulator_does_not_outlive_the_process_that_started_it(tmp_path: Path) -> None:
    """With a stand-in for Java, for it is the start that is tested."""
    java = tmp_path / "java"
    java.write_text(
        f"#!/bin/sh\necho $$ > {tmp_path}/pid.new\nmv {tmp_path}/pid.new {tmp_path}/pid\nexec sleep 60\n"
    )
    java.chmod(0o755)
    code = f"""
        from pathlib import Path
        from sandbox.pubsub import GoogleEmulator
        GoogleEmulator(Path("none.jar"), Path({str(java)!r})).__enter__()
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    try:
        wait_until((tmp_path / "pid").exists)
    finally:
        parent.kill()
        parent.wait()
    pid = int((tmp_path / "pid").read_text())
    try:
        wait_until(lambda: not is_running(pid), timeout=5)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


# Beam.

READ_TO_FILES = """
import sys
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

class Keep(beam.DoFn):
    def __init__(self, path):
        self.path = path

    def process(self, element):
        with open(self.path, "ab") as file:
            file.write(element + b"\\n")

subscription, path = sys.argv[1:]
options = PipelineOptions(["--runner=BundleBasedDirectRunner", "--streaming"])
with beam.Pipeline(options=options) as pipeline:
    messages = pipeline | beam.io.ReadFromPubSub(subscription=subscription)
    messages | beam.ParDo(Keep(path))
"""


@pytest.mark.slow
def test_beam_reads_from_the_embedded_server(
    ours: Clients, embedded: EmbeddedPubSub, tmp_path: Path
) -> None:
    sent = [f"event {number}".encode() for number in range(20)]
    ours.publish(*sent)
    kept = tmp_path / "kept"
    kept.touch()
    arguments = [sys.executable, "-c", READ_TO_FILES, ours.subscription, str(kept)]
    with (tmp_path / "log").open("wb") as log:
        beam = subprocess.Popen(arguments, stdout=log, stderr=log)
        try:
            wait_until(lambda: len(kept.read_bytes().splitlines()) >= 20, timeout=60)
        finally:
            beam.kill()
            beam.wait()
    assert sorted(kept.read_bytes().splitlines()) == sorted(sent)
    assert embedded.acknowledged(ours.subscription) == 20
