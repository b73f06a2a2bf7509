"""One check of a contract, and what becomes of it.

A check is a function `check_NAME(case)` that returns if the rule in its docstring's first line holds, raises
`ContractError` if it does not, and raises `NotApplicable` where the rule says nothing about the case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal

from attrs import frozen

from dagsdk.errors import DagsdkError
from dagsdk.hookcalls import described


class ContractError(DagsdkError, AssertionError):
    """A component breaks a rule of its contract."""


class NotApplicable(Exception):
    """The rule says nothing about this case; the message tells why."""


Check = Callable[[Any], None]


@frozen(kw_only=True)
class Outcome:
    """What became of one check.

    check, rule: the check's name, and the first line of its docstring.
    status: "passed"; "failed"; "excepted", it failed as declared; "skipped", it does not apply.
    message: what was found, or the reason of an exception or a skip; empty where the check passed.
    cause: the exception behind a failure.
    """

    check: str
    rule: str
    status: Literal["passed", "failed", "excepted", "skipped"]
    message: str = ""
    cause: BaseException | None = None


def name_of(check: Check) -> str:
    """`check_scores_are_finite` → "scores_are_finite", as declared exceptions and messages call it."""
    return check.__name__.removeprefix("check_")


def rule_of(check: Check) -> str:
    return (check.__doc__ or "").strip().partition("\n")[0]


def outcome(check: Check, case: object, exceptions: Mapping[str, str]) -> Outcome:
    """Runs one check. Whatever the component raises is a failure, too; nothing is raised from here.

    exceptions: name of a check that must fail, to the reason. One that passes nevertheless is a failure.
    """
    name, rule = name_of(check), rule_of(check)
    reason = exceptions.get(name)
    try:
        check(case)
    except NotApplicable as skip:
        return Outcome(check=name, rule=rule, status="skipped", message=str(skip))
    except Exception as error:
        if reason is not None:
            return Outcome(check=name, rule=rule, status="excepted", message=reason, cause=error)
        message = str(error) if isinstance(error, DagsdkError) else f"it raised {described(error)}"
        return Outcome(check=name, rule=rule, status="failed", message=message, cause=error)
    if reason is not None:
        message = f"declared as an exception ({reason}), but the rule is kept; take the declaration back"
        return Outcome(check=name, rule=rule, status="failed", message=message)
    return Outcome(check=name, rule=rule, status="passed")


def outcomes(checks: Iterable[Check], case: object, exceptions: Mapping[str, str]) -> Iterator[Outcome]:
    """Runs the checks one after the other. Raises ContractError for a declared exception that names none of them."""
    checks = tuple(checks)
    require_known(checks, exceptions)
    for check in checks:
        yield outcome(check, case, exceptions)


def require_known(checks: Iterable[Check], exceptions: Mapping[str, str]) -> None:
    """Raises ContractError where a declared exception names no check, or gives no reason."""
    names = [name_of(check) for check in checks]
    for name, reason in exceptions.items():
        if name not in names:
            close = get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the checks are {', '.join(names)}"
            raise ContractError(f"exception {name!r} names no check; {hint}")
        if not isinstance(reason, str) or not reason.strip():
            raise ContractError(f"exception {name!r} has reason {reason!r}; say why the rule cannot be kept")


def require(holds: object, message: str) -> None:
    """Raises ContractError with the message unless `holds`."""
    if not holds:
        raise ContractError(message)
