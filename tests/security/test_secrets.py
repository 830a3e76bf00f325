"""No secret is in anything that the program says, writes, posts or sends to an engine."""

import io
import json
import pickle
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import fastavro
import pytest
from apache_beam.internal import pickler
from click.testing import CliRunner
from google.cloud import pubsub_v1

from pipeline.cli import main
from pipeline.graph import Source, build
from runtime.address import AddressPolicy
from runtime.connectors import Config, parse_config
from runtime.probing import Prober
from runtime.worker import Worker, WorkerSettings
from sandbox.samples import sample_events
from schemas.lane import Lane
from tests.deploy.test_submission import unpacked
from tests.pipeline.running import (
    eventually,
    interrupt,
    publish,
    run_files,
    streaming,
    write_connectors,
)
from tests.security.canaries import (
    CANARIES,
    SEGMENT_KEY,
    SPELLINGS,
    WEBHOOK_KEY,
    connectors,
    echoing,
    environment,
    told,
)
from transforms.engine import Engine

LOCAL = AddressPolicy(allow_local=True)
EVENTS = list(sample_events(60, seed=31))


def check_silent(said: Mapping[str, bytes]) -> None:
    """Fail with the place and the way, and not with the secret."""
    found = [
        f"{place} tells {canary[6:-12]}: {ways}"
        for place, content in said.items()
        for canary in CANARIES
        if (ways := told(canary, content))
    ]
    assert not found


def test_the_canaries_are_found_in_every_spelling() -> None:
    """Or the other tests here prove nothing."""
    for spell in SPELLINGS.values():
        for canary in CANARIES:
            assert told(canary, f"a {spell(canary)} b".encode())
    assert not told(CANARIES[0], " ".join(CANARIES[1:]).encode())


def config_at(base: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    (folder / "key").write_text(SEGMENT_KEY)
    for name, value in environment(base).items():
        monkeypatch.setenv(name, value)
    content = json.dumps({"connectors": connectors(base, folder / "key")}).encode()
    config, problems = parse_config(content, LOCAL)
    assert not problems
    return config


@pytest.mark.parametrize("spelling", sorted(SPELLINGS))
def test_a_partner_that_repeats_the_key_is_not_quoted(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with echoing([spelling]) as server:
        config = config_at(server.url.rstrip("/"), tmp_path, monkeypatch)
        prober = Prober(LOCAL)
        said = {str(n): repr(one).encode() for n, one in enumerate(prober.probe(config))}
        for name in ("hook", "secret-hook"):
            said[name] = repr(prober.send_test(config, name)).encode()
        prober.close()
        assert len(server.requests) > 7
    check_silent(said)


def test_what_holds_secrets_in_memory_does_not_print_or_pickle_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with echoing(["as it is"]) as server:
        base = server.url.rstrip("/")
        config = config_at(base, tmp_path, monkeypatch)
        write_connectors(tmp_path, connectors(base, tmp_path / "key"))
        settings = WorkerSettings(
            *(f"{tmp_path}/connectors.json", f"{tmp_path}/held", f"{tmp_path}/dead"),
            alert_webhook="env:WEBHOOK_URL",
            address_policy=LOCAL,
        )
        worker = Worker(settings)
        said: dict[str, bytes] = {"config": repr(config).encode()}
        for name, entry in config.connectors.items():
            part = entry.sink.probe_parts[0]
            delivery = worker.deliverer.start(Lane(name, part), entry, EVENTS[:3])
            assert delivery.wait(30)
            packed = entry.sink.pack(EVENTS[:3], part, worker.secrets.resolve(entry.references))
            for what in (delivery, delivery.outcome, packed, entry, worker, worker.secrets):
                said[f"{name}: {type(what).__name__}"] = repr(what).encode()
        said["settings"] = pickle.dumps(settings) + unpacked(pickler.dumps(settings))
        pipeline = beam.Pipeline(runner="DirectRunner")
        build(pipeline, Source(Engine.BOUNDED, None, []), settings)
        proto = pipeline.to_runner_api()
        payloads = [step.spec.payload for step in proto.components.transforms.values()]
        said["graph"] = proto.SerializeToString() + b"\n".join(map(unpacked, payloads))
        assert str(tmp_path).encode() in said["graph"]  # settings are in it, readable
        worker.close()
    check_silent(said)


def command(*arguments: str) -> bytes:
    """What one command prints."""
    ended = CliRunner().invoke(main, arguments)
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exc_info
    return ended.output.encode()


def files_below(folder: Path) -> Iterator[tuple[str, bytes]]:
    """All that was written, with what is packed in it unpacked beside it."""
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "key":
            content = path.read_bytes()
            if path.suffix == ".avro":
                content += str(list(fastavro.reader(io.BytesIO(content)))).encode()
            yield str(path.relative_to(folder)), content


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text(SEGMENT_KEY)
    (tmp_path / "events.ndjson").write_bytes(b"\n".join([*EVENTS, b"nope"]))
    (tmp_path / "event.json").write_bytes(EVENTS[0])
    return tmp_path


def test_no_command_and_no_file_tells_a_secret_whatever_partners_answer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """check, check --probe, send-test, explain, run, what it holds and buries, status and replay."""
    with echoing(SPELLINGS) as server:
        base = server.url.rstrip("/")
        file = str(write_connectors(folder, connectors(base, folder / "key")))
        for name, value in environment(base).items():
            monkeypatch.setenv(name, value)
        local = "--allow_local_partners"
        event = ("--event", str(folder / "event.json"), local)
        said = {
            "check": command("check", file, local),
            "probe": command("check", file, local, "--probe"),
            "probe as JSON": command("check", file, local, "--probe", "--json"),
            "send-test": command("send-test", file, "--connector", "hook", local),
        }
        for name in ("hook", "secret-hook", "mobile"):
            said[f"explain {name}"] = command("explain", file, "--connector", name, *event)
        late = ("--max_event_age", "1 s", "--late_events", "deliver")
        first = run_files(folder, folder / "events.ndjson", *late)
        assert first.returncode == 3, first.stderr
        time.sleep(1.1)  # what is held is past its deadline then
        second = run_files(folder)
        said["run"] = (first.stderr + first.stdout + second.stderr + second.stdout).encode()
        said["status"] = command("status", "--hold", f"{folder}/held")
        said["status as JSON"] = command("status", "--hold", f"{folder}/held", "--json")
        said["replay"] = command("replay", "--dead_letters", f"{folder}/dead", "--dry_run")
        said |= dict(files_below(folder))
        assert {request.split(b"/", 2)[1] for request in server.requests} == {
            *(b"400", b"401", b"403", b"404", b"500", b"503")
        }
    assert any(place.startswith("held/queue/") for place in said)
    assert any(place.startswith("dead/") and b"[SECRET]" in text for place, text in said.items())
    check_silent(said)


def test_no_alert_status_or_log_of_a_streaming_run_tells_a_secret(
    folder: Path, publisher: pubsub_v1.PublisherClient
) -> None:
    with echoing(SPELLINGS) as server:
        base = server.url.rstrip("/")
        write_connectors(folder, connectors(base, folder / "key"))
        publish(publisher, EVENTS)
        arguments = ("--alert_webhook", "env:WEBHOOK_URL", "--probe_min", "1 s")
        secrets = {**environment(base), "WEBHOOK_URL": f"{base}/500/webhook/{WEBHOOK_KEY}"}
        with streaming(folder, *arguments, environment=secrets) as process:
            assert eventually(lambda: len(posts_of(server.requests)) >= 4, 60)
            assert eventually(lambda: len(list((folder / "held" / "status").glob("*"))) >= 4)
            interrupt(process)
        said = dict(files_below(folder))
        said["webhook"] = b"\n".join(posts_of(server.requests))
    assert b"was not posted: the webhook: status 500" in said["log"]
    assert b"[SECRET]" in said["webhook"]
    check_silent(said)


def posts_of(requests: list[bytes]) -> list[bytes]:
    """The bodies that were sent to the webhook: its own path holds its key, and is its own."""
    posts: list[Any] = [one.partition(b"\r\n\r\n") for one in requests if b"/webhook/CANARY" in one]
    return [body for _, _, body in posts]
