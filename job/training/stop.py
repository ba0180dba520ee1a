"""How a training ends before its time: asked by a signal, with its state saved."""

import signal

from job.errors import StoppedError


class Stop:
    """Remembers the signal that asked the process to end; a training asks between two batches."""

    def __init__(self, remedy: str) -> None:
        """Take SIGTERM, Ctrl-C (a second one ends at once) and a closed terminal; `remedy` ends the message."""
        self._remedy = remedy
        self._number = 0
        for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(signal_number) != signal.SIG_IGN:  # as `nohup` leaves SIGHUP
                signal.signal(signal_number, self._note)

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
