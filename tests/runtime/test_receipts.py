"""Receipts: a pull is acknowledged once, when it is decoded and all its shares are settled."""

import itertools
import random
import threading
from collections.abc import Iterable

import pytest

from runtime.receipts import MAX_OUTSTANDING_BYTES, MAX_OUTSTANDING_MESSAGES, Receipts
from schemas.batch import Token


class Pulled:
    """A pull of 10 messages whose acknowledgements are counted."""

    def __init__(self, receipts: Receipts) -> None:
        self.receipts = receipts
        self.acknowledged = 0
        self.receipt = receipts.issue(10, 1_000, self._acknowledge)

    def decode(self, *ordinals: str) -> list[Token]:
        """Decode it to the end, with a share for each ordinal."""
        tokens = self.begin(*ordinals)
        self.receipts.decoded(self.receipt, self.reading)
        return tokens

    def begin(self, *ordinals: str) -> list[Token]:
        self.reading = self.receipts.begin(self.receipt)
        tokens = [Token(self.receipt, self.reading, ordinal) for ordinal in ordinals]
        for token in tokens:
            self.receipts.open(token)
        return tokens

    def _acknowledge(self) -> None:
        self.acknowledged += 1


@pytest.fixture
def receipts() -> Receipts:
    return Receipts()


def settle_each(receipts: Receipts, tokens: Iterable[Token]) -> None:
    for token in tokens:
        receipts.settle([token])


@pytest.mark.parametrize("order", [*itertools.permutations(["decoded", "0", "1"])])
def test_a_pull_is_acknowledged_when_the_last_of_its_shares_is_settled(
    order: tuple[str, ...], receipts: Receipts
) -> None:
    pull = Pulled(receipts)
    tokens = {token.ordinal: token for token in pull.begin("0", "1")}
    for step in order:
        assert (pull.acknowledged, receipts.outstanding) == (0, 10)
        if step == "decoded":
            receipts.decoded(pull.receipt, 1)
        else:
            receipts.settle([tokens[step]])
    assert (pull.acknowledged, receipts.outstanding) == (1, 0)


def test_a_pull_of_which_nothing_came_is_acknowledged_when_it_is_decoded(
    receipts: Receipts,
) -> None:
    pull = Pulled(receipts)
    pull.decode()
    assert pull.acknowledged == 1


def test_a_pull_that_is_not_decoded_is_never_acknowledged(receipts: Receipts) -> None:
    pull = Pulled(receipts)
    receipts.settle([Token(pull.receipt, 0, "0"), Token(pull.receipt, 1, "0")])
    assert (pull.acknowledged, receipts.outstanding) == (0, 10)


def test_settling_twice_changes_nothing(receipts: Receipts) -> None:
    pull, other = Pulled(receipts), Pulled(receipts)
    tokens = pull.decode("0", "1")
    other.decode("0")
    settle_each(receipts, [tokens[0]] * 3)
    assert pull.acknowledged == 0
    settle_each(receipts, [tokens[1], *tokens, *tokens])
    assert (pull.acknowledged, other.acknowledged, receipts.outstanding) == (1, 0, 10)


def test_the_tokens_of_several_pulls_are_settled_together(receipts: Receipts) -> None:
    pulls = [Pulled(receipts) for _ in range(3)]
    tokens = [token for pull in pulls for token in pull.decode("0")]
    receipts.settle(tokens[:2])
    assert [pull.acknowledged for pull in pulls] == [1, 1, 0]


def test_a_retried_decoding_voids_the_tokens_of_the_earlier_one(receipts: Receipts) -> None:
    pull = Pulled(receipts)
    (earlier,) = pull.begin("0")
    (later,) = pull.decode("0")
    receipts.settle([earlier])
    receipts.decoded(pull.receipt, earlier.reading)
    assert pull.acknowledged == 0
    receipts.settle([later])
    assert pull.acknowledged == 1


def test_a_share_that_only_the_earlier_decoding_had_holds_nothing_up(receipts: Receipts) -> None:
    pull = Pulled(receipts)
    pull.begin("0", "1")
    receipts.settle(pull.decode("0"))
    assert pull.acknowledged == 1


def test_a_share_of_an_earlier_decoding_that_is_opened_late_holds_nothing_up(
    receipts: Receipts,
) -> None:
    pull = Pulled(receipts)
    (earlier,) = pull.begin("0")
    tokens = pull.decode("0")
    receipts.open(earlier._replace(ordinal="7"))
    receipts.settle(tokens)
    assert pull.acknowledged == 1


def test_a_decoding_after_the_acknowledgement_has_nothing_to_settle(receipts: Receipts) -> None:
    pull = Pulled(receipts)
    receipts.settle(pull.decode("0"))
    assert receipts.begin(pull.receipt) == 0
    receipts.open(Token(pull.receipt, 0, "0"))
    receipts.decoded(pull.receipt, 0)
    receipts.settle([Token(pull.receipt, 0, "0")])
    assert (pull.acknowledged, receipts.outstanding) == (1, 0)


# Two ways from one share


def test_both_sides_of_a_fork_have_to_be_settled(receipts: Receipts) -> None:
    pull = Pulled(receipts)
    tokens = pull.decode("0")
    forked = receipts.fork(tokens)
    assert len({*tokens, *forked}) == 2
    receipts.settle(tokens)
    assert pull.acknowledged == 0
    receipts.settle(forked)
    assert pull.acknowledged == 1


def test_a_retried_bundle_forks_to_the_same_shares(receipts: Receipts) -> None:
    pull = Pulled(receipts)
    tokens = pull.decode("0", "1")
    assert receipts.fork(tokens) == receipts.fork(tokens)
    receipts.settle(tokens)
    receipts.settle(receipts.fork(tokens))
    assert pull.acknowledged == 1


def test_a_fork_can_be_forked_again(receipts: Receipts) -> None:
    pull = Pulled(receipts)
    tokens = pull.decode("0")
    once = receipts.fork(tokens)
    twice = receipts.fork(once)
    receipts.settle([*tokens, *once])
    assert pull.acknowledged == 0
    receipts.settle(twice)
    assert pull.acknowledged == 1


def test_unforking_voids_what_an_earlier_try_has_forked(receipts: Receipts) -> None:
    pull = Pulled(receipts)
    tokens = pull.decode("0")
    receipts.fork(tokens)
    receipts.unfork(tokens)
    assert pull.acknowledged == 0
    receipts.settle(tokens)
    assert pull.acknowledged == 1


def test_unforking_what_was_never_forked_changes_nothing(receipts: Receipts) -> None:
    pull = Pulled(receipts)
    tokens = pull.decode("0")
    receipts.unfork(tokens)
    assert pull.acknowledged == 0
    receipts.settle(tokens)
    assert pull.acknowledged == 1


def test_a_void_share_does_not_keep_those_after_it_from_being_settled(receipts: Receipts) -> None:
    pull, gone = Pulled(receipts), Token(10_000, 1, "0")
    (void,) = pull.begin("0")
    receipts.settle([gone, void, *pull.decode("0")])
    assert pull.acknowledged == 1


# How much is outstanding


def test_half_of_the_messages_that_may_be_outstanding_presses(receipts: Receipts) -> None:
    receipts.issue(MAX_OUTSTANDING_MESSAGES // 2, 1, lambda: None)
    assert not receipts.is_pressed
    last = receipts.issue(1, 1, lambda: None)
    assert receipts.is_pressed
    receipts.decoded(last, receipts.begin(last))
    assert not receipts.is_pressed


def test_a_quarter_of_them_is_filling(receipts: Receipts) -> None:
    receipts.issue(MAX_OUTSTANDING_MESSAGES // 4, MAX_OUTSTANDING_BYTES // 4, lambda: None)
    assert not receipts.is_filling
    last = receipts.issue(1, 1, lambda: None)
    assert receipts.is_filling
    assert not receipts.is_pressed
    receipts.decoded(last, receipts.begin(last))
    assert not receipts.is_filling


def test_half_of_the_bytes_that_may_be_outstanding_presses(receipts: Receipts) -> None:
    receipts.issue(1, MAX_OUTSTANDING_BYTES // 2, lambda: None)
    assert not receipts.is_pressed
    last = receipts.issue(1, 1, lambda: None)
    assert receipts.is_pressed
    receipts.decoded(last, receipts.begin(last))
    assert not receipts.is_pressed


def test_the_bytes_of_what_is_acknowledged_are_outstanding_no_more(receipts: Receipts) -> None:
    sizes = [MAX_OUTSTANDING_BYTES // 8, MAX_OUTSTANDING_BYTES // 8 * 5, 1]
    small, large, _ = [receipts.issue(1, size, lambda: None) for size in sizes]
    receipts.decoded(small, receipts.begin(small))
    assert receipts.is_pressed
    receipts.decoded(large, receipts.begin(large))
    assert not receipts.is_filling


def test_receipts_have_numbers_of_their_own_that_are_never_nought(receipts: Receipts) -> None:
    numbers = [receipts.issue(1, 1, lambda: None) for _ in range(10)]
    assert len({0, *numbers}) == 11


# Many threads


def test_an_acknowledgement_may_ask_the_receipts(receipts: Receipts) -> None:
    seen: list[int] = []
    receipt = receipts.issue(5, 1, lambda: seen.append(receipts.issue(1, 1, lambda: None)))
    receipts.decoded(receipt, receipts.begin(receipt))
    assert seen == [receipt + 1]
    assert receipts.outstanding == 1


def test_threads_that_settle_the_same_shares_acknowledge_each_pull_once(
    receipts: Receipts,
) -> None:
    pulls = [Pulled(receipts) for _ in range(200)]
    tokens = [token for pull in pulls for token in pull.decode("0", "1", "2")]
    at_once = threading.Barrier(8)

    def settle(seed: int) -> None:
        mine = random.Random(seed).sample(tokens, len(tokens))
        at_once.wait(10)
        settle_each(receipts, mine)

    threads = [threading.Thread(target=settle, args=[seed]) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {pull.acknowledged for pull in pulls} == {1}
    assert receipts.outstanding == 0
