"""The official openai package."""

from __future__ import annotations

import json
from typing import Any

import openai
from pydantic import BaseModel

from tests.conformance.clients.harness import BASE_URL, DEGREES, EMBEDDER, MODEL, TALK, feature, run

USER: Any = [{"role": "user", "content": "Tell me of the sea."}]
PARAMETERS: Any = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Any = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}
FLAT: Any = {"type": "function", "name": "get_weather", "parameters": PARAMETERS, "strict": True}
# As applications make it: key and base URL, nothing else.
client = openai.OpenAI(base_url=BASE_URL, api_key="none")


class Person(BaseModel):
    name: str
    age: int


def tool(function: dict[str, Any]) -> str:
    return f"{DEGREES[json.loads(function['arguments'])['city']]} degrees"


def loop(question: str, most: int = 20) -> tuple[str, int]:
    """What an agent does: asks, runs the tools, and asks again. The answer, and in how many turns."""
    messages: list[Any] = [{"role": "user", "content": question}]
    for turn in range(1, most):
        message = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER]).choices[0].message
        messages.append(message)
        if not message.tool_calls:
            return message.content or "", turn
        for call in message.tool_calls:
            done = tool(call.to_dict()["function"])  # type: ignore[arg-type]
            messages.append({"role": "tool", "tool_call_id": call.id, "content": done})
    raise AssertionError("the loop does not end")


@feature("chat")
def chat() -> None:
    completion = client.chat.completions.create(model=MODEL, messages=USER, temperature=0.2, max_tokens=100, user="u")
    (choice,) = completion.choices
    assert (choice.message.content, choice.message.role, choice.finish_reason) == (TALK, "assistant", "stop")
    assert completion.usage
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens > 0
    assert completion._request_id


@feature("chat, cut off")
def cut() -> None:
    choice = client.chat.completions.create(model=MODEL, messages=USER, max_tokens=2).choices[0]
    assert choice.finish_reason == "length"


@feature("chat, streamed")
def streamed() -> None:
    chunks = list(
        client.chat.completions.create(model=MODEL, messages=USER, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == TALK
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage
    assert chunks[-1].choices == []
    assert chunks[-2].choices[0].finish_reason == "stop"


@feature("streaming helper")
def helper() -> None:
    with client.chat.completions.stream(model=MODEL, messages=USER) as events:
        text = "".join(event.delta for event in events if event.type == "content.delta")
        final = events.get_final_completion()
    assert text == final.choices[0].message.content == TALK


@feature("async")
async def asynchronous() -> None:
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key="none") as official:
        whole = await official.chat.completions.create(model=MODEL, messages=USER)
        parts = await official.chat.completions.create(model=MODEL, messages=USER, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in parts if chunk.choices])
    assert whole.choices[0].message.content == text == TALK


@feature("parse (pydantic)")
def parse() -> None:
    parsed = client.chat.completions.parse(model=MODEL, messages=USER, response_format=Person).choices[0].message
    assert parsed.parsed == Person(name="Ada", age=36)


@feature("parse, streamed")
def parse_streamed() -> None:
    with client.chat.completions.stream(model=MODEL, messages=USER, response_format=Person) as events:
        assert events.get_final_completion().choices[0].message.parsed == Person(name="Ada", age=36)


@feature("JSON mode")
def json_mode() -> None:
    asked: Any = [{"role": "user", "content": "Tell me of Ada in JSON."}]
    reply = client.chat.completions.create(model=MODEL, messages=asked, response_format={"type": "json_object"})
    assert json.loads(reply.choices[0].message.content or "")["name"] == "Ada"


@feature("tool loop")
def tools() -> None:
    answer, turns = loop("How warm is it in Paris and in Rome?")
    assert (answer, turns) == ("Measured: 21 degrees; 27 degrees", 3)


@feature("tool loop of ten turns")
def long_loop() -> None:
    cities = ", ".join([*DEGREES, *list(DEGREES)[:4]])
    answer, turns = loop(f"How warm is it in {cities}?")
    assert turns == 10
    assert answer.count("degrees") == 9


@feature("parallel tool calls")
def parallel() -> None:
    answer, turns = loop("At once (that is: at once): Paris, Rome and Oslo?")
    assert (answer, turns) == ("Measured: 21 degrees; 27 degrees; 9 degrees", 2)


@feature("forced tool")
def forced() -> None:
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        asked: Any = {"model": MODEL, "messages": USER, "tools": [WEATHER], "tool_choice": choice}
        (reply,) = client.chat.completions.create(**asked).choices
        assert reply.finish_reason in ("tool_calls", "stop")
        assert reply.message.tool_calls
        assert reply.message.tool_calls[0].type == "function"


@feature("tool calls, streamed")
def tools_streamed() -> None:
    asked: Any = [{"role": "user", "content": "Paris and Rome at once?"}]
    with client.chat.completions.stream(model=MODEL, messages=asked, tools=[WEATHER]) as events:
        done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
        final = events.get_final_completion().choices[0]
    assert [json.loads(event.arguments)["city"] for event in done] == ["Paris", "Rome"]
    assert final.finish_reason == "tool_calls"
    assert len({call.id for call in final.message.tool_calls or ()}) == 2


@feature("embeddings")
def embeddings() -> None:
    reply = client.embeddings.create(model=EMBEDDER, input=["one", "three"], dimensions=3)
    assert [row.embedding for row in reply.data] == [[3.0, 0.5, 0.5], [5.0, 0.5, 0.5]]
    plain = client.embeddings.create(model=EMBEDDER, input="one", encoding_format="float")
    assert plain.data[0].embedding == [3.0, 0.5, 0.5, 0.5]
    assert plain.usage.prompt_tokens == 5
    assert client.embeddings.create(model=EMBEDDER, input=[[1, 2]]).data[0].embedding[0] == 2.0


@feature("responses")
def responses() -> None:
    response = client.responses.create(model=MODEL, input="Tell me of the sea.", instructions="Be brief.")
    assert (response.output_text, response.status) == (TALK, "completed")
    assert response.usage
    assert response.usage.total_tokens > 0


@feature("responses, streamed")
def responses_streamed() -> None:
    with client.responses.stream(model=MODEL, input="Tell me of the sea.") as events:
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert text == events.get_final_response().output_text == TALK


@feature("responses, parse")
def responses_parse() -> None:
    assert client.responses.parse(model=MODEL, input="Ada?", text_format=Person).output_parsed == Person(
        name="Ada", age=36
    )


@feature("responses, tool loop")
def responses_tools() -> None:
    items: list[Any] = [{"role": "user", "content": "How warm is it in Paris and in Rome?"}]
    for _ in range(5):
        response = client.responses.create(model=MODEL, input=items, tools=[FLAT])
        calls = [item for item in response.output if item.type == "function_call"]
        items += response.output
        if not calls:
            break
        items += [
            {"type": "function_call_output", "call_id": call.call_id, "output": tool({"arguments": call.arguments})}
            for call in calls
        ]
    assert response.output_text == "Measured: 21 degrees; 27 degrees"


@feature("errors")
def errors() -> None:
    try:
        client.chat.completions.create(model="no-such-model", messages=USER)
    except openai.NotFoundError as error:
        assert (error.code, error.param) == ("model_not_found", "model")
        assert error.request_id
    else:
        raise AssertionError("an unknown model was found")
    try:
        client.chat.completions.create(model=MODEL, messages=USER, temperature=9)
    except openai.BadRequestError as error:
        assert error.param == "temperature"
    else:
        raise AssertionError("a temperature of 9 was taken")


@feature("models")
def models() -> None:
    assert {MODEL, EMBEDDER} <= {model.id for model in client.models.list()}
    assert client.models.retrieve(MODEL).id == MODEL


if __name__ == "__main__":
    run("openai (Python)", "openai")
