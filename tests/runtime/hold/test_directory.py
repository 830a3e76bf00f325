"""The hold's directory is its queue: objects are whole, named by content, oldest first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.hold import objects
from runtime.hold.directory import HoldQueue
from runtime.hold.objects import ForeignObject, HeldBatch, HeldName, digest_of, gather
from runtime.storage import StorageError

LANES = ["crm", "mobile+ios", "a+b c", "crm+50%/../x", "crm+é✓", "crm+.", "a+?#&:*|\\"]


def batch_of(*events: bytes, oldest_ms: int = 1_700_000_000_000, **changes: Any) -> HeldBatch:
    fields = {"part": "", "newest_ms": oldest_ms + 5, "first_failed_ms": oldest_ms + 9, **changes}
    return HeldBatch(oldest_ms=oldest_ms, reason=fields.pop("reason", "x"), events=events, **fields)


@pytest.fixture
def queue(tmp_path: Path) -> HoldQueue:
    return HoldQueue(str(tmp_path / "held"))


def fields_of(batches: Sequence[HeldBatch]) -> list[dict[str, Any]]:
    return [msgspec.structs.asdict(batch) | {"events": list(batch.events)} for batch in batches]


line = st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b"\r"))
times = st.integers(0, 9_999_999_999_999)
batches = st.builds(
    HeldBatch,
    part=st.text(max_size=8),
    oldest_ms=times,
    newest_ms=times,
    first_failed_ms=times,
    reason=st.text(max_size=8),
    attempts=st.integers(0, 1_000),
    status=st.none() | st.integers(100, 599),
    answer=st.text(max_size=20),
    events=st.lists(line, max_size=5),
)


@given(put=st.lists(batches, min_size=1, max_size=4))
def test_what_was_put_is_read(put: list[HeldBatch], tmp_path_factory: Any) -> None:
    queue = HoldQueue(str(tmp_path_factory.getbasetemp() / "round-trip"))
    name = queue.put("lane", put)
    assert fields_of(queue.read("lane", name)) == fields_of(put)


def test_an_object_is_named_by_its_events_times_and_number_and_its_content(
    queue: HoldQueue,
) -> None:
    name = queue.put("crm", [batch_of(b"b", oldest_ms=1_500), batch_of(b"a", oldest_ms=1_200)])
    known = HeldName.parse(name)
    assert known is not None
    assert (known.oldest_ms, known.newest_ms, known.events) == (1_200, 1_505, 2)
    assert str(known) == name
    other = queue.put("crm", [batch_of(b"c", oldest_ms=1_500), batch_of(b"a", oldest_ms=1_200)])
    assert other != name


def test_putting_the_same_again_changes_nothing(queue: HoldQueue) -> None:
    names = {queue.put("crm", [batch_of(b"a", b"b", status=503)]) for _ in range(3)}
    assert queue.objects("crm") == list(names)


def test_objects_come_oldest_first(queue: HoldQueue) -> None:
    moments = [1_700_000_000_000, 999, 1_699_999_999_999, 0, 12_345]
    for moment in moments:
        queue.put("crm", [batch_of(b"e", oldest_ms=moment)])
    found = [queue.read("crm", name)[0].oldest_ms for name in queue.objects("crm")]
    assert found == sorted(moments)


def test_every_lane_has_a_queue_of_its_own_whatever_its_name(queue: HoldQueue) -> None:
    names = {lane: queue.put(lane, [batch_of(lane.encode())]) for lane in LANES}
    assert sorted(queue.lanes()) == sorted(LANES)
    for lane, name in names.items():
        assert queue.objects(lane) == [name]
        assert queue.read(lane, name)[0].events == [lane.encode()]


def test_no_lane_leads_out_of_the_hold(queue: HoldQueue, tmp_path: Path) -> None:
    queue.put("crm+/../../../x", [batch_of(b"a")])
    assert [path.name for path in tmp_path.iterdir()] == ["held"]
    assert [path.name for path in (tmp_path / "held").iterdir()] == ["queue"]


def test_what_is_removed_is_gone_and_may_be_removed_again(queue: HoldQueue) -> None:
    name = queue.put("crm", [batch_of(b"a")])
    queue.remove("crm", name)
    queue.remove("crm", name)
    assert queue.objects("crm") == []
    with pytest.raises(StorageError):
        queue.read("crm", name)


def test_a_hold_that_was_never_written_to_is_empty(queue: HoldQueue) -> None:
    assert queue.lanes() == []
    assert queue.objects("crm") == []


def test_a_person_can_read_an_object(queue: HoldQueue, tmp_path: Path) -> None:
    name = queue.put("crm+ios", [batch_of(b'{"id":"1"}', b'{"id":"2"}', part="ios", status=503)])
    lines = (tmp_path / "held" / "queue" / "crm+ios" / name).read_bytes().splitlines()
    head = msgspec.json.decode(lines[0])
    assert (head["part"], head["count"], head["status"]) == ("ios", 2, 503)
    assert lines[1:] == [b'{"id":"1"}', b'{"id":"2"}']


@pytest.mark.parametrize("kept", [0, 1, 0.5, 0.999])
def test_an_object_that_was_cut_is_not_ours(kept: float, queue: HoldQueue, tmp_path: Path) -> None:
    name = queue.put("crm", [batch_of(*[b"event"] * 20)])
    path = tmp_path / "held" / "queue" / "crm" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)] if kept < 1 else content[:-1])
    with pytest.raises(ForeignObject, match=name):
        queue.read("crm", name)


@pytest.mark.parametrize("name", ["notes.txt", "", "0000000001200-" + "0" * 32])
def test_a_file_that_somebody_else_left_is_not_ours(
    name: str, queue: HoldQueue, tmp_path: Path
) -> None:
    folder = tmp_path / "held" / "queue" / "crm"
    folder.mkdir(parents=True)
    (folder / (name or "x")).write_bytes(b"hello\n")
    with pytest.raises(ForeignObject):
        queue.read("crm", name or "x")


@pytest.mark.parametrize(
    "content", [b"hello\n", b"{}\n", b"\n", b"\xff\n", b'{"format":2}\n', b"[" * 5_000 + b"\n"]
)
def test_an_object_of_another_form_is_not_ours(
    content: bytes, queue: HoldQueue, tmp_path: Path
) -> None:
    name = str(HeldName(1_200, 1_200, 1, digest_of(content)))
    folder = tmp_path / "held" / "queue" / "crm"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(content)
    with pytest.raises(ForeignObject, match="of no known form"):
        queue.read("crm", name)


def test_an_object_of_a_later_format_is_not_read_as_one_of_ours(
    queue: HoldQueue, tmp_path: Path
) -> None:
    old = queue.put("crm", [batch_of(b"a")])
    folder = tmp_path / "held" / "queue" / "crm"
    content = (folder / old).read_bytes().replace(b'"format":1', b'"format":2')
    name = str(HeldName(1_200, 1_200, 1, digest_of(content)))
    (folder / name).write_bytes(content)
    with pytest.raises(ForeignObject, match="of no known form"):
        queue.read("crm", name)


def test_a_hold_that_cannot_be_written_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        HoldQueue(str(tmp_path / "file")).put("crm", [batch_of(b"a")])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# Gathering


@given(
    sizes=st.lists(st.integers(1, 30), max_size=30),
    most=st.integers(1, 40),
)
def test_batches_are_gathered_in_order_up_to_the_size_of_an_object(
    sizes: list[int], most: int
) -> None:
    given_batches = [batch_of(bytes([65 + n]) * (size - 1)) for n, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "MAX_OBJECT_BYTES", most)
        groups = list(gather(given_batches))
    assert [batch for group in groups for batch in group] == given_batches
    totals = [sum(batch.size for batch in group) for group in groups]
    assert all(
        total <= most or len(group) == 1 for total, group in zip(totals, groups, strict=True)
    )
    assert all(  # and no group ends early
        total + following[0].size > most
        for total, following in zip(totals, groups[1:], strict=False)
    )
