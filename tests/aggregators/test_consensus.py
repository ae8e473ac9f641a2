"""The medoid, the configured embedder and the built-in one."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest

from emerge_core.aggregators.embedding import DIMENSIONS, embed

NEAR = ["Water boils at 100 degrees at sea level.", "At sea level, water boils at 100 degrees Celsius."]
FAR = "I would rather bake a cake with plums."


def test_the_candidate_in_the_middle_wins(cand: Any, decides: Any, scripted: Any) -> None:
    panel = [cand(0), cand(1), cand(2)]
    asker = scripted(vectors=[[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    decision = decides(panel, "consensus", asker=asker, embedder="small")
    assert (decision.selected, decision.rule, decision.agreement) == (("c2",), "consensus:medoid", None)
    assert decision.fallback is None
    assert asker.embedded == [("small", ["m0 says None", "m1 says None", "m2 says None"])]


def test_weights_pull_the_middle(cand: Any, decides: Any, scripted: Any) -> None:
    panel = [cand(0), cand(1), cand(2, weight=9), cand(3)]
    vectors = [[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 0.99]]
    assert decides(panel, "consensus", asker=scripted(vectors=vectors), embedder="small").selected == ("c3",)


def test_a_weight_beyond_all_others_is_no_trouble(cand: Any, decides: Any) -> None:
    panel = [cand(0, text=FAR, weight=1e20), cand(1, text=NEAR[0]), cand(2, text=NEAR[1])]
    assert decides(panel, "consensus").rule == "consensus:medoid"


def test_the_built_in_embedder_leaves_out_the_stranger(cand: Any, decides: Any) -> None:
    panel = [cand(0, text=FAR), cand(1, text=NEAR[0]), cand(2, text=NEAR[1])]
    assert decides(panel, "consensus").selected == ("c1",)


@pytest.mark.parametrize(
    "vectors", [None, [[1.0]], [[1.0], [1.0, 2.0], [1.0]], [[], [], []], [[1.0], [float("nan")], [1.0]]]
)
def test_a_failed_embedder_is_said(cand: Any, decides: Any, scripted: Any, vectors: Any) -> None:
    panel = [cand(0, text=FAR), cand(1, text=NEAR[0]), cand(2, text=NEAR[1])]
    decision = decides(panel, "consensus", asker=scripted(vectors=vectors), embedder="small")
    assert decision.selected == ("c1",)
    assert "embedder small failed" in decision.fallback


def test_one_usable_needs_no_embedding(cand: Any, decides: Any, scripted: Any) -> None:
    asker = scripted()
    decision = decides([cand(0, why="refusal"), cand(1)], "consensus", asker=asker, embedder="small")
    assert (decision.selected, decision.rule, asker.embedded) == (("c1",), "consensus:single", [])


def test_two_are_equally_near_to_each_other(cand: Any, decides: Any) -> None:
    assert decides([cand(1, text=FAR), cand(0, text=NEAR[0])], "consensus").selected == ("c0",)
    assert decides([cand(1, text=FAR, weight=2), cand(0, text=NEAR[0])], "consensus").selected == ("c1",)


def test_replies_without_a_word_are_compared_too(cand: Any, decides: Any) -> None:
    assert decides([cand(0, text="—"), cand(1, text="…"), cand(2, text="?!")], "consensus").selected == ("c0",)


def test_tool_calls_are_compared_by_what_they_call(cand: Any, decides: Any) -> None:
    panel = [cand(0, text=FAR), cand(1, calls=["weather:paris"]), cand(2, calls=["weather:paris today"])]
    assert decides(panel, "consensus").selected == ("c1",)


def test_vectors_have_unit_length_and_follow_the_words() -> None:
    rows = embed([*NEAR, FAR, ""])
    assert rows.shape == (4, DIMENSIONS)
    assert rows.dtype == "float32"
    assert (rows**2).sum(axis=1) == pytest.approx([1, 1, 1, 0], abs=1e-5)
    assert rows[0] @ rows[1] > 0.5 > 0.2 > abs(rows[0] @ rows[2])


def test_vectors_are_equal_in_every_process() -> None:
    code = "from emerge_core.aggregators.embedding import embed; print(embed(['Ein Satz, 42 Wörter.']).tobytes().hex())"
    runs = [
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True)
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout


def test_numpy_is_imported_only_for_embeddings() -> None:
    code = (
        "import sys; from emerge_core.aggregators import AGGREGATORS, get_aggregator; "
        "[get_aggregator(name) for name in AGGREGATORS]; print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_much_text_is_embedded_beside_the_loop(
    cand: Any, decides: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same way, with the same outcome: only the thread differs."""
    from emerge_core.aggregators import embedding

    threads: list[bool] = []

    def embed(texts: Any, *, inner: Any = embedding.embed) -> Any:
        threads.append(threading.current_thread() is threading.main_thread())
        return inner(texts)

    monkeypatch.setattr(embedding, "embed", embed)
    for length in (1, 2_000):
        panel = [cand(n, text=f"{'tides follow the moon ' * length} {n}") for n in range(3)]
        assert decides(panel, "consensus", asker=scripted()).rule == "consensus:medoid"
    assert threads == [True, False]
