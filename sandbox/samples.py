"""Sample events of any type of the catalogue, in their HTTP shape; the same for the same seed.

Names, addresses and numbers are invented: `example.com`, the telephone numbers 555-01xx and the
addresses of TEST-NET are reserved for such use.
"""

import functools
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from schemas import catalogue
from schemas.catalogue import EventType, canonical_event_type

START_SECONDS = 1_760_000_000
EVENTS_PER_SECOND = 100
LARGE_SHARE = 0.001
"""Of events of 5 to 25 KB; the others lie mostly between 0.5 and 1.4 KB."""

_encode = msgspec.json.Encoder().encode


def sample_events(
    count: int,
    seed: int = 1,
    event_types: Sequence[str] | None = None,
    app_groups: Sequence[str] = ("brand-a", "brand-b"),
    start_seconds: int = START_SECONDS,
    anonymous_share: float = 0.05,
) -> Iterator[bytes]:
    """Yield events as compact JSON, about 0.9 KB each.

    Args:
        count: how many.
        seed: of everything that varies, ids included.
        event_types: whose events; by default all that are exported over HTTP today.
        app_groups: whose events, by turns at random.
        start_seconds: the time of the first event; 100 events share a second.
        anonymous_share: the share of users who have no `external_user_id`.
    """
    chance = random.Random(seed)  # noqa: S311 - samples, no secrets
    pick = _picker(_types_of(event_types), chance)
    for number in range(count):
        large = chance.random() < LARGE_SHARE
        scene = _scene(chance, app_groups, anonymous=chance.random() < anonymous_share)
        event = _event(pick(large), scene, start_seconds + number // EVENTS_PER_SECOND)
        yield _encode(_enlarge(event, chance) if large else event)


def sample_event(event_type: str, seed: int = 1, **overrides: Any) -> dict[str, Any]:
    """One event of a user with an `external_user_id`, its type spelled as it is given.

    Args:
        event_type: one of the catalogue, in any of its spellings.
        seed: of everything that varies.
        overrides: fields to replace; `user` and `properties` are merged with the sample's own.
    """
    chance = random.Random(seed)  # noqa: S311 - samples, no secrets
    known = catalogue.event_types()[canonical_event_type(event_type)]
    event = _event(known, _scene(chance, ["brand-a"], anonymous=False), START_SECONDS)
    merged = {
        name: {**event[name], **value} if name in ("user", "properties") else value
        for name, value in overrides.items()
    }
    return {**event, "event_type": event_type, **merged}


def _types_of(names: Sequence[str] | None) -> list[EventType]:
    known = catalogue.event_types()
    if names is None:
        return [found for found in known.values() if found.in_http and not found.retired]
    return [known[canonical_event_type(name)] for name in names]


# Which type comes next

_FAMILY_WEIGHTS = {"email": 12, "pushnotification": 12, "inappmessage": 10, "contentcard": 8}
_FAMILY_WEIGHTS |= {"sms": 6, "canvas": 2, "campaigns": 2}
_VERB_WEIGHTS = {"Send": 6.0, "Delivery": 6.0, "Impression": 5.0, "Open": 3.0, "Entry": 2.0}
_VERB_WEIGHTS |= {"Click": 1.2, "Dismiss": 1.0, "CustomEvent": 4.0, "Purchase": 2.0}
_CAN_BE_LARGE = ("custom_properties", "abort_log", "message_extras")


def _picker(types: Sequence[EventType], chance: random.Random) -> Callable[[bool], EventType]:
    """Choose a type by its weight; large events are of types that can be large, where there are."""
    growing = [found for found in types if _field_to_enlarge(found.http_properties)] or types
    ways = {
        large: (among, list(itertools.accumulate(map(_weight, among))))
        for large, among in ((False, types), (True, growing))
    }

    def pick(large: bool) -> EventType:
        among, weights = ways[large]
        return chance.choices(among, cum_weights=weights)[0]

    return pick


def _weight(event_type: EventType) -> float:
    family, verb = event_type.name.split(".")[-2:]
    return _FAMILY_WEIGHTS.get(family, 0.5) * _VERB_WEIGHTS.get(verb, 0.2)


def _field_to_enlarge(properties: Mapping[str, Any]) -> str | None:
    return next((name for name in _CAN_BE_LARGE if name in properties), None)


def _enlarge(event: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """The event with a field that makes it 5 to 25 KB, if its type has such a field."""
    name = _field_to_enlarge(event["properties"])
    if name is None:
        return event
    text = " ".join(chance.choices(_WORDS, k=chance.randrange(800, 3_400)))
    value = {"note": text} if name == "custom_properties" else text
    return {**event, "properties": {**event["properties"], name: value}}


# Who and where


class _Scene(NamedTuple):
    """What the fields of one event have in common."""

    chance: random.Random
    app_group: str
    platform: str
    app_id: str
    user: int
    anonymous: bool
    send: int
    """The campaign, or the canvas, of which there are a few dozen."""
    of_canvas: bool


_PLATFORMS = ("ios", "ios", "ios", "android", "android", "android", "web", "web", "kindle")
_USERS = 50_000
_SENDS = 36


def _scene(chance: random.Random, app_groups: Sequence[str], *, anonymous: bool) -> _Scene:
    group = int(chance.random() * len(app_groups))
    platform = chance.choice(_PLATFORMS)
    return _Scene(
        chance,
        app_groups[group],
        platform,
        f"app-{platform}-{group + 1}",
        int(chance.random() * _USERS),
        anonymous,
        int(chance.random() * _SENDS),
        chance.random() < 0.5,
    )


_USER_FIELDS = frozenset({"user_id", "external_user_id", "device_id", "timezone"})


def _event(event_type: EventType, scene: _Scene, seconds: int) -> dict[str, Any]:
    user_fields, properties = _makers(event_type.name, scene.of_canvas)
    return {
        "event_type": event_type.name,
        "id": _uuid(scene.chance.getrandbits(128)),
        "time": seconds,
        "user": {
            name: make(scene)
            for name, make in user_fields
            if not (scene.anonymous and name == "external_user_id")
        },
        "properties": {name: make(scene) for name, make in properties},
    }


_Maker = Callable[[_Scene], Any]


@functools.cache
def _makers(
    event_type: str, of_canvas: bool
) -> tuple[list[tuple[str, _Maker]], list[tuple[str, _Maker]]]:
    """How to make the fields of `user` and of `properties`."""
    known = catalogue.event_types()[event_type]
    json_types = known.http_properties if known.in_http else _stored_properties(known)
    left_out = _fields_that_do_not_apply(json_types, of_canvas)
    return (
        [(name, _maker(name, "string")) for name in _user_fields(known)],
        [
            (name, _maker(name, kind))
            for name, kind in {**json_types, "app_group_id": "string"}.items()
            if name not in left_out
        ],
    )


_JSON_TYPES = {"int": "integer", "long": "integer", "float": "number", "boolean": "boolean"}


def _stored_properties(event_type: EventType) -> Mapping[str, str]:
    """The properties of a type that only storage has: its fields, less those of every event."""
    return {
        field.name: _JSON_TYPES.get(field.type, "string")
        for field in event_type.storage_fields
        if field.name not in _USER_FIELDS | {"id", "time"}
    }


def _user_fields(event_type: EventType) -> Sequence[str]:
    if event_type.in_http:
        return event_type.user_fields
    return [f.name for f in event_type.storage_fields if f.name in _USER_FIELDS]


def _fields_that_do_not_apply(names: Mapping[str, str], of_canvas: bool) -> frozenset[str]:
    """Of a message that a campaign or a canvas sent, the other's fields: they are left out."""
    campaign = {name for name in names if name.startswith(("campaign_", "message_variation_"))}
    canvas = {name for name in names if name.startswith("canvas_")}
    if not campaign or not canvas:
        return frozenset()
    return frozenset(campaign if of_canvas else canvas)


# Values

_VOCABULARY = (
    "amber basket copper drift ember field garden harbor island jasmine kettle lantern meadow "
    "north orchard pebble quiet river summit timber umber valley willow yonder zephyr"
)
_WORDS = _VOCABULARY.split()
_OCCASIONS = ("Welcome series", "Spring sale", "Cart reminder", "Loyalty points", "Win-back")
_AREA_CODES = ("202", "303", "415", "617")
_ZONES = ("Europe/Paris", "America/New_York", "Asia/Tokyo", "Europe/Berlin", "America/Sao_Paulo")
_MODELS = {"ios": "Phone 14", "android": "Pocket 8", "web": "Desktop", "kindle": "Tablet 10"}
_SYSTEMS = {"ios": "17.4.1", "android": "14", "web": "unknown", "kindle": "8.3.2"}
_AD_ID_TYPES = {"ios": "ios_idfa", "android": "google_ad_id"}
_MIX = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""An odd number of 128 bits, by which small numbers are spread into ids."""


def _uuid(bits: int) -> str:
    """A version 4 UUID; `uuid.UUID` takes five times as long."""
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _id_of(kind: int, number: int) -> str:
    """The same UUID for the same thing, whatever the seed."""
    return _uuid((kind * 1_000_003 + number + 1) * _MIX % 2**128)


def _send_name(kind: str, scene: _Scene) -> str:
    words = f"{_WORDS[scene.send % 25]} {_WORDS[scene.send * 7 % 25]}"
    return f"{_OCCASIONS[scene.send % 5]} {kind} - {words} - {scene.app_group}"


def _phone(scene: _Scene) -> str:
    return f"+1{_AREA_CODES[scene.user % 4]}55501{scene.user % 100:02d}"


def _email(scene: _Scene) -> str:
    return f"{_WORDS[scene.user % 25]}.{scene.user}@example.com"


def _sentence(scene: _Scene) -> str:
    return " ".join(scene.chance.choices(_WORDS, k=9))


def _link(scene: _Scene) -> str:
    path = "/".join(scene.chance.choices(_WORDS, k=3))
    return f"https://example.com/{path}?campaign={scene.send}&user={scene.user}"


def _user_agent(scene: _Scene) -> str:
    model, system = _MODELS[scene.platform], _SYSTEMS[scene.platform]
    return f"SampleMail/3.{scene.send} ({model}; {scene.platform} {system}) SampleEngine/120.0"


def _log(scene: _Scene) -> str:
    return f"Message was aborted: {_sentence(scene)}"


def _extras(scene: _Scene) -> str:
    return f'{{"tier":"{scene.chance.choice(_WORDS)}","slot":{scene.send},"test":false}}'


def _object(scene: _Scene) -> dict[str, Any]:
    chance = scene.chance
    names = chance.sample(_WORDS, k=8)
    values = [chance.choice(_WORDS), chance.randrange(500), round(chance.random() * 90, 2), True]
    return {name: values[place % 4] for place, name in enumerate(names)}


def _number(scene: _Scene) -> float:
    return round(scene.chance.uniform(1, 90), 4)


def _whole(scene: _Scene) -> int:
    return scene.chance.randrange(1, 1_000)


def _token(scene: _Scene) -> str:
    return f"{scene.chance.getrandbits(256):064x}"


_CAMPAIGN, _VARIATION, _CANVAS, _STEP, _USER, _DEVICE, _CARD, _DISPATCH = range(8)

_BY_NAME: Mapping[str, _Maker] = {
    "user_id": lambda scene: f"{scene.user * _MIX % 2**96:024x}",
    "external_user_id": lambda scene: f"customer-{scene.user}",
    "device_id": lambda scene: _id_of(_DEVICE, scene.user),
    "timezone": lambda scene: _ZONES[scene.user % 5],
    "app_group_id": lambda scene: scene.app_group,
    "app_id": lambda scene: scene.app_id,
    "platform": lambda scene: scene.platform,
    "device_model": lambda scene: _MODELS[scene.platform],
    "os_version": lambda scene: _SYSTEMS[scene.platform],
    "ad_id": lambda scene: _id_of(_DEVICE, scene.user + 1),
    "ad_id_type": lambda scene: _AD_ID_TYPES.get(scene.platform, "windows_ad_id"),
    "campaign_id": lambda scene: _id_of(_CAMPAIGN, scene.send),
    "campaign_name": lambda scene: _send_name("campaign", scene),
    "message_variation_id": lambda scene: _id_of(_VARIATION, scene.send),
    "message_variation_name": lambda scene: f"Variant {scene.send % 3 + 1}",
    "canvas_id": lambda scene: _id_of(_CANVAS, scene.send),
    "canvas_name": lambda scene: _send_name("canvas", scene),
    "canvas_variation_id": lambda scene: _id_of(_VARIATION, scene.send),
    "canvas_variation_name": lambda scene: f"Variant {scene.send % 3 + 1}",
    "canvas_step_id": lambda scene: _id_of(_STEP, scene.send),
    "canvas_step_name": lambda scene: f"Step {scene.send % 6 + 1}: message after a delay",
    "canvas_step_message_variation_id": lambda scene: _id_of(_STEP, scene.send + 1),
    "card_id": lambda scene: _id_of(_CARD, scene.send),
    "content_card_id": lambda scene: _id_of(_CARD, scene.send),
    "send_id": lambda scene: f"{(scene.send + 1) * _MIX % 2**96:024x}",
    "dispatch_id": lambda scene: _id_of(_DISPATCH, scene.send),
    "email_address": _email,
    "to_phone_number": _phone,
    "user_phone_number": _phone,
    "phone_number": _phone,
    "from_phone_number": lambda _: "+12025550100",
    "inbound_phone_number": lambda _: "+12025550100",
    "esp": lambda _: "SampleMailer",
    "from_domain": lambda _: "news.example.com",
    "recipient_domain": lambda _: "example.com",
    "ip_pool": lambda _: "main_pool",
    "sending_ip": lambda scene: f"192.0.2.{scene.send}",
    "machine_open": lambda _: "true",
    "user_agent": _user_agent,
    "url": _link,
    "short_url": lambda scene: f"https://s.example.com/{scene.send:04d}",
    "endpoint_url": lambda _: "https://hooks.example.com/in",
    "abort_log": _log,
    "abort_type": lambda scene: f"liquid_abort_{scene.send % 3}",
    "retry_log": _sentence,
    "message_body": _sentence,
    "time_ms": lambda scene: START_SECONDS * 1_000 + scene.send,
    "message_extras": _extras,
    "bounce_reason": _sentence,
    "error": _sentence,
    "push_token": _token,
    "custom_properties": _object,
    "purchase_properties": _object,
    "name": lambda scene: f"{_WORDS[scene.send % 25]}_viewed",
    "product_id": lambda scene: f"sku-{scene.send:05d}",
    "currency": lambda _: "USD",
    "country": lambda _: "US",
    "language": lambda _: "en",
    "gender": lambda _: "X",
    "latitude": lambda scene: round(scene.chance.uniform(-60, 60), 5),
    "longitude": lambda scene: round(scene.chance.uniform(-180, 180), 5),
    "subscription_group_id": lambda scene: _id_of(_CAMPAIGN, scene.send + 500),
    "subscription_status": lambda _: "Subscribed",
    "suspected_bot_click_reason": lambda _: ["user_agent", "rapid_clicks"],
    "media_urls": lambda scene: [f"https://example.com/media/{scene.send}.png"],
}
_BY_TYPE: Mapping[str, _Maker] = {
    "integer": _whole,
    "number": _number,
    "boolean": lambda scene: scene.chance.random() < 0.5,
    "array": lambda scene: scene.chance.sample(_WORDS, k=2),
    "object": _object,
}


def _maker(name: str, json_type: str) -> _Maker:
    if name in _BY_NAME:
        return _BY_NAME[name]
    return _BY_TYPE.get(json_type) or (lambda scene: f"{name}-{scene.send}")
