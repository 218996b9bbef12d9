"""The one exception that means "the user can mend this"."""


class UserError(Exception):
    """A mistake in settings, data or files, told in one line.

    The message names the file, key or id at fault and what to do about it. Command-line tools print it
    without a stack trace and leave with exit code 2; any other exception is a fault of this package.
    """


class DivergenceError(UserError):
    """A run whose loss or gradient became infinite, not a number or far too large: its result, rather than a fault of the machine."""
