"""The console in a real browser, used as a person does: by keyboard, on a phone, with and without a key.

Skipped unless `make browser` has installed what drives the browser.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from emerge_core.config import default_config, parse_config

TOOLS = Path(__file__).parents[2] / ".tools" / "browser"
CHROMIUM = os.environ.get("EMERGE_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
SHOTS = os.environ.get("EMERGE_SCREENSHOTS")  # a folder to keep a picture of each tab in
if TOOLS.exists():
    sys.path.append(str(TOOLS))
try:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright
except ImportError:
    pytest.skip("playwright is not installed for this Python (make browser)", allow_module_level=True)
if CHROMIUM is None:
    pytest.skip("there is no Chromium on this machine (make browser)", allow_module_level=True)

DISPUTED = """
providers: {sim: {kind: simulated}, away: {kind: openai, base_url: "http://127.0.0.1:9/v1", max_retries: 0}}
models:
  alder: {provider: sim, model: sim-a, family: alder, accuracy: 0.85, price: {input: 0.1, output: 0.4}}
  birch: {provider: sim, model: sim-b, family: birch, accuracy: 0.8, price: {input: 0.15, output: 0.6}}
  cedar: {provider: sim, model: sim-c, family: cedar, accuracy: 0.75, price: {input: 0.1, output: 0.3}}
  oak: {provider: sim, model: sim-oak, family: oak, accuracy: 1, price: {input: 3, output: 15}}
  gone: {provider: away, model: gone, family: gone}
ensembles:
  disputed: {members: [alder, birch, cedar], aggregator: vote, escalate: {to: oak, final: adjudicate}}
  lame: {members: [alder, gone, cedar], aggregator: vote, early_decision: false}
baseline: oak
"""
PROSE = "Tides rise because the moon pulls at the sea, and they fall as the earth turns on."


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """`visit(url)` opens the console, and returns its page once it is ready. Afterwards no script must have failed, and
    nothing must have been refused by the page's own policy."""
    faults: list[str] = []
    contexts = []

    def open_page(url: str, *, ready: bool = True, **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1180, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(url + "/")
        if ready:
            page.wait_for_selector("body[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [fault for fault in faults if "401 (Unauthorized)" not in fault] == []


def ask(page: Any, question: str, *, model: str | None = None) -> None:
    if model:
        page.select_option("#model", model)
    page.locator("#question").focus()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type(question)
    page.keyboard.press("Enter")
    page.wait_for_selector(".tail")


def cards(page: Any) -> dict[str, str]:
    """What each card of the panel says, by model."""
    found = page.locator(".cards > .member").all()
    return {card.locator("h3").inner_text(): card.inner_text() for card in found}


def test_a_question_is_asked_by_keyboard_and_the_vote_is_shown(show: Any, visit: Any) -> None:
    page = visit(show(default_config()))
    ask(page, "What is 3 + 4 * (7 - 2)?")
    assert "23" in page.locator(".answer .said").inner_text()
    verdict = page.locator(".verdict").inner_text()
    assert verdict == "2 of 3 models agree on “23”: sim-a and sim-c. sim-b said “3” and was outvoted."
    found = cards(page)
    assert list(found) == ["sim-a", "sim-b", "sim-c"]
    assert "outvoted" in found["sim-b"]
    assert "agrees" in found["sim-a"]
    votes = [row.inner_text().split("\n") for row in page.locator(".vote").all()]
    assert [(row[0], row[-2] if row[-1] == "the most" else row[-1]) for row in votes] == [
        ("23", "2 of 3"),
        ("3", "1 of 3"),
    ]
    assert "simulated models are free" in page.locator(".facts").inner_text()
    page.get_by_text("Raw reply").click()
    assert '"object": "chat.completion"' in page.locator(".raw pre").inner_text()


def test_a_dispute_is_shown_side_by_side_with_who_settled_it(show: Any, visit: Any) -> None:
    page = visit(show(parse_config(DISPUTED, source="test")))
    ask(page, "What is 3 + 4 * (7 - 2)?", model="disputed")
    assert [side.inner_text().split("\n")[0] for side in page.locator(".side").all()] == ["23", "3"]
    found = cards(page)
    assert "settled it" in found["oak"]
    assert "upheld" in found["alder"]
    assert "overruled" in found["birch"]
    assert "oak was shown the answers and settled it: “23”." in page.locator(".verdict").inner_text()
    assert "at oak" in page.locator(".facts").inner_text()
    assert "the baseline, not asked" in page.locator(".bars .baseline").inner_text()


def test_a_member_that_fails_says_why(show: Any, visit: Any) -> None:
    page = visit(show(parse_config(DISPUTED, source="test")))
    ask(page, "What is 3 + 4 * (7 - 2)?", model="lame")
    found = cards(page)["gone"]
    assert "failed" in found
    assert "connection failed" in found
    assert "gone gave no usable answer." in page.locator(".verdict").inner_text()
    page.get_by_role("tab", name="Requests").click()
    page.wait_for_selector(".expand")
    assert "degraded" in page.locator(".requests tbody tr").first.inner_text()
    page.locator(".expand").focus()
    page.keyboard.press("Enter")
    assert "connection" in page.locator(".detail").inner_text()
    assert page.locator(".expand").get_attribute("aria-expanded") == "true"


def test_a_member_that_is_cancelled_is_named(show: Any, visit: Any, upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("The answer is 42."), "c": says("41", delay=60)}
    page = visit(show(panels('{"emerge": {"members": ["a", "b", "c"], "aggregator": "vote"}}')))
    ask(page, "What is 6 times 7?")
    assert "cancelled" in cards(page)["c"]
    assert "c was cancelled: it could not change the outcome" in page.locator(".verdict").inner_text()
    assert "decided early" in page.locator(".facts").inner_text()


def test_cards_fill_as_members_land_and_stop_ends_it(
    show: Any, visit: Any, upstream: Any, says: Any, panels: Any
) -> None:
    upstream.script = {"a": says("The answer is 42."), "b": says("The answer is 42.", delay=60)}
    url = show(panels('{"emerge": {"members": ["a", "b"], "aggregator": "vote", "early_decision": false}}'))
    page = visit(url)
    page.locator("#question").fill("What is 6 times 7?")
    page.keyboard.press("Enter")
    page.locator(".member", has_text="answered").wait_for()
    found = cards(page)
    assert "42" in found["a"]
    assert "asking" in found["b"]
    assert "1 of 2 models answered." in page.locator(".answer").inner_text()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped. What was asked so far may be billed.").wait_for()
    assert "not finished" in cards(page)["b"]
    page.get_by_role("tab", name="Requests").click()
    page.get_by_text("client left").wait_for()


def test_the_request_can_be_copied_and_run(show: Any, visit: Any) -> None:
    page = visit(show(default_config()), permissions=["clipboard-read", "clipboard-write"])
    ask(page, "What's 3 + 4 * (7 - 2)?")
    page.get_by_role("button", name="Copy as Python").click()
    page.get_by_role("button", name="Copied").wait_for()
    script = page.evaluate("navigator.clipboard.readText()")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("The answer is")
    page.get_by_role("button", name="Copy as curl").click()
    page.wait_for_function("navigator.clipboard.readText().then((text) => text.startsWith('curl'))")
    command = shlex.split(page.evaluate("navigator.clipboard.readText()"))
    assert command[:2] == ["curl", f"{page.url.partition('#')[0]}v1/chat/completions"]
    assert json.loads(command[-1])["messages"] == [{"role": "user", "content": "What's 3 + 4 * (7 - 2)?"}]


def test_content_is_listed_only_if_the_config_logs_it(show: Any, visit: Any) -> None:
    text = DISPUTED + "trace: full\nlog_content: true\n"
    for config, kept in ((DISPUTED, False), (text, True)):
        page = visit(show(parse_config(config, source="test")))
        ask(page, "What is 3 + 4 * (7 - 2)?", model="disputed")
        page.get_by_role("tab", name="Requests").click()
        page.locator(".expand").click()
        found = page.locator("#requests").inner_text()
        assert ("What is 3 + 4" in found, "The answer is 23." in found) == (kept, kept)
        assert ("No question and no reply is kept." in found) != kept


def test_an_answer_is_shown_while_it_streams(show: Any, visit: Any, upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says(PROSE, waits_after=6)}
    page = visit(show(panels('{"chat": {"members": ["a"], "strategy": "fallback"}}')))
    page.locator("#question").fill("Why are there tides?")
    page.keyboard.press("Enter")
    page.get_by_text("Tides rise because the moon").first.wait_for()
    assert page.get_by_role("button", name="Stop").is_visible()
    assert "turns on" not in page.locator(".answer").inner_text()
    upstream.gate.set()
    page.wait_for_selector(".tail")
    assert page.locator(".answer .said").inner_text() == PROSE


def test_a_total_failure_is_told(show: Any, visit: Any, upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says(status=401)}
    page = visit(show(panels('{"only": {"members": ["a"]}}')))
    ask(page, "What is 1 + 1?")
    assert "no answer" in page.locator(".answer h2").inner_text().lower()
    assert "auth 401" in page.locator(".answer").inner_text()


def test_a_refused_parameter_is_listed_with_its_reason(
    show: Any, visit: Any, upstream: Any, says: Any, panels: Any
) -> None:
    refusal = "Unsupported parameter: 'temperature' is not supported by this model: What is 1 + 1?"
    upstream.script = {"a": [says(status=400, error=refusal), says("2")]}
    page = visit(show(panels('{"only": {"members": ["a"]}}')))
    page.get_by_text("Options", exact=True).click()
    page.locator("#temperature").fill("0.5")
    ask(page, "What is 1 + 1?")
    page.get_by_role("tab", name="Requests").click()
    card = page.locator("article", has_text="Parameters that models refused")
    card.locator("li").wait_for()
    assert "HTTP 400: Unsupported parameter: 'temperature'; sent again in 60 min" in card.inner_text()
    assert "1 + 1" not in card.inner_text()


def test_a_wrong_key_is_asked_for_again(show: Any, visit: Any) -> None:
    page = visit(show(default_config(), keys=("right",)), ready=False)
    page.wait_for_selector("dialog[open]")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    page.get_by_text("The server does not accept this key.").wait_for()
    page.keyboard.type("right")
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-ready]")
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
    ask(page, "What is 3 + 4 * (7 - 2)?")
    assert "23" in page.locator(".answer .said").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_tab_is_accessible(show: Any, visit: Any, scheme: str) -> None:
    page = visit(show(parse_config(DISPUTED, source="test")), color_scheme=scheme)
    ask(page, "What is 3 + 4 * (7 - 2)?", model="disputed")
    for name in ("ask", "requests", "ensembles"):
        page.locator(f"#tab-{name}").click()
        if name == "requests":
            page.locator(".expand").first.click()
        found = Axe().run(page).response["violations"]
        serious = [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]
        assert serious == [], name
        if SHOTS:
            page.screenshot(path=f"{SHOTS}/{name}-{scheme}.png", full_page=True)


def test_the_list_begins_anew_with_another_process(show: Any, visit: Any) -> None:
    url = show(default_config())
    page = visit(url)
    ask(page, "What is 3 + 4 * (7 - 2)?")
    page.get_by_role("tab", name="Requests").click()
    page.wait_for_selector(".expand")
    other = show(default_config())

    def elsewhere(route: Any) -> None:
        route.fulfill(response=route.fetch(url=route.request.url.replace(url, other)))

    page.route("**/console/api/requests*", elsewhere)
    page.get_by_text("No request yet.").wait_for()


def test_tabs_are_changed_by_arrow_keys(show: Any, visit: Any) -> None:
    page = visit(show(default_config()))
    page.get_by_role("tab", name="Ask").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#requests").is_visible()
    assert page.get_by_role("tab", name="Requests").get_attribute("aria-selected") == "true"
    page.keyboard.press("End")
    assert "emerge-panel" in page.locator("#ensembles").inner_text()


def test_it_fits_a_phone(show: Any, visit: Any) -> None:
    page = visit(show(default_config()), viewport={"width": 360, "height": 740})
    ask(page, "What is 3 + 4 * (7 - 2)?")
    for name in ("ask", "requests", "ensembles"):
        page.locator(f"#tab-{name}").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ("Multiple choice", "2 of 3 models agree on “C”"),
        ("JSON by a schema", '"answer"'),
        ("Tool call", "get_weather"),
        ("Prose", "simulated"),
    ],
)
def test_the_examples_are_answered(show: Any, visit: Any, example: str, said: str) -> None:
    page = visit(show(default_config()))
    page.locator(".chip", has_text=example).click()
    page.get_by_role("button", name="Ask", exact=True).click()
    page.wait_for_selector(".tail")
    assert said in page.locator(".answer").inner_text()


VOTES = [{"key": "42", "members": ["a", "b"], "weight": 2}, {"key": "41", "members": ["c"], "weight": 1}]
MEMBERS = [
    {"id": id_, "model": model, "key": key, "role": "member", "status": "ok", "usable": True}
    for id_, model, key in (("1", "a", "42"), ("2", "b", "42"), ("3", "c", "41"))
]
JUDGE = {"id": "4", "model": "j", "key": None, "role": "judge", "status": "ok", "usable": True}


@pytest.mark.parametrize(
    ("emerge", "calls", "said"),
    [
        (
            {"votes": VOTES, "selected": ["1"], "rule": "vote:majority"},
            MEMBERS,
            "2 of 3 models agree on “42”: a and b. c said “41” and was outvoted.",
        ),
        (
            {"votes": VOTES, "selected": ["3"], "rule": "judge:picked"},
            [*MEMBERS, JUDGE],
            "The answer is that of c, “41”. a and b said “42” and were not chosen. j judged the answers, without "
            "names.",
        ),
        (
            {"votes": VOTES, "selected": [], "abstained": True, "rule": "abstain"},
            MEMBERS,
            "a and b said “42”; c said “41”. Too few agree, so the reply gives no answer.",
        ),
        (
            {"votes": [], "selected": ["2"], "rule": "consensus"},
            [{**call, "key": None} for call in MEMBERS],
            "The reply is the answer of b. Answers like these cannot be counted as votes.",
        ),
        (
            {"votes": [{"key": '[["pay",{"sum":3}]]', "members": ["a", "b", "c"], "weight": 3}], "selected": ["1"]},
            [{**call, "key": '[["pay",{"sum":3}]]'} for call in MEMBERS],
            "All 3 models agree on “pay(sum: 3)”.",
        ),
    ],
)
def test_what_happened_is_said_in_words(
    show: Any, visit: Any, emerge: dict[str, Any], calls: list[dict[str, Any]], said: str
) -> None:
    page = visit(show(default_config()))
    script = "([emerge, calls]) => import('/console/words.js').then((words) => words.verdict(emerge, calls).join(' '))"
    assert page.evaluate(script, [emerge, calls]) == said


def test_what_a_model_writes_is_text(show: Any, visit: Any, upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("<img src=x onerror=alert(1)> <b>bold</b>")}
    page = visit(show(panels('{"only": {"members": ["a"]}}')))
    ask(page, "Say something.")
    assert "<b>bold</b>" in page.locator(".answer .said").inner_text()
    assert page.locator(".outcome img").count() == 0
