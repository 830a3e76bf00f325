"""Scale: what a load takes on Dataflow, where it breaks first, and the page that says so.

    .venv/bin/python -m benchmarks.scale            prints the tables, as Markdown
    .venv/bin/python -m benchmarks.scale --write    puts them into docs/scaling.md
    .venv/bin/python -m benchmarks.scale --measure  measures first (2 minutes), then writes it

`--measure` runs the benchmarks profile, shuffle and outage, and the batcher in simulated time, and
keeps their medians and ranges in measured.json. Everything else follows from that file, from the
prices and assumptions of assumed.json, and from lanes that are simulated with a seed: the same files
make the same page, on any machine.
"""

import argparse
import datetime
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec
from rich.console import Console

from benchmarks import shuffle
from benchmarks.figures import Spread, machine, spread
from benchmarks.profile import REST, Profile, measure_stages
from benchmarks.scale_lanes import MEAN_EVENT_BYTES, Stream, simulate
from benchmarks.scale_model import FOLDER, KINDS, UNLIMITED, Measured, Routing, load_model
from benchmarks.scale_page import PAGE, blocks, filled

ROUTING_CASES = ((3, 3), (30, 30), (300, 300), (1_000, 10))
"""Connectors, and copies of an event: the first two make a line, the third tests it, and the last
has small fragments."""
PROFILE_EVENTS = 100_000
OUTAGE_EVENTS = 200_000
PULL_EVENTS = 1_000


def main() -> int:
    """Measure where asked to, then print the tables or write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--measure", action="store_true", help="write measured.json anew, and --write"
    )
    parser.add_argument("--write", action="store_true", help="write docs/scaling.md")
    parser.add_argument("--runs", type=int, default=3, help="rounds of what is measured")
    arguments = parser.parse_args()
    if arguments.measure:
        found = msgspec.json.format(msgspec.json.encode(measure(arguments.runs)), indent=1)
        (FOLDER / "measured.json").write_bytes(found + b"\n")
    made = blocks(load_model())
    if arguments.write or arguments.measure:
        PAGE.write_text(filled(PAGE.read_text("utf-8"), made), "utf-8")
    else:
        Console(soft_wrap=True).print("\n\n".join(made.values()), markup=False, highlight=False)
    return 0


def measure(rounds: int) -> Measured:
    """What `measured.json` is to hold."""
    _say("profile")
    profiles, whole = measure_stages(PROFILE_EVENTS, rounds)
    _say("routing")
    routing = [_routing(*case, rounds) for case in ROUTING_CASES]
    _say("batching")
    batching = {kind: spread(_batch_us(kind, seed) for seed in range(rounds)) for kind in KINDS}
    _say("outage")
    released = _released_per_second(rounds)
    return Measured(
        date=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        machine=machine(),
        commands={
            "packing, sending, the rest, memory": f"profile --events {PROFILE_EVENTS}",
            "routing": "shuffle, with more copies",
            "BatchByLane": "scale, in simulated time at 1,000 events/s",
            "release": f"outage --events {OUTAGE_EVENTS}",
        },
        event_bytes=MEAN_EVENT_BYTES,
        routing=routing,
        batch_us=batching,
        pack_us=_by_kind(
            profiles, lambda one, kind: _stage(one, "pack", kind, one.copies_per_event)
        ),
        send_us=_by_kind(
            profiles, lambda one, kind: _stage(one, "send", kind, one.requests_per_event)
        ),
        rest_us=spread(
            one.us_per_event[REST] / sum(one.copies_per_event.values()) for one in profiles
        ),
        peak_mb=spread(run.peak_mb for run in whole),
        released_per_second=released,
    )


def _stage(profile: Profile, stage: str, kind: str, per_event: Mapping[str, float]) -> float:
    return profile.us_per_event[f"{stage} {kind}"] / per_event[kind]


def _by_kind(
    profiles: Iterable[Profile], figure: Callable[[Profile, str], float]
) -> dict[str, Spread]:
    return {kind: spread(figure(one, kind) for one in profiles) for kind in KINDS}


def _routing(connectors: int, copies: int, rounds: int) -> Routing:
    count = max(2 * PULL_EVENTS, min(20_000, 300_000 // copies))
    runs = [
        shuffle.measure(connectors, copies, 10, True, count, PULL_EVENTS) for _ in range(rounds)
    ]
    return Routing(
        connectors,
        copies,
        spread(run.bytes for run in runs),
        spread(run.elements for run in runs),
        spread(run.cpu_us for run in runs),
    )


def _batch_us(kind: str, seed: int) -> float:
    """CPU of a copy where the partner has a limit, as most have, that is never met."""
    limit = None if kind == "postback" else UNLIMITED
    return simulate(Stream(kind, 1_000, rate_limit=limit), seed).cpu_us


def _released_per_second(rounds: int) -> Spread:
    with tempfile.TemporaryDirectory() as name:
        found = Path(name) / "outage.json"
        command = [sys.executable, "-m", "benchmarks.outage", "--events", str(OUTAGE_EVENTS)]
        more = ["--probing", "1", "--runs", str(rounds), "--json", str(found)]
        subprocess.run([*command, *more], check=True, stdout=subprocess.DEVNULL)
        runs = msgspec.json.decode(found.read_bytes())["runs"]
    return spread(run["released_per_second"] for run in runs)


def _say(what: str) -> None:
    Console(stderr=True).print(f"measuring: {what}")


if __name__ == "__main__":
    raise SystemExit(main())
