"""smolagents: its tool-calling agent, which ends by a tool of its own, on chat completions."""

from __future__ import annotations

from smolagents import ChatMessage, OpenAIModel, ToolCallingAgent, tool

from tests.conformance.clients.harness import BASE_URL, DEGREES, MODEL, TALK, feature, run

model = OpenAIModel(model_id=MODEL, api_base=BASE_URL, api_key="none")


@tool
def get_weather(city: str) -> str:
    """The temperature in a city.

    Args:
        city: Its name.
    """
    return f"{DEGREES[city]} degrees"


@feature("chat")
def chat() -> None:
    assert model.generate([ChatMessage(role="user", content="Tell me of the sea.")]).content == TALK


@feature("chat, streamed")
def streamed() -> None:
    deltas = model.generate_stream([ChatMessage(role="user", content="Tell me of the sea.")])
    assert "".join(delta.content or "" for delta in deltas) == TALK


@feature("agent with tools")
def agent() -> None:
    acting = ToolCallingAgent(tools=[get_weather], model=model, max_steps=4, verbosity_level=0)
    acting.run("How warm is it in Paris?")
    called = [call.name for step in acting.memory.steps for call in getattr(step, "tool_calls", None) or ()]
    assert called == ["get_weather", "final_answer"]


if __name__ == "__main__":
    run("smolagents", "smolagents")
