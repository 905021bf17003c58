from __future__ import annotations

import subprocess
import sys
import threading

from camagent.stage import Wake

# signals arrive as fast as they can while the same thread waits; a lock that is not reentrant hangs within a second (tried)
_STORM = """
import signal, time
from camagent.stage import Wake

wake, heard = Wake(), 0
def handler(number, frame):
    global heard
    heard += 1
    wake.set()
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 2e-4, 2e-4)
while heard < 10_000:
    wake.wait(0.0001)
signal.setitimer(signal.ITIMER_REAL, 0)
print("survived")
"""


def test_a_signal_handler_may_wake_the_thread_that_it_interrupts() -> None:
    ran = subprocess.run([sys.executable, "-c", _STORM], capture_output=True, text=True, timeout=120, check=True)
    assert ran.stdout == "survived\n"


def test_calls_are_not_lost_and_count_as_one() -> None:
    wake = Wake()
    assert not wake.wait(0.001)
    wake.set()
    wake.set()
    assert wake.wait(0)
    assert not wake.wait(0.001)


def test_another_thread_ends_the_wait() -> None:
    wake = Wake()
    threading.Timer(0.01, wake.set).start()
    assert wake.wait(60)
