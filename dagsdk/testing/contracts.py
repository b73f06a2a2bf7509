"""Contracts to inherit: each rule of one becomes a test of the class that inherits it.

```python
class TestSharpness(RewardContract):
    spec = "sharpness"
```

`spec` is the record itself, or the name that an installed plugin registers it under. A rule that cannot be kept is
declared with its reason, and must then fail: `exceptions = {"order_does_not_matter": "the server sorts"}`. What a
published package should have, such as a documented option, only warns unless `strict = True`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from dagsdk.registry import load_registry
from dagsdk.specs import BuildContext, Spec
from dagsdk.testing.case import Case
from dagsdk.testing.check import Check, ContractError, ContractWarning, name_of, outcome, require_known
from dagsdk.testing.kinds import CONTRACTS
from dagsdk.testing.plugin_checks import PLUGIN_CHECKS, PluginCase

if TYPE_CHECKING:
    from torch import Tensor

    from dagsdk.prompts.protocol import Prompt


class Contract:
    """What all contracts share: a test for each check, and declared exceptions.

    checks: functions of one case.
    exceptions: name of a check that must fail, to the reason.
    strict: whether what a published package should have is required; otherwise its absence is a ContractWarning.
    """

    checks: ClassVar[tuple[Check, ...]] = ()
    exceptions: ClassVar[Mapping[str, str]] = {}
    strict: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        require_known(cls.checks, cls.exceptions)
        for check in cls.__dict__.get("checks", ()):
            setattr(cls, f"test_{name_of(check)}", _test(check))

    @classmethod
    def make_case(cls) -> object:
        """The argument of the checks; made once per class."""
        raise TypeError(f"{cls.__name__} has no case; inherit one of the contracts of dagsdk.testing")

    @classmethod
    def case(cls) -> Any:
        if "_case" not in cls.__dict__:
            cls._case = cls.make_case()
        return cls._case

    _case: ClassVar[object]


def _test(check: Check) -> Callable[[Contract], None]:
    def test(self: Contract) -> None:
        found = outcome(check, self.case(), self.exceptions, strict=self.strict)
        match found.status:
            case "failed":
                raise ContractError(found.message) from found.cause
            case "warned":
                warnings.warn(found.message, ContractWarning, stacklevel=1)
            case "excepted":
                pytest.xfail(found.message)
            case "skipped":
                pytest.skip(found.message)

    test.__doc__ = check.__doc__
    test.__name__ = f"test_{name_of(check)}"
    return test


class ComponentContract(Contract):
    """What the contracts of the five kinds of components share.

    spec: the record that a hook yields, or the name that an installed plugin registers it under.
    options: as in a run file, without `name`.
    context: the second argument of `build`.
    """

    kind: ClassVar[str]
    spec: ClassVar[Spec | str]
    options: ClassVar[Mapping[str, Any]] = {}
    context: ClassVar[BuildContext] = BuildContext()

    case_class: ClassVar[type[Case]]
    given: ClassVar[tuple[str, ...]] = ()
    """Further attributes that are passed to the case where the class has them."""

    @classmethod
    def make_case(cls) -> Case:
        spec = load_registry().get(cls.kind, cls.spec) if isinstance(cls.spec, str) else cls.spec
        extra = {name: getattr(cls, name) for name in cls.given if hasattr(cls, name)}
        return cls.case_class(spec=spec, options=cls.options, context=cls.context, **extra)


class RewardContract(ComponentContract):
    """The contract of rewards.

    images, prompts, tolerance: as in `dagsdk.testing.reward_checks.RewardCase`, where its defaults do not suit.
    """

    kind = "rewards"
    case_class, checks = CONTRACTS[kind]
    given = ("images", "prompts", "tolerance")

    images: ClassVar[Tensor]
    prompts: ClassVar[Sequence[Prompt]]
    tolerance: ClassVar[float]


class PromptSetContract(ComponentContract):
    """The contract of prompt sets."""

    kind = "prompts"
    case_class, checks = CONTRACTS[kind]


class ObjectiveContract(ComponentContract):
    """The contract of objectives.

    prompts, images_per_prompt, steps, epochs, rows, tolerance: as in
        `dagsdk.testing.objective_case.ObjectiveCase`, where its defaults do not suit.
    """

    kind = "objectives"
    case_class, checks = CONTRACTS[kind]
    given = ("prompts", "images_per_prompt", "steps", "epochs", "rows", "tolerance")

    prompts: ClassVar[int]
    images_per_prompt: ClassVar[int]
    steps: ClassVar[int]
    epochs: ClassVar[int]
    rows: ClassVar[int]
    tolerance: ClassVar[float]


class RolloutContract(ComponentContract):
    """The contract of rollouts.

    steps, epochs, prompts: as in `dagsdk.testing.rollout_checks.RolloutCase`, where its defaults do not suit.
    """

    kind = "rollouts"
    case_class, checks = CONTRACTS[kind]
    given = ("steps", "epochs", "prompts")

    steps: ClassVar[Sequence[int]]
    epochs: ClassVar[Sequence[int]]
    prompts: ClassVar[int]


class ModelContract(ComponentContract):
    """The contract of models.

    steps, texts, widths, tolerance: as in `dagsdk.testing.model_case.ModelCase`, where its defaults do not suit.
    """

    kind = "models"
    case_class, checks = CONTRACTS[kind]
    given = ("steps", "texts", "widths", "tolerance")

    steps: ClassVar[int]
    texts: ClassVar[Sequence[str]]
    widths: ClassVar[Sequence[int]]
    tolerance: ClassVar[float]


class PluginContract(Contract):
    """The contract of a plugin as a whole.

    plugin: the name of its entry point, or the path of a local file.
    """

    checks = PLUGIN_CHECKS
    plugin: ClassVar[str]

    @classmethod
    def make_case(cls) -> PluginCase:
        return PluginCase(plugin=cls.plugin)
