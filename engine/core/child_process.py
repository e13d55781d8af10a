"""A process that decodes untrusted files for this one, and answers in plain values.

It is a separate Python process, started by ``python -c``: it never imports the caller's main module, so that a plain
script, a notebook, ``python -c`` and a script on standard input can all use it without a main guard. Messages of
``quiver.engine.core.messages`` travel through its standard input and output.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

from quiver.engine.core.messages import receive, send

#: The first line on standard input is the parent's sys.path; the rest is the module's ``serve``.
_BOOT = "import sys, json; sys.path[:] = json.loads(sys.stdin.buffer.readline()); from {module} import serve; serve()"


class ChildProcess:
    """A running process; only one thread at a time may use it.

    Args:
        module: its function ``serve`` answers messages until standard input ends.
        most: most bytes of arrays in one answer.
        environment: its environment variables; None for those of this process.

    Raises:
        OSError: it does not start.
    """

    def __init__(self, module: str, *, most: int, environment: Mapping[str, str] | None = None) -> None:
        self.most = most
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT.format(module=module)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        try:
            self._input.write(json.dumps(sys.path).encode() + b"\n")
        except OSError:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def send(self, value: Any) -> None:
        """Send it a plain value.

        Raises:
            NotPlain: the value is not plain.
            OSError: the process has ended.
        """
        send(self._input, value)

    def receive(self) -> Any:
        """Return its next answer.

        Raises:
            EOFError: the process has ended.
            BadMessage: the answer is not plain, or too large: close the process.
        """
        return receive(self._output, most=self.most)

    def kill(self) -> None:
        """Kill it; another thread that waits for an answer gets an EOFError."""
        self._process.kill()

    def close(self) -> None:
        """Kill it, wait for its end, and close its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout


def streams() -> tuple[IO[bytes], IO[bytes]]:
    """Return the streams of requests and of answers, in the process itself.

    From now on standard output is standard error: what a library prints would mix with the answers.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return sys.stdin.buffer, answers
