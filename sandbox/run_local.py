"""The local run: Pub/Sub, partners and the pipeline on this machine, fed with sample events.

`./run_local.sh` calls it. Everything is real but the far ends: the pipeline is a process of its
own that reads Pub/Sub and speaks HTTP.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from google.cloud import pubsub_v1
from rich.console import Console
from rich.live import Live
from rich.table import Table

from sandbox.partners import (
    Fault,
    MParticleSite,
    PartnerSandbox,
    PostbackSite,
    RudderStackSite,
    SegmentSite,
    TreasureDataSite,
)
from sandbox.pubsub import start_pubsub
from sandbox.samples import sample_event, sample_events

TOPIC = "projects/sandbox/topics/events"
SUBSCRIPTION = "projects/sandbox/subscriptions/events"
POISON_ID = "00000000-0000-4000-8000-00000000dead"
STOP_SECONDS = 60
SECRETS = {
    "CRM_TOKEN": "crm-token",
    "SEGMENT_WRITE_KEY": "segment-write-key",
    "MP_IOS_KEY": "ios-key",
    "MP_IOS_SECRET": "ios-secret",
    "MP_ANDROID_KEY": "android-key",
    "MP_ANDROID_SECRET": "android-secret",
    "MP_WEB_KEY": "web-key",
    "MP_WEB_SECRET": "web-secret",
    "MP_UNBOUND_KEY": "unbound-key",
    "MP_UNBOUND_SECRET": "unbound-secret",
}
FEEDS = ("ios", "android", "web", "unbound")


def main() -> int:
    """Run it; returns 0 when every event is accounted for."""
    arguments = _arguments()
    folder = Path(arguments.folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").unlink(missing_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 120)
    with start_pubsub() as pubsub, PartnerSandbox(_sites()) as partners:
        os.environ["PUBSUB_EMULATOR_HOST"] = pubsub.address
        console.print(f"Pub/Sub: {pubsub.name} at {pubsub.address}")
        console.print(f"partners: {partners.url('crm-hook').rsplit('/', 1)[0]}/_sandbox/state")
        partners.set_fault("crm-hook", Fault(reject_ids=frozenset({POISON_ID})))
        connectors = _write_connectors(folder, partners)
        published = _publish(arguments.events)
        console.print(f"published {published} messages; the pipeline starts")
        with _pipeline(folder, connectors, _environment(partners)) as process:
            report = _follow(console, process, folder, published, arguments)
            code = _stop(process)
        report = _read_report(folder) or report
    console.print(_table(report, "What became of every event"))
    return _verdict(console, report, folder, published, code)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run_local.sh", description=__doc__)
    parser.add_argument("--events", type=int, default=20_000, help="how many sample events")
    parser.add_argument("--keep", action="store_true", help="stay up until Ctrl-C")
    parser.add_argument("--folder", default=".run_local", help="where files are written")
    parser.add_argument("--seconds", type=float, default=100, help="give up after this long")
    return parser.parse_args()


def _sites() -> dict[str, Any]:
    return {
        "crm-hook": PostbackSite(token=SECRETS["CRM_TOKEN"]),
        "warehouse": RudderStackSite(write_key="rudder-write-key"),
        "cdp": TreasureDataSite(write_key="1/td-key"),
        "analytics": SegmentSite(write_key=SECRETS["SEGMENT_WRITE_KEY"]),
        "mobile": MParticleSite(
            feeds={
                feed: (SECRETS[f"MP_{feed.upper()}_KEY"], SECRETS[f"MP_{feed.upper()}_SECRET"])
                for feed in FEEDS
            }
        ),
    }


def _environment(partners: PartnerSandbox) -> dict[str, str]:
    return {
        **os.environ,
        **SECRETS,
        "RUDDERSTACK_WEBHOOK_URL": partners.url("warehouse")
        + "/v1/webhook?writeKey=rudder-write-key",
        "TREASURE_DATA_URL": partners.url("cdp")
        + "/postback/v3/event/currents/events?td_write_key=1%2Ftd-key",
    }


def _write_connectors(folder: Path, partners: PartnerSandbox) -> Path:
    """One connector of every kind; `crm-hook` is of the app group brand-a only."""
    feeds = {
        feed: {"key": f"env:MP_{feed.upper()}_KEY", "secret": f"env:MP_{feed.upper()}_SECRET"}
        for feed in FEEDS
    }
    connectors: list[dict[str, Any]] = [
        {
            "name": "crm-hook",
            "kind": "postback",
            "app_group_ids": ["brand-a"],
            "url": partners.url("crm-hook") + "/currents?app_group=Brand%20A",
            "token": "env:CRM_TOKEN",
        },
        {"name": "warehouse", "kind": "rudderstack", "url": "env:RUDDERSTACK_WEBHOOK_URL"},
        {"name": "cdp", "kind": "treasure_data", "url": "env:TREASURE_DATA_URL"},
        {
            "name": "analytics",
            "kind": "segment",
            "write_key": "env:SEGMENT_WRITE_KEY",
            "endpoint": partners.url("analytics"),
        },
        {
            "name": "mobile",
            "kind": "mparticle",
            "feeds": feeds,
            "endpoint": partners.url("mobile"),
        },
        {"name": "lake", "kind": "avro_files", "path": str(folder / "lake")},
    ]
    for connector in connectors:
        connector["batch_window"] = "2 s"
    path = folder / "connectors.json"
    path.write_text(json.dumps({"connectors": connectors}, indent=1))
    return path


def _messages(count: int) -> Iterator[bytes]:
    """Sample events of two app groups, with one message of each kind of trouble in their midst."""
    yield from sample_events(count // 2)
    yield b'{"event_type": "users.messages.email.Open", "id": '
    poison = sample_event("users.messages.email.Open", seed=2, id=POISON_ID)
    poison["properties"]["app_group_id"] = "brand-a"
    yield json.dumps(poison).encode()
    giant = sample_event("users.messages.email.Open", seed=3)
    giant["properties"]["message_extras"] = "x" * 950_000
    yield json.dumps(giant).encode()
    yield from sample_events(count - count // 2, seed=2)


def _publish(count: int) -> int:
    publisher = pubsub_v1.PublisherClient(
        pubsub_v1.types.BatchSettings(max_messages=500, max_bytes=1_000_000, max_latency=0.02)
    )
    subscriber = pubsub_v1.SubscriberClient()
    publisher.create_topic(name=TOPIC)
    subscriber.create_subscription(name=SUBSCRIPTION, topic=TOPIC, ack_deadline_seconds=60)
    futures = [publisher.publish(TOPIC, message) for message in _messages(count)]
    for future in futures:
        future.result(timeout=60)
    publisher.stop()
    subscriber.close()
    return len(futures)


@contextmanager
def _pipeline(
    folder: Path, connectors: Path, environment: Mapping[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """The pipeline as a process of its own; it is ended when we leave, whatever happens."""
    command = [
        *(sys.executable, "-m", "pipeline", "run", "--allow_local_partners"),
        *("--connectors", str(connectors), "--subscription", SUBSCRIPTION),
        *("--hold", str(folder / "held"), "--dead_letters", str(folder / "dead-letters")),
        *("--report", str(folder / "report.json")),
    ]
    with (folder / "pipeline.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=dict(environment), stderr=log, stdout=log, start_new_session=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def _follow(
    console: Console,
    process: "subprocess.Popen[bytes]",
    folder: Path,
    published: int,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Show the report while it grows, until the books balance, or with --keep until Ctrl-C."""
    report: dict[str, Any] = {}
    give_up_at = time.monotonic() + arguments.seconds
    try:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            while process.poll() is None:
                before, report = report, _read_report(folder) or report
                title = f"{report.get('received', 0):,} of {published:,} received"
                if console.is_terminal:
                    live.update(_table(report, title))
                elif report != before:
                    console.print(title)
                whole = report.get("balanced") and report["received"] >= published
                if not arguments.keep and (whole or time.monotonic() > give_up_at):
                    break
                time.sleep(0.25)
    except KeyboardInterrupt:
        console.print("stopping: what is under way is delivered or held")
    return report


def _stop(process: "subprocess.Popen[bytes]") -> int:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _read_report(folder: Path) -> dict[str, Any] | None:
    try:
        report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    except FileNotFoundError:
        return None
    return report


def _table(report: Mapping[str, Any], title: str) -> Table:
    table = Table(title=title)
    table.add_column("connector", no_wrap=True)
    names = ("offered", "delivered", "filtered", "dead", "held", "requests", "kilobytes")
    for name in (*names, "balanced"):
        table.add_column(name, justify="right")
    for name, connector in report.get("connectors", {}).items():
        fates = [connector["delivered"], sum(connector["filtered"].values())]
        fates += [sum(connector["dead"].values()), connector["held"]]
        balanced = connector["offered"] + connector["adopted"] == sum(fates)
        counts = [connector["offered"], *fates, connector["requests"], connector["bytes"] // 1_000]
        mark = "yes" if balanced else "not yet"
        table.add_row(f"{name} ({connector['kind']})", *(f"{count:,}" for count in counts), mark)
    return table


def _verdict(
    console: Console, report: Mapping[str, Any], folder: Path, published: int, code: int
) -> int:
    received, invalid = report.get("received", 0), report.get("invalid", 0)
    console.print(f"published {published}, received {received}, invalid {invalid}")
    if code in (0, 3) and report.get("balanced") and received >= published:
        console.print("[green]the books balance[/green]")
        return 0
    console.print(f"[red]the books do not balance[/red] (exit code of the pipeline: {code})")
    console.print(f"see {folder / 'pipeline.log'}")
    return 1


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)  # ends what was started, as Ctrl-C does
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped before the run had begun")
