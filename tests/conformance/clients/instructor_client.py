"""Instructor around the official openai package."""

from __future__ import annotations

from typing import Any

import instructor
import openai
from pydantic import BaseModel

from tests.conformance.clients.harness import BASE_URL, MODEL, feature, run

ADA: Any = [{"role": "user", "content": "Who is Ada?"}]
official = openai.OpenAI(base_url=BASE_URL, api_key="none")


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def extract(mode: instructor.Mode) -> None:
    client = instructor.from_openai(official, mode=mode)
    person = client.chat.completions.create(model=MODEL, messages=ADA, response_model=Person, max_retries=0)
    assert (person.name, person.age) == ("Ada", 36)


@feature("tools mode")
def by_tools() -> None:
    extract(instructor.Mode.TOOLS)


@feature("JSON schema mode")
def by_schema() -> None:
    extract(instructor.Mode.JSON_SCHEMA)


@feature("JSON mode")
def by_json() -> None:
    extract(instructor.Mode.JSON)


@feature("responses, tools mode")
def by_responses() -> None:
    extract(instructor.Mode.RESPONSES_TOOLS)


@feature("partial, streamed")
def partial() -> None:
    client = instructor.from_openai(official)
    parts = list(client.chat.completions.create_partial(model=MODEL, messages=ADA, response_model=Person))
    assert (parts[-1].name, parts[-1].age) == ("Ada", 36)


@feature("async")
async def asynchronous() -> None:
    client = instructor.from_openai(openai.AsyncOpenAI(base_url=BASE_URL, api_key="none"))
    person = await client.chat.completions.create(model=MODEL, messages=ADA, response_model=Person, max_retries=0)
    assert (person.name, person.age) == ("Ada", 36)


if __name__ == "__main__":
    run("instructor", "instructor")
