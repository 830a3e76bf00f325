"""The runbooks, run as they stand on the page, in its order, while a job streams."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.cloud import pubsub_v1

from sandbox.partners import Fault, PartnerSandbox, PostbackSite, SegmentSite
from sandbox.pubsub import EmbeddedPubSub
from sandbox.samples import sample_events
from tests.docs.blocks import ROOT, Block, blocks_of
from tests.docs.world import Ran, Shell, connectors_of, write_connectors
from tests.pipeline.running import eventually, held_events, ids_of, letters_in

PAGE = ROOT / "docs" / "operating-runbooks.md"
TOPIC = "projects/my-project/topics/events"
SUBSCRIPTION = "projects/my-project/subscriptions/events"
GOOGLE = "gcloud"
"""A block with this word needs a project at Google: see NOT_RUN in test_commands.py."""

TYPES = ["users.messages.email.Open", "users.messages.email.Click"]
"""Of which every partner takes all."""
EVENTS = list(sample_events(400, seed=71, event_types=TYPES, anonymous_share=0))
EXAMPLE = """
connectors:
- {name: crm-hook, kind: postback, url: x, token: "file:secrets/crm-token"}
- {name: analytics, kind: segment, write_key: env:SEGMENT_WRITE_KEY, region: us}
"""


def blocks_below(heading: str) -> list[Block]:
    found = [block for block in blocks_of(PAGE) if block.heading == heading]
    return [block for block in found if GOOGLE not in block.text]


class Operator:
    """Somebody who goes by the page, and what they see."""

    def __init__(
        self,
        folder: Path,
        sandbox: PartnerSandbox,
        hook: PostbackSite,
        publisher: pubsub_v1.PublisherClient,
    ) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.hook = hook
        self._publisher = publisher
        self._published = 0
        (folder / "secrets").mkdir()
        (folder / "secrets" / "crm-token").write_text("right")
        (folder / "event.json").write_bytes(EVENTS[0])
        document = connectors_of(EXAMPLE, sandbox)
        document["connectors"][0]["token"] = f"file:{folder}/secrets/crm-token"
        write_connectors(folder / "connectors.yaml", document)
        self.shell = Shell(folder, SEGMENT_WRITE_KEY="key", NEW_TOKEN="rotated")

    def follow(self, heading: str, block: int = 0) -> list[Ran]:
        """Run one of the blocks below a heading."""
        ran = self.shell.run(blocks_below(heading)[block].text)
        for one in ran:
            assert "Traceback" not in one.output, one
        return ran

    def publish(self, count: int) -> list[str]:
        """Publish the next events; returns their ids."""
        events = EVENTS[self._published : self._published + count]
        assert len(events) == count
        self._published += count
        for future in [self._publisher.publish(TOPIC, event) for event in events]:
            future.result(timeout=30)
        return ids_of(events)

    def arrived(self, connector: str, ids: list[str]) -> bool:
        return eventually(lambda: set(ids) <= set(self.sandbox.accepted_ids(connector)), 60)

    def held(self) -> list[str]:
        return ids_of(held_events(self.folder, "crm-hook"))

    def waits(self, until: Callable[[dict[str, Any]], bool]) -> bool:
        """Whether the lane's status comes to say something."""
        place = self.folder / "held" / "status" / "crm-hook.json"
        return eventually(lambda: place.exists() and until(json.loads(place.read_text())), 60)

    def job(self) -> int:
        return int((self.folder / "currents.pid").read_text())

    def books(self) -> dict[str, Any]:
        """The report; of nothing while there is none."""
        try:
            report: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        except FileNotFoundError:
            return {"received": 0, "balanced": False, "connectors": {}}
        return report


def output_of(ran: list[Ran], beginning: str) -> str:
    (one,) = [one for one in ran if one.command.startswith(beginning)]
    return one.output


@pytest.fixture
def operator(tmp_path: Path, pubsub: EmbeddedPubSub) -> Iterator[Operator]:
    assert pubsub.address
    publisher = pubsub_v1.PublisherClient()
    publisher.create_topic(name=TOPIC)
    with pubsub_v1.SubscriberClient() as subscriber:
        subscriber.create_subscription(name=SUBSCRIPTION, topic=TOPIC, ack_deadline_seconds=10)
    hook = PostbackSite(token="right")
    sites: dict[str, Any] = {
        "crm-hook": hook,
        "analytics": SegmentSite(write_key="key"),
        "new-hook": PostbackSite(),
    }
    with PartnerSandbox(sites) as sandbox:
        someone = Operator(tmp_path, sandbox, hook, publisher)
        try:
            yield someone
        finally:
            someone.shell.close()
    publisher.stop()
    publisher.transport.close()


@pytest.mark.slow
def test_a_partner_fails_in_every_way_and_nothing_is_lost_without_a_restart(
    operator: Operator,
) -> None:
    operator.follow("Start")
    assert operator.arrived("crm-hook", operator.publish(5))
    job = operator.job()
    a_partner_is_down(operator)
    rotate_a_key(operator)
    ids = a_connector_rejects_everything(operator)
    replay_dead_letters(operator, ids)
    add_a_connector(operator)
    assert operator.job() == job
    os.kill(job, 0)  # the same job all the time
    assert eventually(lambda: operator.books()["balanced"], 30)


def a_partner_is_down(operator: Operator) -> None:
    operator.sandbox.set_fault("crm-hook", Fault(status=503, body=b"maintenance"))
    ids = operator.publish(20)
    assert operator.waits(lambda status: status["state"] == "suspended")
    ran = operator.follow("A partner is down")
    assert [one.code for one in ran] == [0, 1]
    status, check = (one.output for one in ran)
    assert "suspended" in status
    assert "status_503" in status
    assert "maintenance" in status
    assert "20 events" in status
    assert "in 47 h" in status  # the time that is left
    assert "NO ANSWER   crm-hook" in check
    assert "accepted    analytics" in check
    assert operator.arrived("analytics", ids)
    operator.sandbox.set_fault("crm-hook", None)
    assert operator.arrived("crm-hook", ids)
    assert eventually(lambda: operator.held() == [])


def rotate_a_key(operator: Operator) -> None:
    object.__setattr__(operator.hook, "token", "rotated")  # the partner's key is another now
    ids = operator.publish(20)
    assert operator.waits(lambda status: status["reason"] == "status_401")
    operator.follow("Rotate a key", 0)
    ran = operator.follow("Rotate a key", 1)
    assert ran[0].code == 0
    assert "accepted    crm-hook: the address answers and takes the credentials" in ran[0].output
    assert operator.arrived("crm-hook", ids)
    assert not [one for one in ran if "rotated" in one.output]


def a_connector_rejects_everything(operator: Operator) -> list[str]:
    operator.sandbox.set_fault("crm-hook", Fault(status=422, body=b"unknown schema"))
    ids = operator.publish(150)
    assert operator.waits(lambda status: status["reason"] == "rejects_everything")
    ran = operator.follow("A connector rejects everything")
    assert [one.code for one in ran] == [0, 0, 0, 1]
    status, letters, explained, sent = (one.output for one in ran)
    assert "rejects_everything" in status
    assert "unknown schema" in status
    assert "100  crm-hook  rejected" in letters
    token = f"Bearer <file:{operator.folder}/secrets/crm-token>"
    assert f'"Authorization": "{token}"' in explained
    assert "REFUSED   422: unknown schema" in sent
    operator.sandbox.set_fault("crm-hook", None)
    buried = ids_of([letter["event"] for letter in letters_in(operator.folder / "dead")])
    assert len(buried) == 100
    assert operator.arrived("crm-hook", sorted(set(ids) - set(buried)))
    return ids


def replay_dead_letters(operator: Operator, ids: list[str]) -> None:
    ran = operator.follow("Replay dead letters")
    assert [one.code for one in ran] == [0, 0, 0]
    assert ran[0].output.startswith("100 dead letters to replay")
    assert ran[2].output.startswith("0 dead letters to replay\n100 are left alone")
    assert operator.arrived("crm-hook", ids)
    assert json.loads((operator.folder / "replay.json").read_text())["balanced"]


def add_a_connector(operator: Operator) -> None:
    operator.follow("Add a connector without a restart", 0)
    following = operator.folder / "next.yaml"
    document: dict[str, Any] = msgspec.yaml.decode(following.read_bytes())
    new = {"name": "new-hook", "kind": "postback", "url": operator.sandbox.url("new-hook")}
    document["connectors"].append({**new, "batch_window": "200 ms"})
    write_connectors(following, document)
    ran = operator.follow("Add a connector without a restart", 1)
    assert [one.code for one in ran] == [0, 0]
    assert "accepted    new-hook" in ran[0].output
    assert eventually(lambda: "new-hook" in operator.books()["connectors"], 60)
    assert operator.arrived("new-hook", operator.publish(5))


@pytest.mark.slow
def test_a_job_is_upgraded_lost_and_made_to_forget_a_person(operator: Operator) -> None:
    operator.sandbox.set_fault("crm-hook", Fault(status=503))
    operator.follow("Start")
    ids = operator.publish(20)
    assert eventually(lambda: set(operator.held()) == set(ids), 60)
    ids += upgrade_the_job(operator)
    os.kill(operator.job(), signal.SIGKILL)  # the machine is lost, with what it gathers
    ids += operator.publish(10)
    (operator.folder / "report.json").unlink()
    operator.follow("Start")
    assert eventually(lambda: operator.books()["received"] >= 10, 60)
    assert operator.waits(lambda status: str(operator.job()) in status["attended_by"])
    theirs = erase_a_person(operator, ids)
    operator.sandbox.set_fault("crm-hook", None)
    operator.follow("Start")
    assert operator.arrived("crm-hook", sorted(set(ids) - theirs))
    assert theirs.isdisjoint(operator.sandbox.accepted_ids("crm-hook"))
    assert eventually(lambda: operator.books()["connectors"]["crm-hook"]["adopted"] > 0, 30)
    assert eventually(lambda: operator.books()["balanced"], 30)


def upgrade_the_job(operator: Operator) -> list[str]:
    first = operator.job()
    ran = operator.follow("Upgrade the job")
    assert [one.code for one in ran] == [0, 0, 0]
    assert ran[2].output.startswith("currents ")
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    report = operator.books()
    assert (report["balanced"], report["connectors"]["crm-hook"]["held"]) == (True, 20)
    for name, connector in report["connectors"].items():
        for count in ("offered", "delivered", "held"):
            assert connector[count] == sum(one[count] for one in figures_of(operator, name))
    ids = operator.publish(10)  # while none runs
    (operator.folder / "report.json").unlink()
    operator.follow("Start")
    assert eventually(lambda: operator.books()["received"] == 10, 60)
    return ids


def figures_of(operator: Operator, connector: str) -> list[dict[str, Any]]:
    """What the job's log says of a connector, line by line."""
    lines = (operator.folder / "currents.log").read_text().splitlines()
    said = [
        json.loads(line[line.index("{") :])
        for line in lines
        if "runtime.figures: connector" in line
    ]
    return [one for one in said if one["connector"] == connector]


def erase_a_person(operator: Operator, ids: list[str]) -> set[str]:
    """Returns the ids of their events."""
    them = json.loads(EVENTS[3])["user"]["external_user_id"]
    events = map(json.loads, EVENTS[: len(ids)])
    theirs = {one["id"] for one in events if one["user"]["external_user_id"] == them}
    page = blocks_below("Erase a person")[0].text
    assert "customer-81" in page
    dry, _, _, erased = operator.shell.run(page.replace("customer-81", them))
    assert (dry.code, erased.code) == (0, 0)
    assert "crm-hook is left alone: the job" in dry.output
    assert f"held: {len(theirs)} events are erased" in erased.output
    assert set(operator.held()) == set(ids) - theirs
    return theirs


def test_every_block_of_the_page_is_followed_by_a_test() -> None:
    """Those that need a project at Google are in NOT_RUN of test_commands.py."""
    source = Path(__file__).read_text(encoding="utf-8")
    for block in blocks_of(PAGE):
        if GOOGLE in block.text:
            continue
        count = len(blocks_below(block.heading))
        for number in range(count):
            follows = f'follow("{block.heading}"' + (f", {number})" if count > 1 else ")")
            assert follows in source or f'blocks_below("{block.heading}")' in source, block.name
