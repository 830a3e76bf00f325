"""The head of an answer, as it was written: its status and its headers.

Lenient where a careless server's meaning is plain, for a request whose answer is not understood is
sent again; whatever is doubtful is told of, so that nothing else is built on it.
"""

import re
from typing import NamedTuple

from runtime.cutoff import ExchangeFailed

MAX_HEADERS = 100

_STATUS_LINE = re.compile(r"HTTP/1\.([0-9]+)[ \t]+([1-9][0-9]{2})(?:[ \t\r]|$)")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DOUBTFUL = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")
_BLANKS = " \t\r"


class AnswerHead(NamedTuple):
    """What a head says."""

    status: int
    headers: dict[str, str]
    """By name as it was written first; of a header that is there several times, the last."""
    fields: dict[str, str]
    """By name in lower case; the values of a header that is there several times, joined by commas."""
    is_old: bool
    """Whether it is of HTTP/1.0."""
    is_plain: bool
    """Whether there is no doubt about what any of its lines means."""


def is_begun(data: bytes) -> bool:
    """Whether an answer can begin like this; what is cut off may still come."""
    line, end, _ = data.partition(b"\n")
    if end:
        return bool(_STATUS_LINE.match(line.decode("latin-1")))
    return b"HTTP/1.".startswith(data[:7])


def read_head(block: bytes) -> AnswerHead:
    """Read the lines before an answer's first empty one, each with its end.

    Raises:
        ExchangeFailed: they are no head of an HTTP answer.
    """
    text = block.decode("latin-1")
    first, *lines = text.split("\n")[:-1]
    found = _STATUS_LINE.match(first)
    if found is None:
        raise ExchangeFailed("the answer is no HTTP")
    if len(lines) > MAX_HEADERS:
        raise ExchangeFailed(f"the answer has over {MAX_HEADERS} headers")
    is_plain = not _DOUBTFUL.search(text)
    values: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    last: list[str] = []
    for line in lines:
        written, colon, value = line.partition(":")
        name = written.strip(_BLANKS)
        is_plain = is_plain and bool(colon and _NAME.fullmatch(written))
        if line.startswith((" ", "\t")):  # it goes on with the line before
            last[-1:] = [f"{before} {line.strip(_BLANKS)}" for before in last[-1:]]
        elif colon and name:
            names.setdefault(name.lower(), name)
            last = values.setdefault(name.lower(), [])
            last.append(value.strip(_BLANKS))
        else:
            last = []
    return AnswerHead(
        int(found[2]),
        {names[key]: said[-1] for key, said in values.items()},
        {key: ",".join(said) for key, said in values.items()},
        found[1] == "0",
        is_plain,
    )
