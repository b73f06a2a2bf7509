"""The records that a plugin's hooks return, or a `PluginError` that says which rule it breaks."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import pluggy

from dagsdk import hookspecs
from dagsdk.errors import PluginError
from dagsdk.specs import KINDS, Spec
from dagsdk.suggestions import did_you_mean

HOOKS = {f"dagsdk_{kind}": kind for kind in KINDS}


def records(plugin: object, name: str) -> Iterator[tuple[str, tuple[Spec, ...]]]:
    """Kind and specs of each hook of `plugin`, a module or an object, in a plugin manager of its own.

    Raises `PluginError`. If the plugin raised an exception, that is its cause.
    """
    manager = pluggy.PluginManager("dagsdk")
    manager.add_hookspecs(hookspecs)
    _check_functions(manager, plugin)
    try:
        manager.register(plugin, name)
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{' '.join(str(error).split())}; hooks take no arguments") from error
    hooks = [hook for hook in HOOKS if getattr(manager.hook, hook).get_hookimpls()]
    if not hooks:
        raise PluginError(f"it registers no hook; write one of {', '.join(HOOKS)} under `@dagsdk.hookimpl`")
    for hook in hooks:
        yield HOOKS[hook], _checked(hook, _returned(manager, hook))


def described(error: BaseException) -> str:
    """Type and message of an exception, in one line."""
    return ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split()))))


def _check_functions(manager: pluggy.PluginManager, plugin: object) -> None:
    """Mistakes that pluggy ignores: a hook that is not marked, one with an unknown name, one that wraps others."""
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is None:
            function = inspect.isroutine(inspect.getattr_static(plugin, attribute))
            if function and attribute in HOOKS:
                raise PluginError(f"{attribute!r} is not marked; decorate it with `@dagsdk.hookimpl`")
            if function and attribute.startswith("dagsdk_"):
                raise _no_such_hook(attribute)
        elif (hook := options.get("specname") or attribute) not in HOOKS:
            if not options.get("optionalhook"):  # a plugin may have a hook that only a later core knows
                raise _no_such_hook(hook)
        elif options.get("wrapper") or options.get("hookwrapper"):
            raise PluginError(f"{attribute!r} wraps a hook; hooks only return records: remove `wrapper`")


def _no_such_hook(name: str) -> PluginError:
    hint = did_you_mean(name, HOOKS) or f"the hooks are {', '.join(HOOKS)}"
    return PluginError(f"{name!r} is not a hook; {hint} (no other function may begin with 'dagsdk_')")


def _returned(manager: pluggy.PluginManager, hook: str) -> Iterator[object]:
    caller = getattr(manager.hook, hook)
    wanted = KINDS[HOOKS[hook]].__name__
    try:
        # A generator raises when it is read, not when it is called.
        returned = [tuple(value) if isinstance(value, Iterable) else value for value in caller()]
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(f"hook {hook!r} raised {described(error)}") from error
    if len(returned) < len(caller.get_hookimpls()):  # pluggy leaves a None out
        raise PluginError(f"hook {hook!r} returned None; it must return or yield {wanted} records")
    for value in returned:
        if not isinstance(value, tuple):
            raise PluginError(f"hook {hook!r} returned {_shown(value)}; it must return {wanted} records in a list")
        yield from value


def _checked(hook: str, specs: Iterable[object]) -> tuple[Spec, ...]:
    wanted: type[Any] = KINDS[HOOKS[hook]]
    checked: dict[str, Spec] = {}
    for spec in specs:
        if not isinstance(spec, wanted):
            raise PluginError(f"hook {hook!r} yielded {_shown(spec)}; it must yield {wanted.__name__} records")
        if spec.name in checked:
            raise PluginError(f"hook {hook!r} yielded two records named {spec.name!r}; rename one")
        checked[spec.name] = spec
    return tuple(checked.values())


def _shown(value: object) -> str:
    name = getattr(value, "name", None)
    text = f"{type(value).__name__} {name!r}" if isinstance(name, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
