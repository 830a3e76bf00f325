"""The options of `currents run`; Beam's own pass through beside them."""

import argparse
import ipaddress

from apache_beam.options.pipeline_options import PipelineOptions

from schemas.connector import Seconds
from schemas.limits import MAX_EVENT_BYTES


class RunOptions(PipelineOptions):  # type: ignore[misc]
    """What a deployment says of itself."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--connectors", help="the connectors file: a path or storage URI, YAML or JSON")
        add("--subscription", help="projects/P/subscriptions/S: events stream in from Pub/Sub")
        add("--input", nargs="+", default=[], metavar="GLOB", help="files of JSON lines, .gz too")
        add("--hold", help="where undelivered events are held (a file run: ./held)")
        add("--dead_letters", help="where dead letters are written (a file run: ./dead-letters)")
        add("--report", help="a file to write the report to, as JSON")
        add("--config_refresh", type=Seconds.parse, default=Seconds(30))
        add("--max_event_bytes", type=int, default=MAX_EVENT_BYTES)
        add("--allow_network", action="append", default=[], type=_network, metavar="CIDR")
        add("--allow_local_partners", action="store_true", help="opens loopback and plain http")


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text))
