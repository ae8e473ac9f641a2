"""LangChain's ChatOpenAI and OpenAIEmbeddings."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from tests.conformance.clients.harness import BASE_URL, DEGREES, EMBEDDER, MODEL, TALK, feature, run

SEA = "Tell me of the sea."
chat = ChatOpenAI(model=MODEL, base_url=BASE_URL, api_key="none")
responses = ChatOpenAI(model=MODEL, base_url=BASE_URL, api_key="none", use_responses_api=True)


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """The temperature in a city."""
    return f"{DEGREES[city]} degrees"


def loop(model: Any) -> str:
    messages: list[Any] = [HumanMessage("How warm is it in Paris and in Rome?")]
    bound = model.bind_tools([get_weather])
    for _ in range(5):
        reply = bound.invoke(messages)
        messages.append(reply)
        if not reply.tool_calls:
            return str(reply.text)
        for call in reply.tool_calls:
            done = get_weather.invoke(call["args"])
            messages.append(ToolMessage(done, tool_call_id=call["id"]))
    raise AssertionError("the loop does not end")


@feature("chat")
def invoke() -> None:
    reply = chat.invoke(SEA)
    assert reply.content == TALK
    assert reply.usage_metadata
    assert reply.usage_metadata["total_tokens"] > 0


@feature("chat, streamed")
def stream() -> None:
    chunks = list(chat.stream(SEA, stream_usage=True))  # with a base URL it does not ask for usage by itself
    assert "".join(str(chunk.content) for chunk in chunks) == TALK
    assert any(chunk.usage_metadata for chunk in chunks)


@feature("async")
async def asynchronous() -> None:
    assert (await chat.ainvoke(SEA)).content == TALK
    assert "".join([str(chunk.content) async for chunk in chat.astream(SEA)]) == TALK


@feature("structured output")
def structured() -> None:
    for method in ("json_schema", "function_calling"):
        assert chat.with_structured_output(Person, method=method).invoke("Ada?") == Person(name="Ada", age=36)


@feature("tool loop")
def tools() -> None:
    assert loop(chat) == "Measured: 21 degrees; 27 degrees"


@feature("tool calls, streamed")
def tools_streamed() -> None:
    whole: Any = None
    for chunk in chat.bind_tools([get_weather]).stream("Paris and Rome at once?"):
        whole = chunk if whole is None else whole + chunk
    assert [call["args"]["city"] for call in whole.tool_calls] == ["Paris", "Rome"]


@feature("responses")
def by_responses() -> None:
    assert responses.invoke(SEA).text == TALK


@feature("responses, streamed")
def by_responses_streamed() -> None:
    assert "".join(str(chunk.text) for chunk in responses.stream(SEA)) == TALK


@feature("responses, tool loop")
def by_responses_tools() -> None:
    assert loop(responses) == "Measured: 21 degrees; 27 degrees"


@feature("responses, structured output")
def by_responses_structured() -> None:
    assert responses.with_structured_output(Person).invoke("Ada?") == Person(name="Ada", age=36)


@feature("embeddings")
def embeddings() -> None:
    # Its check of the length needs a tokenizer's file from the network; without it the texts are sent.
    embedder = OpenAIEmbeddings(model=EMBEDDER, base_url=BASE_URL, api_key="none", check_embedding_ctx_length=False)
    assert embedder.embed_documents(["one", "three"]) == [[3.0, 0.5, 0.5, 0.5], [5.0, 0.5, 0.5, 0.5]]
    assert embedder.embed_query("one")[0] == 3.0


if __name__ == "__main__":
    run("LangChain (langchain-openai)", "langchain-openai")
