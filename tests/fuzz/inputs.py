"""What is tried: texts, JSON values, and valid documents with something changed. How often: as EMERGE_FUZZ says.

EMERGE_FUZZ=1, the default, always tries the same inputs. A larger number tries that many times as many, others
in every run, and says at the end how many they were.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from functools import wraps
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.families import ENDINGS, OPENINGS, UNITS

TIMES = int(os.environ.get("EMERGE_FUZZ", "1"))
tried: Counter[str] = Counter()  # inputs, by what took them

pieces = st.sampled_from([*UNITS, *OPENINGS, *ENDINGS, "\x00", "\ud800", "𝟙", "\u202e", "٣", "ß", "\u2028"])
texts = st.one_of(
    st.lists(pieces, max_size=12).map("".join),
    st.text(max_size=60),
    st.builds(lambda unit, count: unit * count, pieces, st.integers(1, 2_000)),
)
scalars = st.one_of(
    *(st.none(), st.booleans(), st.integers(-3, 300), st.integers(), st.floats(), texts),
    st.sampled_from(
        ["", "auto", "none", "text", "json_schema", "image_url", "user", "tool", 10**400, -(10**18), 1e308]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
)
nested = st.integers(1, 3_000).map(lambda depth: "[" * depth + "]" * depth)  # as text: few printers write it


def fuzzed(
    examples: int = 150, **inputs: st.SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The test is given these inputs, `examples` times EMERGE_FUZZ."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @settings(
            max_examples=examples * TIMES,
            derandomize=TIMES == 1,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(**inputs)
        @wraps(test)
        def counted(*args: Any, **more: Any) -> None:
            tried[test.__name__] += 1
            test(*args, **more)

        return counted

    return decorate


@st.composite
def changed(draw: st.DrawFn, valid: st.SearchStrategy[Any]) -> Any:
    """A valid document with up to three of its values replaced, left out, or repeated; sometimes untouched."""
    document = deepcopy(draw(valid))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from(_places(document) or [None]))
        if place is None:
            break
        holder, name = place
        match draw(st.sampled_from(["replace", "replace", "replace", "remove", "repeat"])):
            case "remove":
                del holder[name]
            case "repeat" if isinstance(holder, list):
                holder.insert(name, deepcopy(holder[name]))
            case _:
                holder[name] = draw(values)
    return document


def _places(node: Any) -> list[Any]:
    names = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
    return [place for name in names for place in ((node, name), *_places(node[name]))]
