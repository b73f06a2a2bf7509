"""The README.md of a checkpoint: what it is, and the lines of diffusers that draw what the run draws."""

from __future__ import annotations

from pathlib import Path

from dagsdk.config.schema import RunConfig
from dagsdk.models.protocol import Model

DTYPES = {"no": "float32", "bf16": "bfloat16", "fp16": "float16"}


def write_card(folder: Path, config: RunConfig, model: Model, epoch: int) -> None:
    """Writes README.md into a folder that holds trained weights."""
    rewards = ", ".join(f"`{reward.name}` (weight {reward.weight:g})" for reward in config.rewards)
    title = ", ".join(reward.name for reward in config.rewards)
    lines = [
        f"# {config.model.name}, aligned with {title}",
        "",
        "Trained by dagsdk.",
        "",
        f"- Objective: `{config.objective.name}`",
        f"- Rewards: {rewards}",
        f"- Epoch: {epoch} of {config.train.epochs}, seed {config.seed}",
        "",
        *_use(config, model),
    ]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _use(config: RunConfig, model: Model) -> list[str]:
    """How to draw with the weights."""
    if getattr(model, "pipeline", None) is None:
        return ["Draw from it with `dagsdk sample RUN --out FOLDER`, RUN being the folder of the run."]
    from dagsdk.models.stable_diffusion import diffusers_lines

    rollout = config.rollout
    code = diffusers_lines(
        model.source if model.source != "pipeline" else "",
        network=config.model.train == "full",
        dtype=DTYPES[config.train.mixed_precision],
        steps=rollout.steps,
        guidance_scale=rollout.guidance_scale,
        eta=rollout.eta,
    )
    exact = rollout.variance == "posterior" and rollout.last_step == "keep" and not rollout.std_floor
    says = (
        "They draw what `dagsdk sample` draws for the same prompt and seed, to rounding."
        if exact
        else "The run sampled with other noise (`rollout.variance`, `last_step` or `std_floor`), which diffusers does "
        "not have; `dagsdk sample` draws with it."
    )
    return ["## Use it with diffusers", "", f"Run these lines in this folder. {says}", "", "```python", *code, "```"]
