"""One check of a contract, and its outcome.

A check is a function `check_NAME(case)` that returns if the rule in its docstring's first line holds, raises
`ContractError` if it does not, and raises `NotApplicable` where the rule does not apply to the case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar

from attrs import frozen

from dagsdk.errors import DagsdkError
from dagsdk.hookcalls import described
from dagsdk.suggestions import did_you_mean


class ContractError(DagsdkError, AssertionError):
    """A component breaks a rule of its contract."""


class ContractWarning(UserWarning):
    """A component works, but lacks something that a published package should have."""


class NotApplicable(Exception):
    """The rule does not apply to this case; the message says why."""


Check = Callable[[Any], None]
C = TypeVar("C", bound=Check)


def recommended(check: C) -> C:
    """Marks a check of what a published package should have: without it nothing breaks, so it only warns."""
    setattr(check, "recommended", True)  # noqa: B010  a function type has no such attribute
    return check


def is_recommended(check: Check) -> bool:
    return getattr(check, "recommended", False)


@frozen(kw_only=True)
class Outcome:
    """The outcome of one check.

    check, rule: the check's name, and the first line of its docstring.
    status: "passed"; "failed", a rule is broken; "warned", the component works but lacks what a published package
        should have; "excepted", it failed as declared; "skipped", it does not apply.
    message: what was found, or the reason for an exception or a skip; empty where the check passed.
    cause: the exception behind a failure or a warning.
    """

    check: str
    rule: str
    status: Literal["passed", "failed", "warned", "excepted", "skipped"]
    message: str = ""
    cause: BaseException | None = None


def name_of(check: Check) -> str:
    """`check_rewards_are_finite` → "rewards_are_finite", as declared exceptions and messages call it."""
    return check.__name__.removeprefix("check_")


def rule_of(check: Check) -> str:
    return (check.__doc__ or "").strip().partition("\n")[0]


def outcome(check: Check, case: object, exceptions: Mapping[str, str], *, strict: bool = False) -> Outcome:
    """Runs one check. Whatever the component raises is a failure as well; nothing is raised from here.

    exceptions: name of a check that must fail, to the reason. One that passes nevertheless is a failure.
    strict: whether what a published package should have is required, so that its absence is a failure.
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
        warns = is_recommended(check) and isinstance(error, ContractError) and not strict
        return Outcome(check=name, rule=rule, status="warned" if warns else "failed", message=message, cause=error)
    if reason is not None:
        message = f"declared as an exception ({reason}), but the rule is kept; remove the declaration"
        return Outcome(check=name, rule=rule, status="failed", message=message)
    return Outcome(check=name, rule=rule, status="passed")


def outcomes(
    checks: Iterable[Check], case: object, exceptions: Mapping[str, str], *, strict: bool = False
) -> Iterator[Outcome]:
    """Runs the checks one after the other. Raises ContractError for a declared exception that names none of them."""
    checks = tuple(checks)
    require_known(checks, exceptions)
    for check in checks:
        yield outcome(check, case, exceptions, strict=strict)


def require_known(checks: Iterable[Check], exceptions: Mapping[str, str]) -> None:
    """Raises ContractError where a declared exception names no check, or gives no reason."""
    names = [name_of(check) for check in checks]
    for name, reason in exceptions.items():
        if name not in names:
            hint = did_you_mean(name, names) or f"the checks are {', '.join(names)}"
            raise ContractError(f"exception {name!r} names no check; {hint}")
        if not isinstance(reason, str) or not reason.strip():
            raise ContractError(f"exception {name!r} has reason {reason!r}; say why the rule cannot be kept")


def require(holds: object, message: str) -> None:
    """Raises ContractError with the message unless `holds`."""
    if not holds:
        raise ContractError(message)
