"""Errors that are the user's to mend: one sentence with what is wrong, where, and the remedy.

The command line prints the sentence and exits with 2. Anything else that is raised is a fault of this program and keeps
its traceback.
"""


class UserError(Exception):
    """Something a person can put right: a parameter, a path, an image. `str(error)` is shown as it is."""
