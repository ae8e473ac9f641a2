"""The anthropic package."""

from __future__ import annotations

from typing import Any

import anthropic
from anthropic import beta_tool
from pydantic import BaseModel

from tests.conformance.clients.harness import BASE_URL, DEGREES, MODEL, TALK, feature, run

ROOT_URL = BASE_URL.removesuffix("/v1")
SEA: Any = [{"role": "user", "content": "Tell me of the sea."}]
WARM: Any = [{"role": "user", "content": "How warm is it in Paris and in Rome?"}]
MEASURED = "Measured: 21 degrees; 27 degrees"
TOOL: Any = {
    "name": "get_weather",
    "description": "The temperature in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
client = anthropic.Anthropic(base_url=ROOT_URL, api_key="none")


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@beta_tool
def get_weather(city: str) -> str:
    """The temperature in a city.

    Args:
        city: Its name.
    """
    return f"{DEGREES[city]} degrees"


@feature("messages")
def message() -> None:
    reply = client.messages.create(model=MODEL, max_tokens=500, messages=SEA, system="Be brief.")
    assert reply.content[0].text == TALK  # type: ignore[union-attr]
    assert (reply.stop_reason, reply.model) == ("end_turn", MODEL)
    assert reply.usage.output_tokens > 0


@feature("messages, streamed")
def streamed() -> None:
    events = list(client.messages.create(model=MODEL, max_tokens=500, messages=SEA, stream=True))
    kinds = [event.type for event in events]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])


@feature("streaming helper")
def helper() -> None:
    with client.messages.stream(model=MODEL, max_tokens=500, messages=SEA) as stream:
        assert "".join(stream.text_stream) == TALK
        assert stream.get_final_message().usage.output_tokens > 0


@feature("streaming helper, async, with tools")
async def helper_with_tools() -> None:
    asynchronous = anthropic.AsyncAnthropic(base_url=ROOT_URL, api_key="none")
    asked: Any = [{"role": "user", "content": "Paris and Rome at once?"}]
    async with asynchronous.messages.stream(model=MODEL, max_tokens=500, messages=asked, tools=[TOOL]) as stream:
        snapshots = [event.snapshot async for event in stream if event.type == "input_json"]
        final = await stream.get_final_message()
    calls = [block.input for block in final.content if block.type == "tool_use"]
    assert calls == [{"city": "Paris"}, {"city": "Rome"}]
    assert {"city": "Rome"} in snapshots
    assert final.stop_reason == "tool_use"


@feature("tool runner")
def runner() -> None:
    looping = client.beta.messages.tool_runner(model=MODEL, max_tokens=500, messages=WARM, tools=[get_weather])
    assert looping.until_done().content[0].text == MEASURED  # type: ignore[union-attr]


@feature("tool runner, streamed")
def runner_streamed() -> None:
    looping = client.beta.messages.tool_runner(
        model=MODEL, max_tokens=500, messages=WARM, tools=[get_weather], stream=True
    )
    finals = [stream.get_final_message() for stream in looping]
    assert finals[-1].content[0].text == MEASURED  # type: ignore[union-attr]
    assert len(finals) == 3


@feature("forced tool")
def forced() -> None:
    choice: Any = {"type": "tool", "name": "get_weather"}
    reply = client.messages.create(model=MODEL, max_tokens=500, messages=SEA, tools=[TOOL], tool_choice=choice)
    assert reply.content[0].name == "get_weather"  # type: ignore[union-attr]


@feature("parse (pydantic)")
def parse() -> None:
    asked: Any = [{"role": "user", "content": "Ada?"}]
    reply = client.messages.parse(model=MODEL, max_tokens=500, messages=asked, output_format=Person)
    assert reply.parsed_output == Person(name="Ada", age=36)


@feature("count_tokens")
def count() -> None:
    assert client.messages.count_tokens(model=MODEL, messages=SEA, tools=[TOOL]).input_tokens > 5


@feature("errors")
def errors() -> None:
    try:
        client.messages.create(model="nobody", max_tokens=5, messages=SEA)
    except anthropic.NotFoundError as error:
        assert error.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    else:
        raise AssertionError("a model that does not exist was answered")


@feature("models")
def models() -> None:
    assert MODEL in [model.id for model in client.models.list()]


if __name__ == "__main__":
    run("anthropic (Python)", "anthropic")
