"""User batches of an mParticle call: items of the same user become one."""

import hashlib
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Raw
from typing_extensions import Buffer

from sinks.fields import encode_json
from sinks.items import Items

_EVENTS = b',"events":['
_REQUEST_ID = b'],"source_request_id":'
"""Neither stands in a text of an item, where quotes have a backslash in front; nor anywhere else, for
identities, attributes and device are flat."""
_HASH_BYTES = 66
"""A SHA-256 in quotes."""

_decode_id = msgspec.json.Decoder(str).decode


class _Merged(msgspec.Struct, gc=False):
    """What is sent of several items."""

    head: bytes
    """Identities, attributes and device as a JSON object that ends after them."""
    bodies: list[bytes]
    ids: list[str]
    members: list[int]

    def encode(self) -> bytes:
        """The JSON; what mParticle de-duplicates a batch of several by is the hash of their ids."""
        digest = hashlib.sha256("\n".join(self.ids).encode()).hexdigest()
        bodies = b",".join(self.bodies)
        return b'%b%b%b%b"%b"}' % (self.head, _EVENTS, bodies, _REQUEST_ID, digest.encode())


class UserBatch(msgspec.Struct, gc=False):
    """Items that share user, attributes and device, in order; of most users there is only a `first`."""

    first: int
    weight: int
    """What it weighs in a request, in bytes."""
    count: int = 1
    merged: _Merged | None = None

    def add(self, items: Items, index: int, max_bytes: int) -> bool:
        """Add an item of the user, if it shares the rest and the batch does not get too large."""
        merged = self.merged or _merged_of_one(items, self.first)
        head, body, event_id = _parts(items, index)
        weight = self.weight + 1 + len(body)
        if self.merged is None:
            weight += _HASH_BYTES - len(encode_json(merged.ids[0]))
        if head != merged.head or weight > max_bytes:
            return False
        merged.bodies.append(body)
        merged.ids.append(event_id)
        merged.members.append(index)
        self.merged, self.weight, self.count = merged, weight, len(merged.members)
        return True


def group_by_user(
    items: Items, users: Iterable[str], max_bytes: int, max_events: int
) -> list[UserBatch]:
    """Batches in the order of their first event; each user's events stay in order.

    Args:
        items: user batches of one event each.
        users: whose they are.
        max_bytes: what a batch may weigh.
        max_events: how many it may hold.
    """
    batches: list[UserBatch] = []
    latest: dict[str, UserBatch] = {}
    for index, (user, weight) in enumerate(zip(users, items.weights(), strict=True)):
        batch = latest.get(user)
        if batch is not None and batch.count < max_events and batch.add(items, index, max_bytes):
            continue
        batch = latest[user] = UserBatch(index, weight)
        batches.append(batch)
    return batches


def fill_requests(
    batches: Iterable[UserBatch], max_bytes: int, max_events: int
) -> Iterator[list[UserBatch]]:
    """Runs of batches that fit an array of `max_bytes` with `max_events` in all, in order."""
    run: list[UserBatch] = []
    size, count = 2, 0
    for batch in batches:
        if run and (size + batch.weight > max_bytes or count + batch.count > max_events):
            yield run
            run, size, count = [], 2, 0
        run.append(batch)
        size += batch.weight + 1
        count += batch.count
    if run:
        yield run


def contents_of(run: Iterable[UserBatch], items: Items) -> tuple[list[Buffer], list[bytes]]:
    """The JSON of each batch, and the events in all of them."""
    bodies: list[Buffer] = []
    events: list[bytes] = []
    text, ends = memoryview(items.text), items.ends
    for batch in run:
        if batch.merged is None:
            bodies.append(text[ends[batch.first] : ends[batch.first + 1] - 1])
            events.append(items.events[batch.first])
        else:
            bodies.append(batch.merged.encode())
            events += [items.events[index] for index in batch.merged.members]
    return bodies, events


def _merged_of_one(items: Items, index: int) -> _Merged:
    head, body, event_id = _parts(items, index)
    return _Merged(head, [body], [event_id], [index])


def _parts(items: Items, index: int) -> tuple[bytes, bytes, str]:
    """The head, the event, and its id."""
    item = items.text[items.ends[index] : items.ends[index + 1] - 1]
    head, _, rest = bytes(item).partition(_EVENTS)
    body, _, end = rest.rpartition(_REQUEST_ID)
    return head, body, _decode_id(end[:-1])


# How many there will be


class _UserTold(msgspec.Struct, frozen=True, gc=False):
    external_user_id: str | None = None
    device_id: Raw = Raw()


class _PropertiesTold(msgspec.Struct, frozen=True, gc=False):
    email_address: Raw = Raw()
    to_phone_number: Raw = Raw()
    user_phone_number: Raw = Raw()
    platform: Raw = Raw()
    device_model: Raw = Raw()
    ad_tracking_enabled: Raw = Raw()
    ad_id: Raw = Raw()
    ad_id_type: Raw = Raw()


class _Told(msgspec.Struct, frozen=True, gc=False):
    """What a batch tells of user and device is made of these fields."""

    user: _UserTold | None = None
    properties: _PropertiesTold | None = None


_decode_told = msgspec.json.Decoder(_Told).decode


class _Counted(msgspec.Struct, gc=False):
    told: _Told
    count: int
    size: int


def count_batches(events: Iterable[bytes], max_bytes: int, max_events: int) -> int:
    """About how many batches the events make; an event's own size stands for its encoded one.

    They are a few more than will be where events of a user differ in what is not sent.
    """
    found = 0
    latest: dict[str, _Counted] = {}
    for event in events:
        try:
            told = _decode_told(event)
        except (msgspec.DecodeError, RecursionError):
            continue
        user = told.user and told.user.external_user_id
        if not user:
            continue
        size, counted = len(event), latest.get(user)
        if (
            counted is not None
            and counted.told == told
            and counted.count < max_events
            and counted.size + size <= max_bytes
        ):
            counted.count += 1
            counted.size += size
        else:
            latest[user] = _Counted(told, 1, size)
            found += 1
    return found
