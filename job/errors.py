"""Errors that are sentences: the command line prints them. Anything else that is raised keeps its traceback."""

import signal


class UserError(Exception):
    """Something a person can put right: one sentence with what is wrong, where, and the remedy. The exit code is 2."""


class StoppedError(Exception):
    """A signal asked the process to end, and its work is kept. The exit code is the shell's: 128 and the signal."""

    def __init__(self, number: int, remedy: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; {remedy}")
        self.exit_code = 128 + number
