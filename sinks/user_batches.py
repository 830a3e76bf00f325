"""Encoded events of the same user, in one batch of an mParticle call."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

_EVENTS = b',"events":['
_REQUEST_ID = b'],"source_request_id":'
_HASH_BYTES = 66
"""A SHA-256 in quotes."""
_encode = msgspec.json.Encoder().encode


class EncodedEvent(NamedTuple):
    """An event in the partner's shape, and the batch that it may be in."""

    original: bytes
    event_id: str
    user: str
    head: bytes
    """Identities, attributes and device as a JSON object without its closing brace."""
    body: bytes
    id_json: bytes


def encoded_event(
    original: bytes, event_id: str, user: str, head: bytes, body: bytes
) -> EncodedEvent:
    """An event with its id as JSON, which is weighed more than once."""
    return EncodedEvent(original, event_id, user, head, body, _encode(event_id))


@dataclass
class UserBatch:
    """Events that share user, attributes and device, in order."""

    members: list[EncodedEvent] = field(default_factory=list)
    body_bytes: int = 0

    @property
    def weight(self) -> int:
        return _weigh(self.members[0], self.body_bytes, len(self.members))

    def weigh_with(self, event: EncodedEvent) -> int:
        """What the batch weighs with one event more."""
        return _weigh(event, self.body_bytes + len(event.body), len(self.members) + 1)

    def add(self, event: EncodedEvent) -> None:
        self.members.append(event)
        self.body_bytes += len(event.body)

    def encode(self) -> bytes:
        bodies = b",".join(member.body for member in self.members)
        request_id = self._request_id()
        return self.members[0].head + _EVENTS + bodies + _REQUEST_ID + request_id + b"}"

    def _request_id(self) -> bytes:
        """What mParticle de-duplicates by: the event's id; of several the hash of their ids."""
        if len(self.members) == 1:
            return self.members[0].id_json
        ids = "\n".join(member.event_id for member in self.members)
        return _encode(hashlib.sha256(ids.encode()).hexdigest())


def weigh_alone(event: EncodedEvent) -> int:
    """What a batch of this event weighs."""
    return _weigh(event, len(event.body), 1)


def group_by_user(
    events: Iterable[EncodedEvent], max_bytes: int, max_events: int
) -> list[UserBatch]:
    """Batches in the order of their first event; each user's events stay in order."""
    batches: list[UserBatch] = []
    latest: dict[str, UserBatch] = {}
    for event in events:
        batch = latest.get(event.user)
        if (
            batch is None
            or batch.members[0].head != event.head
            or len(batch.members) >= max_events
            or batch.weigh_with(event) > max_bytes
        ):
            batch = latest[event.user] = UserBatch()
            batches.append(batch)
        batch.add(event)
    return batches


def fill_requests(
    batches: Iterable[UserBatch], max_bytes: int, max_events: int
) -> Iterator[list[UserBatch]]:
    """Runs of batches that fit an array of `max_bytes` with `max_events` in all, in order."""
    run: list[UserBatch] = []
    size, count = 2, 0
    for batch in batches:
        weight = batch.weight + 1
        if run and (size + weight - 1 > max_bytes or count + len(batch.members) > max_events):
            yield run
            run, size, count = [], 2, 0
        run.append(batch)
        size += weight
        count += len(batch.members)
    if run:
        yield run


def _weigh(event: EncodedEvent, body_bytes: int, count: int) -> int:
    request_id = len(event.id_json) if count == 1 else _HASH_BYTES
    frame = len(event.head) + len(_EVENTS) + len(_REQUEST_ID) + request_id + 1
    return frame + body_bytes + count - 1
