"""LangGraph: a graph of nodes with a tool node, and its prebuilt agent, on LangChain's ChatOpenAI."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from tests.conformance.clients.harness import BASE_URL, DEGREES, MODEL, feature, run

MEASURED = "Measured: 21 degrees; 27 degrees"
WARM = HumanMessage("How warm is it in Paris and in Rome?")
THREAD: Any = {"configurable": {"thread_id": "1"}}


@tool
def get_weather(city: str) -> str:
    """The temperature in a city."""
    return f"{DEGREES[city]} degrees"


def graph(**options: Any) -> Any:
    model = ChatOpenAI(model=MODEL, base_url=BASE_URL, api_key="none", **options).bind_tools([get_weather])

    def talk(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    built = StateGraph(MessagesState)
    built.add_node("talk", talk)
    built.add_node("tools", ToolNode([get_weather]))
    built.add_edge(START, "talk")
    built.add_conditional_edges("talk", tools_condition)
    built.add_edge("tools", "talk")
    return built.compile(checkpointer=InMemorySaver())


@feature("chat: tool graph over two questions")
def chat() -> None:
    agent = graph()
    assert agent.invoke({"messages": [WARM]}, THREAD)["messages"][-1].text == MEASURED
    again = agent.invoke({"messages": [HumanMessage("And in Oslo?")]}, THREAD)
    assert again["messages"][-1].text == "Measured: 9 degrees"


@feature("chat: streamed")
def streamed() -> None:
    pieces = [
        message.text
        for message, place in graph(streaming=True).stream({"messages": [WARM]}, THREAD, stream_mode="messages")
        if place["langgraph_node"] == "talk"
    ]
    assert "".join(pieces) == MEASURED
    assert len(pieces) > 3


@feature("responses: tool graph over two questions")
def responses() -> None:
    agent = graph(use_responses_api=True)
    assert agent.invoke({"messages": [WARM]}, THREAD)["messages"][-1].text == MEASURED
    again = agent.invoke({"messages": [HumanMessage("And in Oslo?")]}, THREAD)
    assert again["messages"][-1].text == "Measured: 9 degrees"


if __name__ == "__main__":
    run("LangGraph", "langgraph")
