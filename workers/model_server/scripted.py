"""A model that answers by the rules of a script.

Never calls a tool that the request does not offer, and never guesses: an unknown prompt is told what is known.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import replace

from workers.model_server.answers import Answer, Call, compose_from_results
from workers.model_server.conversation import ChatRequest, Conversation
from workers.model_server.faults import Fault
from workers.model_server.script import Rule, Script
from workers.model_server.templates import fill, fill_text


class ScriptedAnswers:
    """Answers requests by a script; the same request gets the same answer (with a seed, the same ids as well)."""

    def __init__(self, script: Script, *, random_id: Callable[[], str] = lambda: secrets.token_hex(12)) -> None:
        self.model_id = script.model
        self._script = script
        self._random_id = random_id

    def answer(self, request: ChatRequest, conversation: Conversation) -> Answer:
        """The answer of the first rule that fits, else the tool results, else what this script knows."""
        for rule in self._script.rules:
            found = _found(rule, conversation)
            if found and _fits(rule, conversation):
                return self._answer_by(rule, found, request=request, conversation=conversation)
        if conversation.results:
            settled = tuple(result for step in conversation.steps for result in step)
            return Answer(text=compose_from_results(settled))
        return Answer(text=self._what_is_known(conversation.last_prompt))

    def _answer_by(
        self, rule: Rule, found: re.Match[str], *, request: ChatRequest, conversation: Conversation
    ) -> Answer:
        answer = Answer(rule=rule.name, fault=Fault.parse(rule.fault) if rule.fault else None)
        missing = [call.tool for call in rule.calls if call.tool not in request.offered]
        if missing:
            offered = ", ".join(request.offered) or "none"
            refusal = (
                f"The rule {rule.name!r} calls {missing[0]}, which this request does not offer. Offered: {offered}."
            )
            return replace(answer, text=refusal)
        groups = _groups(found)
        results = [result.content for result in conversation.results]
        if rule.answer is not None:
            table = fill(rule.answer, groups=groups, results=results, schema=request.answer_schema)
            return replace(answer, text=json.dumps(table, ensure_ascii=False))
        calls = tuple(
            Call(
                call_id=self._call_id(request, position),
                tool_name=call.tool,
                arguments=json.dumps(
                    fill(call.arguments, groups=groups, results=results, schema=request.offered[call.tool].parameters),
                    ensure_ascii=False,
                ),
            )
            for position, call in enumerate(rule.calls)
        )
        text = None if rule.text is None else fill_text(rule.text, groups=groups, results=results)
        return replace(answer, text=text, calls=calls)

    def _call_id(self, request: ChatRequest, position: int) -> str:
        if self._script.call_ids == "same":
            return "call_0"
        if self._script.call_ids == "reused":
            return f"call_{position}"
        if self._script.seed is None:
            return f"call_{self._random_id()}"
        messages = [message.model_dump(mode="json", exclude_none=True) for message in request.messages]
        ground = json.dumps([self._script.seed, messages, position], sort_keys=True)
        return f"call_{hashlib.sha256(ground.encode()).hexdigest()[:24]}"

    def _what_is_known(self, prompt: str) -> str:
        known = dict.fromkeys(rule.example or rule.match for rule in self._script.rules)
        lines = "\n".join(f"- {example}" for example in known)
        return f"This model is scripted and has no answer to {prompt[:200]!r}. It knows prompts like these:\n{lines}"


def _found(rule: Rule, conversation: Conversation) -> re.Match[str] | None:
    prompt = conversation.first_prompt if rule.on == "first" else conversation.last_prompt
    return re.search(rule.match, prompt)


def _fits(rule: Rule, conversation: Conversation) -> bool:
    if rule.results is not None:
        if not any(re.search(rule.results, result.content) for result in conversation.results):
            return False
        return rule.turn in (None, "any", conversation.turn)
    return rule.turn == "any" or conversation.turn == (rule.turn or 0)


def _groups(found: re.Match[str]) -> dict[str, str]:
    """What placeholders may name: the numbered and the named groups and the whole prompt."""
    numbered = {str(number): group or "" for number, group in enumerate(found.groups(), start=1)}
    named = {name: group or "" for name, group in found.groupdict().items()}
    return {"0": found[0], "prompt": found.string} | numbered | named
