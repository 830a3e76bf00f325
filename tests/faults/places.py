"""Where the stand-ins are: at ports that may refuse, hang or present a wrong certificate for a while."""

import datetime
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

import trustme

from sandbox.partners import PartnerSandbox
from sandbox.partners.server import HOST
from sandbox.partners.site import Site
from tests.faults.cases import ENCRYPTED, Place

_WRONG_ADDRESSES = {
    Place.NO_NAME: "http://partner.invalid",
    Place.NOT_PUBLIC: "http://192.0.2.1:9",  # of a network for documentation
}


class Certificates:
    """An authority that the pipeline trusts, and what servers present."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.trusted = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.trusted))

    def right(self) -> ssl.SSLContext:
        return _presenting(self._authority.issue_cert(HOST))

    def wrong(self, place: Place) -> ssl.SSLContext | None:
        """What is presented at a place where it is wrong; None for nothing."""
        match place:
            case Place.EXPIRED:
                yesterday = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(1)
                return _presenting(self._authority.issue_cert(HOST, not_after=yesterday))
            case Place.OTHER_NAME:
                return _presenting(self._authority.issue_cert("elsewhere.example.com"))
            case Place.UNKNOWN_CA:
                return _presenting(trustme.CA().issue_cert(HOST))
            case _:
                return None


def _presenting(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


class Door:
    """The address of some stand-ins, where they can be reached unless it has failed."""

    def __init__(self, place: Place, sites: Mapping[str, Site], certificates: Certificates) -> None:
        self._place = place
        self._sites = sites
        self._certificates = certificates
        self._port = _free_port()
        self._open = ExitStack()
        self._sandboxes: list[PartnerSandbox] = []
        self._has_failed = False

    def __enter__(self) -> "Door":
        self._serve(self._certificates.right() if self._place in ENCRYPTED else None)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def fail(self) -> None:
        """Have the stand-ins be where their cases say."""
        self._has_failed = True
        if self._place is Place.ORDINARY:
            return
        self._open.close()
        if self._place in ENCRYPTED:
            self._serve(self._certificates.wrong(self._place))
        else:
            self._open.enter_context(_deaf(self._place, self._port))

    def mend(self) -> None:
        """Have them be where they should."""
        self._has_failed = False
        if self._place is not Place.ORDINARY:
            self._open.close()
            self.__enter__()

    def address(self, name: str) -> str:
        """What a connector is told."""
        scheme = "https" if self._place in ENCRYPTED else "http"
        right = f"{scheme}://{HOST}:{self._port}"
        base = _WRONG_ADDRESSES.get(self._place, right) if self._has_failed else right
        return f"{base}/{name}"

    @property
    def sandbox(self) -> PartnerSandbox:
        """Who answers now."""
        return self._sandboxes[-1]

    def accepted_ids(self, name: str) -> list[str]:
        """Of all events that a stand-in has accepted, in order, duplicates kept."""
        return [found for sandbox in self._sandboxes for found in sandbox.accepted_ids(name)]

    def requests(self, name: str) -> int:
        """How many requests a stand-in has seen."""
        return sum(sandbox.counts(name).requests for sandbox in self._sandboxes)

    def refused(self, name: str) -> int:
        """How many requests a stand-in has answered with an error."""
        return sum(sandbox.counts(name).refused for sandbox in self._sandboxes)

    def _serve(self, tls: ssl.SSLContext | None) -> None:
        sandbox = PartnerSandbox(self._sites, port=self._port, tls=tls)
        self._sandboxes.append(self._open.enter_context(sandbox))


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def _deaf(place: Place, port: int) -> AbstractContextManager[None]:
    match place:
        case Place.NOBODY:
            return _occupied(port)
        case Place.FULL:
            return _full(port)
        case _:
            return nullcontext()


@contextmanager
def _occupied(port: int) -> Iterator[None]:
    """The port is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((HOST, port))
        yield


@contextmanager
def _full(port: int) -> Iterator[None]:
    """Somebody listens, and as many connections wait already as the kernel keeps."""
    with ExitStack() as stack:
        stack.enter_context(socket.create_server((HOST, port), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((HOST, port))
        yield
