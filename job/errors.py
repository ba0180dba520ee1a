"""Errors that are the user's to fix: one sentence with what is wrong, where, and the remedy.

The command line prints the sentence and exits with 2. Anything else that is raised is a fault of this program and keeps
its traceback.
"""

import signal


class UserError(Exception):
    """Something a person can put right: a parameter, a path, an image. `str(error)` is shown as it is."""


class StoppedError(Exception):
    """A signal asked the process to end, and its work is kept. The exit code is the shell's: 128 and the signal."""

    def __init__(self, number: int, remedy: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; {remedy}")
        self.exit_code = 128 + number
