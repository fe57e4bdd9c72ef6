"""The kernel's time stamps, switched on before a test needs them.

The kernel switches them on in the background after the first socket asks for them. On a busy machine a greeting over
loopback can arrive before that; it has no stamp then, and the prober rightly uses the loop's time.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from popwatch.prober import timestamps


@contextmanager
def stamping() -> Iterator[None]:
    """Keep stamping on during the block, which begins when it is on."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as sender,
        listener.accept()[0] as receiver,
    ):
        timestamps.enable(receiver)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            sender.send(b"x")
            if timestamps.receive(receiver, 1)[1] is not None:
                break
            time.sleep(0.01)
        yield
