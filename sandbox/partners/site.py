"""The contract of a site: what one partner's stand-in makes of a request.

A site is pure: it gets a request that has arrived and returns a judgement. Its rules are checks
that raise `Refusal`, written in the order in which the partner looks.
"""

import base64
import binascii
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec

NonEmpty = Annotated[str, msgspec.Meta(min_length=1)]

# `float` takes 1e999, which is JSON all the same.
_decode = msgspec.json.Decoder(float_hook=float).decode


class Refusal(Exception):
    """A rule that a request breaks, with the status that the partner answers."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Arrival:
    """A request as it came; `path` is what follows the site's address, header names lower-case."""

    method: str
    path: str
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @cached_property
    def document(self) -> Any:
        """The body as strict JSON: UTF-8, no NaN, no lone surrogates.

        Raises:
            Refusal: 400, it is none.
        """
        try:
            return _decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refusal(400, f"malformed JSON: {error}") from error

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def basic(self) -> tuple[str, str] | None:
        """User and password of HTTP Basic, or None where there are none."""
        scheme, _, encoded = (self.authorization or "").partition(" ")
        try:
            decoded = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        user, colon, password = decoded.partition(":")
        return (user, password) if scheme == "Basic" and colon else None


@dataclass(frozen=True)
class Received:
    """One request as the sandbox remembers it; `status` is None while, or where, none was sent."""

    method: str
    path: str
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body_bytes: int
    status: int | None
    events: int
    """In the request, whatever became of them."""
    event_ids: list[str]
    """Theirs, where ids are kept."""
    at: float
    """On the monotonic clock."""
    feed: str | None
    ended_at: float | None = None
    """When it was answered or broken off; on the monotonic clock."""


@dataclass(frozen=True)
class Reply:
    """What is answered."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Judgement:
    """What a site made of a request: what it shows, and what it does not."""

    reply: Reply
    accepted: Sequence[str] = ()
    """Ids of the events that the partner keeps, in order."""
    refused: bool = False
    """Nothing of the request was kept, whatever the status says."""
    row: Mapping[str, str] | None = None
    """What the partner stores, where it stores a request as one row."""


@dataclass(frozen=True)
class Site(ABC):
    """One partner's stand-in, with the credentials it knows."""

    kind: ClassVar[str]
    id_path: ClassVar[tuple[str, ...]]
    """Keys that lead from the document to an event's id; arrays on the way are entered."""

    @property
    @abstractmethod
    def credentials(self) -> Sequence[str]:
        """The secrets that it knows: what is shown of a request must hold none of them."""

    @abstractmethod
    def examine(self, arrival: Arrival) -> Judgement:
        """Apply the partner's rules.

        Raises:
            Refusal: a rule whose breach the status shows.
        """

    def judge(self, arrival: Arrival) -> Judgement:
        """Apply the partner's rules; a refusal is an ordinary judgement."""
        try:
            return self.examine(arrival)
        except Refusal as refusal:
            return Judgement(self.refuse(refusal.status, str(refusal)), refused=True)

    def refuse(self, status: int, message: str) -> Reply:
        """Word a refusal as the partner does."""
        return Reply(status, message.encode())

    def feed(self, arrival: Arrival) -> str | None:  # noqa: ARG002 - most partners have no feeds
        """The feed that the credentials belong to."""
        return None

    def event_ids(self, arrival: Arrival) -> list[str]:
        """Every id in the request that can be found, malformed or not."""
        try:
            return texts_at(arrival.document, self.id_path)
        except Refusal:
            return []


def require(holds: bool, status: int, message: str) -> None:
    """Raises Refusal unless the rule holds."""
    if not holds:
        raise Refusal(status, message)


ShapeT = TypeVar("ShapeT")


def require_shape(document: Any, shape: type[ShapeT]) -> ShapeT:
    """The document as `shape`, or a Refusal (400) that names the place where it differs."""
    try:
        return msgspec.convert(document, shape)
    except msgspec.ValidationError as error:
        raise Refusal(400, str(error)) from error


def has_shape(document: Any, shape: Any) -> bool:
    """Whether `require_shape` would pass."""
    try:
        msgspec.convert(document, shape)
    except msgspec.ValidationError:
        return False
    return True


def texts_at(document: Any, path: Sequence[str]) -> list[str]:
    """Every text that the keys lead to; an array of objects is entered."""
    items = document if isinstance(document, list) else [document]
    if not path:
        return [item for item in items if isinstance(item, str)]
    objects = [item for item in items if isinstance(item, dict)]
    return [text for item in objects for text in texts_at(item.get(path[0]), path[1:])]
