"""The commands of people who are asked: pending, approve, deny, answer, settle, through the real `errandry`."""

from __future__ import annotations

import getpass
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_core.run import RunOutput, RunStatus
from agent_core.tools.execution import CallOutcome
from queues.client import Client
from queues.embedded import EmbeddedServer
from tests.support.command import Command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PROJECT = Path(__file__).parent / "people_project"
ADDED = {
    "errandry.toml": '\n[pools.office]\ntools = ["counter.tools:pay"]\napproval = true\n',
    "counter/tools.py": (
        "\n\n@tool(external_execution=True)\ndef pay(to: str, amount: int) -> str:\n"
        '    """Pay somebody."""\n    return f"paid {amount} to {to}"\n'
    ),
    "counter/agents.py": (
        "\nfrom .tools import pay\n\n"
        "tools = [ask_warehouse, book_room, delete_files, pay]\n"
        'counter = Agent(name="counter", model=OpenAIChat(id="any"), tools=tools)\n'
    ),
    "model.toml": (
        "\n[[rules]]\nmatch = '^Pay (?P<amount>\\d+) to (?P<to>\\w+)$'\n"
        'calls = [{ tool = "pay", arguments = { to = "{to}", amount = "{amount}" } }]\n'
    ),
}


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The project with people in it, and a pool that pays once somebody has agreed; all of it is up."""
    folder = tmp_path_factory.mktemp("people") / "project"
    shutil.copytree(PROJECT, folder)
    for name, text in ADDED.items():
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(text)
    command = Command(folder)
    with command.up("--no-flower", "--no-gateway"):
        yield command


@pytest.fixture(scope="module")
def client(counter: Command) -> Iterator[Client]:
    """What brings runs to where a command is tried, and looks at what came of it."""
    url = EmbeddedServer.attach(counter.folder / ".errandry")
    assert url is not None
    client = Client(url)
    yield client
    client.close()


def waiting_call(client: Client, prompt: str) -> tuple[str, str]:
    """A run that waits for a person, and its call."""
    run = client.submit("counter", prompt)
    (call,) = run.wait(30, until="paused").tools
    return run.run_id, call.tool_call_id


def end_of(client: Client, run_id: str) -> RunOutput:
    output = client.wait(run_id, timeout=30)
    assert output.status is RunStatus.COMPLETED, output.error
    return output


def test_a_person_sees_who_asks_and_approves_with_another_amount(counter: Command, client: Client) -> None:
    run_id, call_id = waiting_call(client, "Pay 500 to Ann")
    listed, of_run, as_json = counter.run_together(["pending"], ["pending", run_id], ["pending", "--json"])
    for said in (listed.stdout, of_run.stdout):
        assert f"{call_id}  pay(to='Ann', amount=500) waits for a person's approval for pool office" in said
        assert f"errandry approve {run_id} {call_id} " in said and f"errandry deny {run_id} {call_id} --note" in said
    assert f"{run_id}  counter  Pay 500 to Ann\n" in listed.stdout
    (run,) = [run for run in json.loads(as_json.stdout) if run["run_id"] == run_id]
    assert (run["agent_name"], run["input"]) == ("counter", "Pay 500 to Ann")
    assert [(call["tool_name"], call["requires_approval"]) for call in run["calls"]] == [("pay", True)]

    changed = ["--argument", "amount=5", "--argument", "to=Ann Lee", "--by", "ann", "--json"]
    approved = counter.run("approve", run_id, call_id, *changed)
    assert approved.returncode == 0, approved.stderr
    assert json.loads(approved.stdout) == {
        "run_id": run_id, "tool_call_id": call_id, "answer": "approved", "answered_by": "ann",
    }  # fmt: skip
    output = end_of(client, run_id)
    assert "paid 5 to Ann Lee" in str(output.content)
    assert output.tools[0].requested_args == {"to": "Ann", "amount": 500}
    shown = counter.run("show", run_id).stdout
    assert "pay(to='Ann Lee', amount=5)" in shown and "approved by ann, with changed arguments at 2" in shown
    assert f"{run_id}" not in counter.run("pending").stdout


def test_a_person_denies_under_the_name_of_this_computers_user(counter: Command, client: Client) -> None:
    run_id, call_id = waiting_call(client, "Pay 7 to Bob")
    assert counter.run("deny", run_id, call_id, "--note", "never Bob").stdout == f"{call_id} is denied\n"
    output = end_of(client, run_id)
    (call,) = output.tools
    assert (call.outcome, call.answered_by) == (CallOutcome.DENIED, getpass.getuser())
    assert "never Bob" in str(output.content)
    again = counter.run("approve", run_id, call_id)
    assert again.returncode == 1
    assert f"call {call_id} of run {run_id} was answered by {getpass.getuser()} at 2" in again.stderr


def test_each_kind_of_answer_is_signed(counter: Command, client: Client) -> None:
    booked, booking = waiting_call(client, "Book a room")
    deleted, deleting = waiting_call(client, "Delete scratch")
    asked, asking = waiting_call(client, "Ask the warehouse for bolts")
    answers = counter.run_together(
        ["answer", booked, booking, "city=Paris", "nights=2", "--by", "ann", "--json"],
        ["approve", deleted, deleting, "--by", "bob", "--json"],
        ["settle", asked, asking, "--result", "200", "--by", "cid", "--json"],
    )
    told = [json.loads(answer.stdout) for answer in answers]
    assert [entry["answer"] for entry in told] == ["answered", "approved", "settled"]
    for run_id, name in ((booked, "ann"), (deleted, "bob"), (asked, "cid")):
        (call,) = end_of(client, run_id).tools
        assert call.answered_by == name and call.answered_at is not None


def test_wrong_usage_is_a_sentence_with_the_way_out(counter: Command, client: Client) -> None:
    run_id, call_id = waiting_call(client, "Pay 9 to Eve")
    other_id, other_call = waiting_call(client, "Delete home")
    refused = {
        "'amount' is no argument; write --argument name=JSON": ["approve", run_id, call_id, "--argument", "amount"],
        "argument amount: 'much' is not JSON": ["approve", run_id, call_id, "--argument", "amount=much"],
        f"call {other_call} of delete_files takes no arguments": [
            "approve", other_id, other_call, "--argument", 'folder="x"',
        ],
        f"run {run_id} does not wait for call 'call_x'; it waits for: {call_id}": ["deny", run_id, "call_x"],
        f"call {call_id} is executed by pool office; it settles there": [
            "settle", run_id, call_id, "--result", "1",
        ],
        "there is no run 'run_none'": ["pending", "run_none"],
    }  # fmt: skip
    for sentence, ended in zip(refused, counter.run_together(*refused.values()), strict=True):
        assert ended.returncode == 1, ended.stdout
        assert ended.stderr.startswith(f"Error: {sentence}")
        assert len(ended.stderr.splitlines()) == 1
    assert len(client.pending(run_id)) == len(client.pending(other_id)) == 1
    for waiting in (run_id, other_id):
        client.cancel(waiting)
