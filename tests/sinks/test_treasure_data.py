import json
from typing import Any

import msgspec
import pytest

from schemas.connector import decode_hook
from schemas.secret import FORMS
from sinks.sink import HttpRequest, Sink
from sinks.treasure_data import TreasureDataConnector, TreasureDataSink

REFERENCE = "gcp-secret:projects/p/secrets/td-url/versions/latest"
EXAMPLE: dict[str, Any] = {"name": "cdp", "kind": "treasure_data", "url": REFERENCE}
PATH = "/postback/v3/event/currents/events"
SECRETS = {REFERENCE: f"https://in.example.com{PATH}?td_write_key=12%2Fk3yk3y"}
V2 = f"https://us01.records.in.treasuredata.com{PATH}"
EVENT = b'{"event_type":"users.canvas.Entry","id":"e-1","time":1,"user":{"external_user_id":"x"}}'


def settings_of(**changes: Any) -> TreasureDataConnector:
    return msgspec.convert({**EXAMPLE, **changes}, TreasureDataConnector, dec_hook=decode_hook)


def request_of(secrets: dict[str, str], **changes: Any) -> HttpRequest:
    (request,) = TreasureDataSink(settings_of(**changes)).pack([EVENT], "", secrets).requests
    assert isinstance(request, HttpRequest)
    return request


def test_a_request_is_one_object_whose_only_column_is_events() -> None:
    request = request_of(SECRETS)
    assert request.url == SECRETS[REFERENCE]
    assert list(json.loads(request.body)) == ["events"]
    assert request.headers == {"Content-Type": "application/json"}


@pytest.mark.parametrize("host", ["in.treasuredata.com", "us01.records.in.treasuredata.com", "h"])
def test_a_literal_url_with_a_key_is_refused_without_repeating_it(host: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        settings_of(url=f"https://{host}{PATH}?td_write_key=12%2Fk3yk3y", write_key="env:TD_KEY")
    assert FORMS in str(refused.value)
    assert "k3yk3y" not in str(refused.value)


def test_a_write_key_goes_in_the_header() -> None:
    request = request_of({"env:TD_KEY": "12/k3yk3y"}, url=V2, write_key="env:TD_KEY")
    assert request.url == V2
    assert request.headers == {
        "Content-Type": "application/json",
        "X-TD-Write-Key": "12/k3yk3y",
    }


@pytest.mark.parametrize("url", [V2, f"https://in.treasuredata.com{PATH}"])
def test_a_table_without_any_key_is_refused_for_its_rows_would_be_lost_unseen(url: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="write_key"):
        settings_of(url=url)


def test_an_endpoint_takes_the_place_of_the_host_and_the_rest_stays() -> None:
    request = request_of(SECRETS, endpoint="http://127.0.0.1:8080")
    assert request.url == f"http://127.0.0.1:8080{PATH}?td_write_key=12%2Fk3yk3y"


def test_a_wrong_key_is_answered_200_so_200_proves_nothing() -> None:
    assert not TreasureDataSink.proves_delivery


def test_there_is_no_probe_for_every_request_becomes_a_row() -> None:
    sink: Sink[TreasureDataConnector] = TreasureDataSink(settings_of())
    assert sink.probe("", SECRETS) is None


def test_requests_stay_below_what_the_partner_takes_whatever_is_set() -> None:
    assert TreasureDataSink.limits.most_request_bytes < 1_048_064


def test_only_users_with_an_external_id_are_exported() -> None:
    assert TreasureDataSink.needs_external_user_id
