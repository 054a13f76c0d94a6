"""Tools: the decorator, functions, hooks, toolkits and import strings."""

import asyncio
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_core.agent import Agent
from agent_core.errors import ImportStringError
from agent_core.models.scripted import ScriptedModel, call
from agent_core.registry import functions_of, load_object
from agent_core.tools import Function, Toolkit, tool
from agent_core.tools.context import RunContext
from tests.support.run_modes import RUN_MODES, RunMode


def greet(name: str) -> str:
    """Greet somebody."""
    return f"Hello {name}"


def part(name: str) -> str:
    """Take leave of somebody."""
    return f"Bye {name}"


def test_the_decorator_works_bare_and_with_arguments() -> None:
    bare, named = tool(greet), tool(name="hello", description="Say it.", timeout_seconds=3)(greet)

    assert (bare.name, bare.description, bare.entrypoint(name="A")) == ("greet", "Greet somebody.", "Hello A")
    assert (named.name, named.description, named.timeout_seconds) == ("hello", "Say it.", 3)
    assert bare("B") == "Hello B"


class Counter:
    def __init__(self, start: int) -> None:
        self.start = start

    @tool
    def count(self, by: int) -> int:
        """Count on."""
        return self.start + by

    @tool
    async def later(self, by: int) -> int:
        """Count on later."""
        return self.start + by

    @tool
    @staticmethod
    def fixed(by: int) -> int:
        """Count from nothing."""
        return by


def test_methods_are_bound_to_their_object() -> None:
    one, two = Counter(1), Counter(10)

    assert list(one.count.parameters["properties"]) == ["by"]
    assert (one.count.call({"by": 1}), two.count.call({"by": 1}), one.later.call({"by": 2})) == (2, 11, 3)
    assert one.fixed.call({"by": 5}) == 5
    assert Toolkit(tools=[one.count, one.later]).functions["count"].call({"by": 2}) == 3


def by_decorator(**settings: Any) -> object:
    return tool(**settings)(greet)


def by_function(**settings: Any) -> object:
    return Function(entrypoint=greet, **settings)


def by_toolkit(**settings: Any) -> object:
    names = {
        "requires_confirmation": "requires_confirmation_tools",
        "external_execution": "external_execution_required_tools",
    }
    lists: dict[str, Any] = {names[key]: ["greet"] for key in settings if key in names}
    rest = {key: value for key, value in settings.items() if key not in names}
    return Toolkit(tools=[tool(**rest)(greet) if rest else greet], **lists)


@pytest.mark.parametrize("build", [by_decorator, by_function, by_toolkit])
@pytest.mark.parametrize(
    "flags",
    [
        ("external_execution", "requires_confirmation"),
        ("external_execution", "requires_user_input"),
        ("requires_confirmation", "requires_user_input"),
        ("external_execution", "requires_confirmation", "requires_user_input"),
    ],
)
def test_the_three_pause_flags_exclude_one_another(build: Callable[..., object], flags: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"sets .* and .*; a tool can pause in one way only"):
        build(**dict.fromkeys(flags, True))


def test_the_flags_are_checked_before_the_entrypoint() -> None:
    with pytest.raises(ValueError, match="one way only"):
        Function(name="x", external_execution=True, requires_confirmation=True)
    with pytest.raises(ValueError, match="no entrypoint"):
        Function(name="x")


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"backoff_seconds": -1}, "backoff_seconds"),
        ({"on_lost": "ignore"}, "on_lost"),
        ({"pool": "Shell!"}, "pool"),
        ({"pool": "shell", "requires_confirmation": True}, "pool"),
        ({"name": "a b"}, "a b"),
        ({"user_input_fields": ("name",)}, "requires_user_input"),
    ],
)
def test_bad_settings_are_refused_where_the_tool_is_built(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=re.escape(word)):
        tool(**settings)(greet)


def test_an_unknown_setting_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        tool(external=True)(greet)  # type: ignore[call-overload]


def test_naming_a_pool_makes_a_tool_external() -> None:
    assert tool(pool="shell")(greet).external_execution


def test_hooks_wrap_the_call_from_outside_in_and_see_the_arguments() -> None:
    seen: list[object] = []

    def outer(function_name: str, function_call: Callable[..., str], arguments: dict[str, object]) -> str:
        seen.append((function_name, dict(arguments)))
        return function_call(**{**arguments, "name": "B"}) + "!"

    def inner(function_call: Callable[..., str], arguments: dict[str, object], run_context: RunContext) -> str:
        seen.append((run_context.idempotency_key, dict(arguments)))
        return function_call(**arguments) + "?"

    function = tool(tool_hooks=[outer, inner])(greet)
    context = RunContext(run_id="run_1", step=2, tool_call_id="c")

    assert function.call({"name": "A"}, context=context) == "Hello B?!"
    assert seen == [("greet", {"name": "A"}), ("run_1:2:c", {"name": "B"})]


def test_async_tools_and_hooks_are_awaited() -> None:
    async def later(name: str) -> str:
        await asyncio.sleep(0)
        return greet(name)

    async def hook(function_call: Callable[..., Any], arguments: dict[str, object]) -> str:
        return str(await function_call(**arguments)) + "!"

    def plain_hook(function_call: Callable[..., Any], arguments: dict[str, object]) -> Any:
        return function_call(**arguments)

    function = tool(tool_hooks=[hook, plain_hook])(later)

    assert function.is_async and tool(tool_hooks=[hook])(later).is_async and not tool(greet).is_async
    assert function.call({"name": "A"}) == "Hello A!"
    assert asyncio.run(function.acall({"name": "A"})) == "Hello A!"


@pytest.mark.parametrize("mode", RUN_MODES, ids=str)
def test_hooks_know_the_run_and_may_refuse_the_call(mode: RunMode) -> None:
    def sign(agent: Agent, run_context: RunContext, function_call: Callable[..., object], **rest: Any) -> str:
        return f"{agent.name}, step {run_context.step}: {function_call(**rest['arguments'])}"

    def refuse(function_name: str) -> str:
        raise PermissionError(f"{function_name} is closed")

    tools = [tool(tool_hooks=[sign])(greet), tool(tool_hooks=[refuse])(part)]
    model = ScriptedModel([[call("greet", name="A"), call("part", name="B")], "done"])
    output = mode.run(Agent(name="ops", model=model, tools=tools), "go")

    assert [record.result for record in output.tools] == [
        "ops, step 1: Hello A",
        "PermissionError: part is closed",
    ]


def test_the_context_can_be_made_from_the_idempotency_key() -> None:
    context = RunContext.from_idempotency_key("run_1:3:call:with:colons")

    assert (context.run_id, context.step, context.tool_call_id) == ("run_1", 3, "call:with:colons")
    assert context.idempotency_key == "run_1:3:call:with:colons"


def test_a_toolkit_sets_its_tools_by_name() -> None:
    kit = Toolkit(
        "manners",
        [greet, part],
        external_execution_required_tools=["greet"],
        stop_after_tool_call_tools=["part"],
        pool="talk",
    )

    assert (kit.functions["greet"].external_execution, kit.functions["greet"].pool) == (True, "talk")
    assert (kit.functions["part"].external_execution, kit.functions["part"].pool) == (False, None)
    assert kit.functions["part"].stop_after_tool_call and kit.functions["part"].shows_result


def test_a_toolkit_can_be_narrowed() -> None:
    assert list(Toolkit(tools=[greet, part], include_tools=["part"]).functions) == ["part"]
    assert list(Toolkit(tools=[greet, part], exclude_tools=["part"]).functions) == ["greet"]
    assert Toolkit(tools=[greet], include_tools=[]).functions == {}


@pytest.mark.parametrize(
    "list_name",
    [
        "include_tools",
        "exclude_tools",
        "requires_confirmation_tools",
        "external_execution_required_tools",
        "stop_after_tool_call_tools",
    ],
)
def test_a_name_that_no_tool_bears_is_refused(list_name: str) -> None:
    lists: dict[str, Any] = {list_name: ["great"]}
    with pytest.raises(ValueError, match=f"{list_name} names 'great'"):
        Toolkit(tools=[greet], **lists)


def test_two_tools_of_one_name_are_refused() -> None:
    model = ScriptedModel([])
    with pytest.raises(ValueError, match="two tools named 'greet'"):
        Agent(model=model, tools=[greet, tool(greet)])
    with pytest.raises(ValueError, match="two tools named 'greet'"):
        Toolkit(tools=[greet, greet])
    with pytest.raises(TypeError, match="no tool"):
        Agent(model=model, tools=["greet"])  # type: ignore[list-item]


class Manners(Toolkit):
    def __init__(self) -> None:
        super().__init__(tools=[greet, part])


class Demanding(Toolkit):
    def __init__(self, key: str) -> None:
        super().__init__(tools=[greet])


@pytest.mark.parametrize(
    ("found", "names"),
    [(greet, ["greet"]), (tool(greet), ["greet"]), (Manners, ["greet", "part"]), (Manners(), ["greet", "part"])],
)
def test_whatever_holds_tools_gives_them(found: object, names: list[str]) -> None:
    assert [function.name for function in functions_of(found, "a:b")] == names


@pytest.mark.parametrize("found", [Demanding, 3, "x", int])
def test_what_holds_no_tools_is_named(found: object) -> None:
    with pytest.raises(ImportStringError, match="a:b"):
        functions_of(found, "a:b")


def test_objects_are_loaded_by_import_string(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good_module.py").write_text("class Box:\n    lid = 'lid'\n")
    (tmp_path / "bad_module.py").write_text("import not_installed_anywhere\n")
    (tmp_path / "worse_module.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert load_object("good_module:Box.lid") == "lid"
    for import_string, word in [
        ("good_module", "package.module:attribute"),
        ("good_module:Lid", "has no 'Lid'"),
        ("no_module_of_this_name:x", "there is no module 'no_module_of_this_name'"),
        ("bad_module:x", "there is no module 'not_installed_anywhere'"),
        ("worse_module:x", "raised ZeroDivisionError"),
    ]:
        with pytest.raises(ImportStringError, match=re.escape(word)) as caught:
            load_object(import_string)
        assert import_string in str(caught.value)


def test_a_tool_made_ready_is_called_without_another_look_at_its_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    def greet(name: str, run_context: RunContext, agent: object = None) -> str:
        return f"{name} {run_context.run_id} {agent}"

    function = tool(greet)
    function.make_ready()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a forked call would pay for this")

    monkeypatch.setattr(inspect, "signature", refuse)
    context = RunContext.from_idempotency_key("run:1:call")
    assert function.call({"name": "Ann"}, context=context) == "Ann run None"


@pytest.mark.parametrize(("kind", "expected"), [("def", False), ("async def", True)])
def test_only_an_async_tool_made_ready_brings_an_event_loop(kind: str, expected: bool) -> None:
    script = (
        f"import sys\nfrom agent_core.tools import tool\n@tool\n{kind} hello() -> str:\n    return 'hi'\n"
        "print('asyncio' in sys.modules)\nhello.make_ready()\nprint('asyncio' in sys.modules, hello.call({}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["False", f"{expected} hi"]
