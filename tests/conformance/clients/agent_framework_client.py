"""Microsoft's agent-framework: its default client, which speaks responses, and the one for chat completions."""

from __future__ import annotations

from typing import Any

from agent_framework import Agent
from agent_framework.openai import OpenAIChatClient, OpenAIChatCompletionClient
from pydantic import BaseModel

from tests.conformance.clients.harness import BASE_URL, DEGREES, MODEL, TALK, feature, run

SEA = "Tell me of the sea."
WARM = "How warm is it in Paris and in Rome?"
CLIENTS: dict[str, Any] = {"responses": OpenAIChatClient, "chat": OpenAIChatCompletionClient}


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def get_weather(city: str) -> str:
    """The temperature in a city."""
    return f"{DEGREES[city]} degrees"


def agent(form: str, **options: Any) -> Any:
    client = CLIENTS[form](model=MODEL, base_url=BASE_URL, api_key="none")
    # By default it asks to continue the stored response of the last call, and nothing is stored here.
    return Agent(client, "Be brief.", default_options={"store": False}, **options)


for form in CLIENTS:

    @feature(f"{form}: agent")
    async def plain(form: str = form) -> None:
        assert (await agent(form).run(SEA)).text == TALK

    @feature(f"{form}: streamed")
    async def streamed(form: str = form) -> None:
        running = agent(form).run(SEA, stream=True)
        assert len([update async for update in running]) > 3
        assert (await running.get_final_response()).text == TALK

    @feature(f"{form}: tools over two questions")
    async def tools(form: str = form) -> None:
        acting = agent(form, tools=[get_weather])
        session = acting.create_session()
        assert (await acting.run(WARM, session=session)).text == "Measured: 21 degrees; 27 degrees"
        assert (await acting.run("And in Oslo?", session=session)).text == "Measured: 9 degrees"

    @feature(f"{form}: tools, streamed")
    async def tools_streamed(form: str = form) -> None:
        final = await agent(form, tools=[get_weather]).run(WARM, stream=True).get_final_response()
        assert final.text == "Measured: 21 degrees; 27 degrees"

    @feature(f"{form}: structured output")
    async def structured(form: str = form) -> None:
        reply = await agent(form).run("Ada?", options={"response_format": Person})
        assert reply.value == Person(name="Ada", age=36)


if __name__ == "__main__":
    run("agent-framework (Microsoft)", "agent-framework-openai")
