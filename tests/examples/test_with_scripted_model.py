"""How to test an agent of your own without a key and without a network: `ScriptedModel` plays the model's part.

The script is a list of turns: a text, a call of a tool (or several, in a list), an error. What the agent asked the
model stands in `requests` afterwards.
"""

import pytest

from agent_core.agent import Agent
from agent_core.errors import ModelError
from agent_core.models.base import Model
from agent_core.models.scripted import ScriptedModel, call
from agent_core.tools import tool

# --- your agent, somewhere in your package ---


@tool
def find_order(number: int) -> dict[str, object]:
    """Look an order up.

    Args:
        number: as printed on the invoice
    """
    return {"number": number, "total": 40}


@tool(external_execution=True)
def refund(number: int, amount: int) -> str:
    """Pay money back."""
    raise RuntimeError("only the payment service does this")


def support_agent(model: Model) -> Agent:
    return Agent(name="support", model=model, tools=[find_order, refund], instructions="Be polite.")


# --- its tests ---


def test_a_refund_waits_for_the_payment_service() -> None:
    model = ScriptedModel([call("find_order", number=7), call("refund", number=7, amount=40), "You have it back."])
    agent = support_agent(model)

    run = agent.run("Refund order 7, please")
    (waiting,) = run.tools_awaiting_external_execution
    assert (waiting.tool_name, waiting.tool_args) == ("refund", {"number": 7, "amount": 40})

    waiting.result = "paid"
    assert agent.continue_run(run).content == "You have it back."
    assert [message.content for message in model.requests[-1].messages if message.role == "tool"] == [
        '{"number":7,"total":40}',
        "paid",
    ]


def test_arguments_that_do_not_fit_never_reach_the_payment_service() -> None:
    model = ScriptedModel([call("refund", number=7, amount="all of it"), "I am sorry."])

    run = support_agent(model).run("Refund order 7, please")

    assert not run.is_paused and run.content == "I am sorry."
    assert "amount: Input should be a valid integer" in str(run.tools[0].result)


def test_a_provider_that_is_down_does_not_lose_the_refund() -> None:
    model = ScriptedModel(
        [call("refund", number=7, amount=40), ModelError("the provider is down"), "You have it back."]
    )
    agent = support_agent(model)
    run = agent.run("Refund order 7, please")
    run.tools[0].result = "paid"

    with pytest.raises(ModelError, match="down"):
        agent.continue_run(run)

    assert agent.continue_run(run_id=run.run_id).content == "You have it back."


def test_a_turn_may_look_at_what_it_is_asked() -> None:
    model = ScriptedModel([lambda request: f"I was told: {request.messages[0].content}"])

    assert support_agent(model).run("Hello").content == "I was told: Be polite."
