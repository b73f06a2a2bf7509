"""The case and the checks of each kind of component."""

from __future__ import annotations

from dagsdk.testing.case import Case
from dagsdk.testing.check import Check
from dagsdk.testing.model_checks import MODEL_CHECKS, ModelCase
from dagsdk.testing.objective_checks import OBJECTIVE_CHECKS, ObjectiveCase
from dagsdk.testing.prompt_checks import PROMPT_CHECKS, PromptSetCase
from dagsdk.testing.reward_checks import REWARD_CHECKS, RewardCase
from dagsdk.testing.rollout_checks import ROLLOUT_CHECKS, RolloutCase

CONTRACTS: dict[str, tuple[type[Case], tuple[Check, ...]]] = {
    "rewards": (RewardCase, REWARD_CHECKS),
    "prompts": (PromptSetCase, PROMPT_CHECKS),
    "objectives": (ObjectiveCase, OBJECTIVE_CHECKS),
    "rollouts": (RolloutCase, ROLLOUT_CHECKS),
    "models": (ModelCase, MODEL_CHECKS),
}
