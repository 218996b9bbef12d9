"""The exceptions that mean "the user can fix this"."""


class UserError(Exception):
    """A mistake in settings, data or files, described in one line.

    The message names the file, key or id and what to do about it. The command line prints it without a stack trace and ends with exit
    code 2; any other exception is a bug of this package.
    """


class DivergenceError(UserError):
    """Training diverged: its loss or gradient became infinite, NaN or far too large."""


class LostWorkerError(UserError):
    """Another worker of a multi-worker run has ended; the same command on all of them resumes."""
