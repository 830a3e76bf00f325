"""Rules: what the real service accepts in a request, checked before anything is done.

The numbers are those of Google's pages "Quotas and limits" and "Resource names" and of the comments
in `pubsub.proto`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.pubsub.refusals import InvalidArgument, Unimplemented

MAX_MESSAGE_BYTES = 10_000_000
MAX_REQUEST_BYTES = 10_000_000
MAX_MESSAGES = 1_000
MAX_ATTRIBUTES = 100
MAX_ATTRIBUTE_KEY_BYTES = 256
MAX_ATTRIBUTE_VALUE_BYTES = 1_024
MAX_ORDERING_KEY_BYTES = 1_024
DEFAULT_ACK_DEADLINE_SECONDS = 10
MIN_ACK_DEADLINE_SECONDS = 10
MAX_ACK_DEADLINE_SECONDS = 600

_NAME = re.compile(
    r"projects/[^/]+/(topics|subscriptions)/(?!goog)[A-Za-z][A-Za-z0-9._~%+-]{2,254}"
)
# Kept silently, these would change what is delivered, to whom or how.
_UNSUPPORTED_FIELDS = (
    "push_config",
    "bigquery_config",
    "cloud_storage_config",
    "filter",
    "enable_exactly_once_delivery",
)


def check_name(name: str, collection: str) -> None:
    """Refuse what is no name of a topic or subscription (`collection` says of which)."""
    match = _NAME.fullmatch(name)
    if match is None or match[1] != collection:
        raise InvalidArgument(
            f"a name is projects/P/{collection}/ID, where ID has 3 to 255 letters, digits or "
            f"-._~%+, begins with a letter and not with goog; found {name!r}"
        )


def check_subscription(settings: Any) -> None:
    """Refuse a subscription that the service refuses, or that needs what the stand-in lacks."""
    check_name(settings.name, "subscriptions")
    check_name(settings.topic, "topics")
    if settings.ack_deadline_seconds:
        check_lease_seconds(settings.ack_deadline_seconds)
    present = {field.name for field, _ in settings.ListFields()}
    for field in _UNSUPPORTED_FIELDS:
        if field in present:
            raise Unimplemented(f"the embedded Pub/Sub has no {field}")


def check_lease_seconds(seconds: int) -> None:
    """Refuse an acknowledgement deadline of a subscription or stream outside its range."""
    _check_range(seconds, MIN_ACK_DEADLINE_SECONDS)


def check_extension_seconds(seconds: int) -> None:
    """Refuse a new deadline of a message outside its range; 0 gives the message back."""
    _check_range(seconds, 0)


def check_publish(request: Any) -> None:
    """Refuse a request to publish as a whole; the service accepts all of its messages or none."""
    if not 1 <= len(request.messages) <= MAX_MESSAGES:
        raise InvalidArgument(
            f"a request has 1 to {MAX_MESSAGES} messages; found {len(request.messages)}"
        )
    _check_most("bytes of a request", request.ByteSize(), MAX_REQUEST_BYTES)
    for message in request.messages:
        _check_message(message)


def check_extensions(ack_ids: Sequence[str], seconds: Sequence[int]) -> None:
    """Refuse a stream's new deadlines when they and their ack ids do not pair up."""
    if len(ack_ids) != len(seconds):
        raise InvalidArgument(
            f"each ack id needs its seconds; found {len(ack_ids)} ids, {len(seconds)} seconds"
        )
    for each in set(seconds):
        check_extension_seconds(each)


def _check_message(message: Any) -> None:
    if not message.data and not message.attributes:
        raise InvalidArgument("a message has data or at least one attribute; found neither")
    _check_most("bytes of data", len(message.data), MAX_MESSAGE_BYTES)
    _check_most("bytes of an ordering key", _size(message.ordering_key), MAX_ORDERING_KEY_BYTES)
    if message.attributes:
        _check_attributes(message.attributes)


def _check_attributes(attributes: Mapping[str, str]) -> None:
    _check_most("attributes", len(attributes), MAX_ATTRIBUTES)
    for key, value in attributes.items():
        if not key:
            raise InvalidArgument("an attribute has a key; found an empty one")
        _check_most("bytes of an attribute's key", _size(key), MAX_ATTRIBUTE_KEY_BYTES)
        _check_most("bytes of an attribute's value", _size(value), MAX_ATTRIBUTE_VALUE_BYTES)


def _check_range(seconds: int, least: int) -> None:
    if not least <= seconds <= MAX_ACK_DEADLINE_SECONDS:
        raise InvalidArgument(
            f"a deadline is {least} to {MAX_ACK_DEADLINE_SECONDS} seconds; found {seconds}"
        )


def _check_most(what: str, found: int, most: int) -> None:
    if found > most:
        raise InvalidArgument(f"at most {most} {what}; found {found}")


def _size(text: str) -> int:
    return len(text.encode())
