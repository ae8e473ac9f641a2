"""OpenAI's Agents SDK, on responses (its default) and on chat completions."""

from __future__ import annotations

from typing import Any

from agents import (
    Agent,
    AsyncOpenAI,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from pydantic import BaseModel

from tests.conformance.clients.harness import BASE_URL, DEGREES, MODEL, TALK, feature, run

SEA = "Tell me of the sea."
set_tracing_disabled(True)  # traces would go to OpenAI


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@function_tool
def get_weather(city: str) -> str:
    """The temperature in a city."""
    return f"{DEGREES[city]} degrees"


def models() -> dict[str, Any]:
    official = AsyncOpenAI(base_url=BASE_URL, api_key="none")
    return {
        "responses": OpenAIResponsesModel(MODEL, official),
        "chat": OpenAIChatCompletionsModel(MODEL, official),
    }


async def plain(model: Any) -> None:
    done = await Runner.run(Agent(name="a", instructions="Be brief.", model=model), SEA)
    assert done.final_output == TALK
    assert done.context_wrapper.usage.total_tokens > 0


async def streamed(model: Any) -> None:
    running = Runner.run_streamed(Agent(name="a", model=model), SEA)
    deltas = [
        event.data.delta
        async for event in running.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    assert "".join(deltas) == running.final_output == TALK


async def structured(model: Any) -> None:
    done = await Runner.run(Agent(name="a", model=model, output_type=Person), "Ada?")
    assert done.final_output == Person(name="Ada", age=36)


async def tools(model: Any) -> None:
    agent = Agent(name="a", model=model, tools=[get_weather])
    done = await Runner.run(agent, "How warm is it in Paris and in Rome?")
    assert done.final_output == "Measured: 21 degrees; 27 degrees"
    again: Any = [*done.to_input_list(), {"role": "user", "content": "And in Oslo?"}]
    assert (await Runner.run(agent, again)).final_output == "Measured: 9 degrees"


async def tools_streamed(model: Any) -> None:
    running = Runner.run_streamed(Agent(name="a", model=model, tools=[get_weather]), "Paris and Rome at once?")
    async for _ in running.stream_events():
        pass
    assert running.final_output == "Measured: 21 degrees; 27 degrees"


TESTS = {
    "agent": plain,
    "streamed": streamed,
    "structured output": structured,
    "tool loop over two questions": tools,
    "tool loop, streamed": tools_streamed,
}
for form in ("responses", "chat"):
    for name, test in TESTS.items():

        @feature(f"{form}: {name}")
        async def one(form: str = form, test: Any = test) -> None:
            await test(models()[form])


if __name__ == "__main__":
    run("OpenAI Agents SDK", "openai-agents")
