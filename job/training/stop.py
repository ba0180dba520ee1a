"""How a training ends when a signal asks it to: between two batches, with its state saved."""

import signal

from job.errors import StoppedError


class Stop:
    """Remembers the signal that asked the process to end."""

    def __init__(self, remedy: str) -> None:
        """`remedy` ends the message: how to go on."""
        self._remedy = remedy
        self._number = 0

    def listen(self) -> None:
        """Take SIGTERM and Ctrl-C; a second Ctrl-C ends the process at once."""
        signal.signal(signal.SIGTERM, self._note)
        signal.signal(signal.SIGINT, self._note)

    def check(self) -> None:
        """Raise `StoppedError` after a signal."""
        if self._number:
            raise StoppedError(self._number, self._remedy)

    def _note(self, number: int, _frame: object) -> None:
        # Ctrl-C reaches every process of the terminal, and the end of the parent brings a SIGTERM on top of it.
        if number == signal.SIGINT == self._number:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt
        self._number = self._number or number
