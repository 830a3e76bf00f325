"""Encoded events of the same user, in one batch of an mParticle call."""

import hashlib
from collections.abc import Iterable, Iterator

import msgspec

from sinks.fields import NOBODY, Fields, encode_json

_EVENTS = b',"events":['
_REQUEST_ID = b'],"source_request_id":'
_FRAME_BYTES = len(_EVENTS) + len(_REQUEST_ID) + len(b"}")
_HASH_BYTES = 66
"""A SHA-256 in quotes."""


class EncodedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event in the partner's shape, and the batch that it may be in."""

    original: bytes
    event_id: str
    id_json: bytes
    user: str
    head: bytes
    """Identities, attributes and device as a JSON object without its closing brace."""
    body: bytes
    weight: int
    """What a batch of this event weighs."""


def encoded_event(original: bytes, fields: Fields, head: bytes, body: bytes) -> EncodedEvent:
    """An event with its weight."""
    id_json = encode_json(fields.id)
    weight = len(head) + _FRAME_BYTES + len(body) + len(id_json)
    user = (fields.user or NOBODY).external_user_id or ""
    return EncodedEvent(original, fields.id, id_json, user, head, body, weight)


class UserBatch(msgspec.Struct, gc=False):
    """Events that share user, attributes and device, in order; of most users there is only a `first`."""

    first: EncodedEvent
    weight: int
    more: list[EncodedEvent] | None = None

    @property
    def members(self) -> list[EncodedEvent]:
        return [self.first, *(self.more or ())]

    def __len__(self) -> int:
        return 1 if self.more is None else 1 + len(self.more)

    def weigh_with(self, event: EncodedEvent) -> int:
        """What the batch weighs with one event more."""
        request_id = _HASH_BYTES - len(self.first.id_json) if self.more is None else 0
        return self.weight + request_id + 1 + len(event.body)

    def add(self, event: EncodedEvent) -> None:
        self.weight = self.weigh_with(event)
        if self.more is None:
            self.more = []
        self.more.append(event)

    def encode(self) -> bytes:
        first = self.first
        if self.more is None:
            return b"%b%b%b%b%b}" % (first.head, _EVENTS, first.body, _REQUEST_ID, first.id_json)
        bodies = b",".join([member.body for member in self.members])
        return b"%b%b%b%b%b}" % (first.head, _EVENTS, bodies, _REQUEST_ID, self._hash_of_ids())

    def _hash_of_ids(self) -> bytes:
        """What mParticle de-duplicates a batch of several by."""
        ids = "\n".join([member.event_id for member in self.members])
        return encode_json(hashlib.sha256(ids.encode()).hexdigest())


def group_by_user(
    events: Iterable[EncodedEvent], max_bytes: int, max_events: int
) -> list[UserBatch]:
    """Batches in the order of their first event; each user's events stay in order."""
    batches: list[UserBatch] = []
    latest: dict[str, UserBatch] = {}
    for event in events:
        batch = latest.get(event.user)
        if (
            batch is not None
            and batch.first.head == event.head
            and len(batch) < max_events
            and batch.weigh_with(event) <= max_bytes
        ):
            batch.add(event)
            continue
        batch = latest[event.user] = UserBatch(event, event.weight)
        batches.append(batch)
    return batches


def fill_requests(
    batches: Iterable[UserBatch], max_bytes: int, max_events: int
) -> Iterator[list[UserBatch]]:
    """Runs of batches that fit an array of `max_bytes` with `max_events` in all, in order."""
    run: list[UserBatch] = []
    size, count = 2, 0
    for batch in batches:
        weight, members = batch.weight + 1, len(batch)
        if run and (size + weight - 1 > max_bytes or count + members > max_events):
            yield run
            run, size, count = [], 2, 0
        run.append(batch)
        size += weight
        count += members
    if run:
        yield run
