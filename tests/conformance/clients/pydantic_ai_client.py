"""Pydantic AI's agents, on chat completions and on responses."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.conformance.clients.harness import BASE_URL, DEGREES, MODEL, TALK, feature, run

SEA = "Tell me of the sea."
provider = OpenAIProvider(base_url=BASE_URL, api_key="none")
chat = OpenAIChatModel(MODEL, provider=provider)
responses = OpenAIResponsesModel(MODEL, provider=provider)


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def get_weather(city: str) -> str:
    """The temperature in a city."""
    return f"{DEGREES[city]} degrees"


async def agent_loop(model: Any) -> None:
    done = await Agent(model, tools=[get_weather]).run("How warm is it in Paris and in Rome?")
    assert done.output == "Measured: 21 degrees; 27 degrees", done.output
    assert done.usage.requests == 3, done.usage


async def streamed(model: Any) -> None:
    async with Agent(model).run_stream(SEA) as result:
        texts = [text async for text in result.stream_text(delta=True, debounce_by=None)]
    assert "".join(texts) == TALK


@feature("chat")
async def plain() -> None:
    done = await Agent(chat, instructions="Be brief.").run(SEA)
    assert done.output == TALK
    assert done.usage.total_tokens > 0


@feature("chat, streamed")
async def chat_streamed() -> None:
    await streamed(chat)


@feature("structured output (tool)")
async def by_tool() -> None:
    assert (await Agent(chat, output_type=Person).run("Ada?")).output == Person(name="Ada", age=36)


@feature("structured output (schema)")
async def by_schema() -> None:
    assert (await Agent(chat, output_type=NativeOutput(Person)).run("Ada?")).output == Person(name="Ada", age=36)


@feature("tool loop")
async def tools() -> None:
    await agent_loop(chat)


@feature("tools and structured output")
async def tools_and_output() -> None:
    agent = Agent(chat, output_type=Person, tools=[get_weather])
    assert (await agent.run("How warm is it in Paris, and who is Ada?")).output == Person(name="Ada", age=36)


@feature("responses")
async def by_responses() -> None:
    assert (await Agent(responses).run(SEA)).output == TALK


@feature("responses, streamed")
async def responses_streamed() -> None:
    await streamed(responses)


@feature("responses, tool loop")
async def responses_tools() -> None:
    await agent_loop(responses)


@feature("responses, structured output")
async def responses_structured() -> None:
    for kind in (Person, NativeOutput(Person)):
        agent: Any = Agent(responses, output_type=kind)
        assert (await agent.run("Ada?")).output == Person(name="Ada", age=36)


if __name__ == "__main__":
    run("Pydantic AI", "pydantic-ai-slim")
