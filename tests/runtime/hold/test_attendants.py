"""Who attends lanes is ended with its worker, whatever still runs."""

import threading

from runtime.hold import attendants
from runtime.hold.attendants import attendants_of
from tests.runtime.hold.attending import Start


def test_what_is_written_while_the_worker_closes_leaves_nobody_behind(start: Start) -> None:
    worker = start().worker
    may_go_on = threading.Event()

    def write() -> bool:
        assert may_go_on.wait(10)
        attendants_of(worker).wrote("hook")
        return True

    worker.background.begin("hold hook", write)
    closing = threading.Thread(target=worker.close)
    closing.start()
    may_go_on.set()
    closing.join(10)
    assert not closing.is_alive()
    assert worker not in attendants._attendants
