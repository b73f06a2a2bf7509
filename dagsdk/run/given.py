"""Objects of a program that embeds dagsdk, as components: a live pipeline, plain functions, sequences of prompts.

They are registered next to the plugins' components, so that a run that is embedded is configured like any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from attrs import define, field

from dagsdk.errors import ConfigError
from dagsdk.models.protocol import Model
from dagsdk.plugins import Plugin, discover
from dagsdk.prompts.protocol import Prompt, PromptSet
from dagsdk.registry import Registry
from dagsdk.rewards.plain import PlainReward, marks_of
from dagsdk.specs import KINDS, ModelSpec, PromptSpec, RewardSpec, Spec

Table = dict[str, Any]


@define
class Given:
    """Collects objects, and gives the tables of a run file that name them.

    files: local plugin files.
    """

    files: Sequence[str | Path] = ()
    _specs: dict[str, list[Spec]] = field(factory=dict, init=False)
    _installed: Registry = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._installed = Registry(discover(files=self.files))

    def registry(self, missing: Sequence[str] = ()) -> Registry:
        """The installed components, those that were given, and stand-ins for those that are missing.

        missing: as `names`, of the program that began a run. A stand-in can be named but not built.
        """
        given = set(self.names)
        for kind, _, name in (entry.partition("/") for entry in missing if entry not in given):
            self._specs.setdefault(kind, []).append(_stand_in(kind, name))
        provides = {kind: tuple(specs) for kind, specs in self._specs.items()}
        return Registry([*self._installed.plugins, Plugin(name="program", provides=provides)])

    @property
    def names(self) -> list[str]:
        """What was given, as the key `given` of a run file: "rewards/brightness"."""
        return [f"{kind}/{spec.name}" for kind, specs in self._specs.items() for spec in specs]

    def model(self, model: Any) -> Table:
        """[model] for a name, a folder, a live diffusers pipeline, or an object with the protocol `dagsdk.Model`."""
        if isinstance(model, str | Path):
            return {"name": str(model)}
        if isinstance(model, Mapping):
            return dict(model)
        if isinstance(model, Model):
            return {
                "name": self._add("models", ModelSpec, "given-model", "given by the program", lambda options: model)
            }

        def build(options: Any) -> Model:
            from dagsdk.models.loading import from_pipeline

            return from_pipeline(model)

        return {"name": self._add("models", ModelSpec, "given-pipeline", "a live pipeline of the program", build)}

    def prompts(self, prompts: Any, name: str = "given-prompts") -> Table | list[Table]:
        """[prompts] for the name of a registered set, its table, or a sequence of texts or prompts."""
        if isinstance(prompts, str):
            return {"name": prompts}
        if isinstance(prompts, Mapping):
            return dict(prompts)
        if isinstance(prompts, list | tuple) and prompts and all(isinstance(p, Mapping) for p in prompts):
            return [dict(table) for table in prompts]
        if not hasattr(prompts, "__len__") or not hasattr(prompts, "__getitem__"):
            problem = (
                f"prompts: {type(prompts).__name__} is no sequence; give a list of texts or `dagsdk.Prompt`, or the "
                "name of a registered set"
            )
            raise ConfigError("align", [problem])
        built = GivenPrompts(prompts)
        if isinstance(prompts, list | tuple) and not any(prompt.metadata for prompt in built):
            return {"name": "texts", "texts": [prompt.text for prompt in built]}  # which a run folder can hold
        return {"name": self._add("prompts", PromptSpec, name, "prompts of the program", lambda options: built)}

    def rewards(self, reward: Any) -> list[Table]:
        """[[rewards]] for a name, a function, a table, a list of these, or a mapping of these to weights."""
        if isinstance(reward, Mapping) and "name" not in reward:
            return [{**self._reward(key), "weight": weight} for key, weight in reward.items()]
        if isinstance(reward, list | tuple):
            return [self._reward(one) for one in reward]
        return [self._reward(reward)]

    def _reward(self, reward: Any) -> Table:
        if isinstance(reward, str):
            return {"name": reward}
        if isinstance(reward, Mapping):
            return dict(reward)
        if not callable(reward):
            problem = (
                f"reward: {type(reward).__name__} {reward!r} is no function; give a function of (images, prompts), the "
                "name of a registered reward, or a mapping of either to weights"
            )
            raise ConfigError("align", [problem])
        named = getattr(reward, "func", reward)  # of a partial
        name = self._free("rewards", _slug(getattr(named, "__name__", type(named).__name__), "reward"))
        plain = PlainReward(reward, name)
        differentiable = marks_of(reward).differentiable
        self._specs.setdefault("rewards", []).append(
            RewardSpec(
                name=name,
                summary="a function of the program",
                build=lambda options: plain,
                differentiable=differentiable,
            )
        )
        return {"name": name}

    def _add(self, kind: str, record: Any, name: str, summary: str, build: Callable[[Any], Any]) -> str:
        name = self._free(kind, name)
        self._specs.setdefault(kind, []).append(record(name=name, summary=summary, build=build))
        return name

    def _free(self, kind: str, name: str) -> str:
        taken = {*self._installed.names(kind), *(spec.name for spec in self._specs.get(kind, []))}
        number = 1
        while (candidate := name if number == 1 else f"{name}-{number}") in taken:
            number += 1
        return candidate


class GivenPrompts(Sequence[Prompt]):
    """A host's sequence of texts or prompts as a prompt set.

    A list is checked at once. Of another sequence, which may be long or slow, an item is checked when it is needed.
    """

    def __init__(self, given: Sequence[Any]) -> None:
        if not len(given):
            raise ConfigError("align", ["prompts: there are none; give at least one text"])
        self._given = [prompt(item, i) for i, item in enumerate(given)] if isinstance(given, list | tuple) else given

    def __len__(self) -> int:
        return len(self._given)

    @overload
    def __getitem__(self, index: int) -> Prompt: ...
    @overload
    def __getitem__(self, index: slice) -> PromptSet: ...

    def __getitem__(self, index: int | slice) -> Prompt | PromptSet:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return prompt(self._given[place], place)


def prompt(item: Any, index: int, source: str = "align") -> Prompt:
    """A text or a prompt as a prompt. Raises ConfigError for anything else."""
    if isinstance(item, str | Prompt):
        return Prompt(str(item)) if isinstance(item, str) else item
    problem = f"prompts[{index}]: {item!r} is neither a text nor a prompt; give a str or a `dagsdk.Prompt`"
    raise ConfigError(source, [problem])


def _stand_in(kind: str, name: str) -> Spec:
    """A component that another program gave. Using it raises ConfigError with the way to give it again."""

    def build(options: Any) -> Any:
        return missing if kind == "rewards" else missing()  # a run can sample without its rewards

    def missing(*given: Any) -> Any:
        problem = (
            f"{kind}: {name!r} was an object of the program that began this run, and its folder cannot hold it; call "
            "dagsdk.align as that program did, with resume=True"
        )
        raise ConfigError("run", [problem])

    spec: Spec = KINDS[kind](name=name, summary="an object of another program", build=build)
    return spec


def _slug(name: str, otherwise: str) -> str:
    """A name that a run file can hold: lower-case letters, digits and single hyphens."""
    words: Iterable[str] = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower())
    return otherwise if "lambda" in name else "-".join(words) or otherwise
