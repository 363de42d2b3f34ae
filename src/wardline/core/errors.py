"""Every error Wardline raises on purpose, drawn by what the caller can do about it.

    WardlineError                  exit  code
    ├── PolicyError                 2    WL-E201   correct the policy file
    │   └── ConflictError           2    WL-E202   drop one of two protections
    ├── DataError                   2    WL-E211   correct the data or its contract
    ├── WorkspaceError              2    WL-E221   make room, or choose another folder
    ├── UsageError                  2    WL-E231   call again, corrected
    │   └── MissingExtraError       2    WL-E232   install the extra
    ├── KeyAccessError              2    WL-E241   give the right key or passphrase
    ├── ServiceError                2    WL-E251   bring the service up, or ask it otherwise
    ├── BudgetError                 1    WL-E101   stop, or raise the limit knowingly
    └── IntegrityError              3    WL-E301   do not trust these bytes

Bad arguments to a library function raise `ValueError` or `TypeError`, not these.
Anything else that reaches the command line is a defect of ours: exit 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar


class WardlineError(Exception):
    """What all of Wardline's errors have in common: a code, a message, a place and a remedy.

    Args:
        message: what is wrong, in lower case, without secrets or data values.
        where: the place, for example ``policy.yaml:12`` or a column's name.
        hint: what to do about it.
    """

    code: ClassVar[str] = "WL-E000"
    exit_code: ClassVar[int] = 4

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class PolicyError(WardlineError):
    """The policy file cannot be understood, or asks for something impossible.

    What: a key is unknown or doubled, a value is outside its range, or two parts disagree.
    Why: a policy that is half understood would protect less than its author believes.
    Remedy: correct the line that the message names; `wardline policy schema` lists what may stand there.
    """

    code = "WL-E201"
    exit_code = 2


class ConflictError(PolicyError):
    """Two protections of one policy contradict each other.

    What: one protection breaks a property that another one's guarantee rests on.
    Why: run together, the guarantee of the second would be stated but not hold.
    Remedy: remove one of the two, or change the one that the message names.
    """

    code = "WL-E202"
    exit_code = 2


class DataError(WardlineError):
    """The data cannot be read, or breaks the contract that the policy states for it.

    What: a file is damaged, a column is missing, a value lies outside its range, a class is absent.
    Why: the guarantee is computed from the contract; data outside of it would not be covered.
    Remedy: correct the data, or run `wardline data describe` and review the contract.
    """

    code = "WL-E211"
    exit_code = 2


class WorkspaceError(WardlineError):
    """A folder or file of the run cannot be written.

    What: no permission, no space, or another run holds the folder.
    Why: nothing is half-written; whatever was finished before stays usable.
    Remedy: make room or choose another folder with `--out`, then run the same command again.
    """

    code = "WL-E221"
    exit_code = 2


class UsageError(WardlineError):
    """A command or call was given something that it cannot work with.

    Remedy: call again, corrected as the message says; `--help` has an example.
    """

    code = "WL-E231"
    exit_code = 2


class MissingExtraError(UsageError):
    """A capability needs an optional library that is not installed.

    Remedy: `pip install 'wardline[NAME]'` with the extra that the message names.
    """

    code = "WL-E232"
    exit_code = 2


class KeyAccessError(WardlineError):
    """A signing key cannot be opened.

    What: the passphrase is wrong, the key file is damaged, or no key was given.
    Remedy: check `--key` and the passphrase; make a new pair with `wardline keys new`.
    """

    code = "WL-E241"
    exit_code = 2


class ServiceError(WardlineError):
    """A service over the network does not answer, or not in a way that can be used.

    What: it cannot be reached, times out, limits the rate, refuses the request, or answers with something else.
    Why: what was not answered says nothing about a model, and must not count as withstood.
    Remedy: check that the service runs and what it takes; then ask again, with more patience or fewer queries.
    """

    code = "WL-E251"
    exit_code = 2


class BudgetError(WardlineError):
    """A release would exceed the privacy budget of its data set.

    What: the charges so far and this one, composed, exceed the limit that the policy states.
    Why: every further release about the same people adds to what an adversary can learn.
    Remedy: do not release; or decide anew, on record, what the limit is.
    """

    code = "WL-E101"
    exit_code = 1


class IntegrityError(WardlineError):
    """Bytes are not what they should be: a digest or a signature does not match.

    What: a download, a stored stage or an evidence bundle was changed, or was signed with another key.
    Why: nothing that follows from these bytes can be believed.
    Remedy: do not use them; get them again from where they came.
    """

    code = "WL-E301"
    exit_code = 3


@contextmanager
def placed(where: Path) -> Iterator[None]:
    """Name a file in errors about its content that name no place, since what raised them saw bytes alone."""
    try:
        yield
    except WardlineError as error:
        error.where = error.where or str(where)
        raise
