"""The one exception tree. A leaf: every room may import it, it imports nothing of ours.

Every error says what was wrong, where, and what would be valid. The command line turns any
:class:`StudioError` into one clean message and ends with its ``exit_code``.
"""

from __future__ import annotations


class StudioError(Exception):
    """Base of everything that the studio raises on purpose.

    Args:
        what: one sentence that says what is wrong and where.
        valid: what would be valid instead (empty where nothing can be said).
    """

    exit_code = 1

    def __init__(self, what: str, *, valid: str = "") -> None:
        self.what = what
        self.valid = valid
        super().__init__(f"{what} Valid: {valid}." if valid else what)


class RequestError(StudioError):
    """A field of a request cannot be used.

    Args:
        field: name of the request's field.
        value: the refused value (shortened in the message).
        reason: why it is refused.
        valid: what would be valid.
    """

    exit_code = 2

    def __init__(self, field: str, value: object, reason: str, *, valid: str = "") -> None:
        self.field = field
        self.value = value
        self.reason = reason
        shown = repr(value)
        if len(shown) > 80:
            shown = f"{shown[:77]}..."
        super().__init__(f"{field} = {shown}: {reason}.", valid=valid)


class PromptError(RequestError):
    """A prompt does not follow the grammar.

    Args:
        column: 1-based column of the first offending character.
    """

    def __init__(
        self, prompt: str, reason: str, *, column: int, field: str = "prompt", valid: str = ""
    ) -> None:
        self.column = column
        super().__init__(field, prompt, f"{reason} at column {column}", valid=valid)


class ModelError(StudioError):
    """Weights are missing, broken, unsafe or of an unknown kind."""

    exit_code = 3


class UnavailableError(StudioError):
    """Something was asked for by name that cannot run on this machine."""

    exit_code = 4


class PictureError(StudioError):
    """A picture file cannot be read, or holds no recipe."""

    exit_code = 5


class RunError(StudioError):
    """Drawing failed on the way: see the subclasses."""

    exit_code = 6


class OutOfMemoryError(RunError):
    """Memory did not suffice, even after every step of the recovery ladder."""


class NotANumberError(RunError):
    """Latents or picture became NaN and could not be recovered (``failed: nan``)."""


class OutputError(StudioError):
    """A result could not be written (disk full, read-only folder, unsafe name)."""

    exit_code = 75


class JobNotFound(StudioError):  # noqa: N818 (said of the job, not of the program)
    """There is no such job, or it belongs to somebody else."""


class JobStateError(StudioError):
    """The job is not in a state in which this can be done to it."""


class QueueFull(StudioError):  # noqa: N818 (said of the queue)
    """No more jobs are accepted for now.

    Args:
        retry_after_s: seconds after which to try again.
    """

    exit_code = 75

    def __init__(self, what: str, *, retry_after_s: int, valid: str = "") -> None:
        self.retry_after_s = retry_after_s
        super().__init__(what, valid=valid)


class Cancelled(StudioError):  # noqa: N818 (a request, not an error)
    """The caller asked to stop between two steps."""

    exit_code = 130
