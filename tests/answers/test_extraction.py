"""What a reply says, case by case: question, reply, key. The mistakes that other routers make come first."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emerge_core.answers import Extractor
from emerge_core.answers.extractor import MAX_READ
from emerge_core.answers.forms.json_keys import MAX_LEAVES
from emerge_core.types import AnswerKey, ChatRequest, Completion

SUM = "Natalia sold 48 clips in April and half as many in May. How many clips did she sell altogether?"
VALUE = "What is the value of $x$ if $3x + 1 = 37$?"
CAPITAL = "Which city is the capital of Australia?"
POLAR = "Is the Pacific larger than the Atlantic?"
CODE = "What does this print? Give the output as a literal.\n```python\nprint(f('x'))\n```"
CITIES = "Which city lies on the Seine?\n\nA. London\nB. Paris\nC. Rome\nD. New York City"
APPROACHES = (
    "What should be tried first?\n\nA) A good approach to caching\nB) Doing nothing\nC) Both of these\nD) I do not care"
)
FIGURES = "How far is it?\n\n(A) 12 km\n(B) 1,200 km\n(C) 3/4 km\n(D) -12 km\n(E) 12 miles"
RHINE = "Which city lies on the Rhine?\n\nA. London\nB. Paris\nC. Rome\nD. None of the above"
LOWER = "Which city lies on the Seine?\n\na) London\nb) Paris\nc) Rome"
INLINE = "Which city lies on the Seine? (A) London (B) Paris (C) New York City"
COUNTED = "How many of these are rivers? (a) Rhine (b) Paris (c) Seine"
TEN = "Pick one.\n\n" + "\n".join(f"{letter}. option number {index}" for index, letter in enumerate("ABCDEFGHIJ"))


def key_of(question: str, reply: str, finish_reason: str = "stop") -> AnswerKey | None:
    extractor = Extractor.of(ChatRequest(messages=({"role": "user", "content": question},)))
    return extractor.key(Completion(text=reply, finish_reason=finish_reason))


def spelled(key: AnswerKey | None) -> str | None:
    return f"{key.kind}:{key.value}" if key else None


PEERS_MISTAKES = [
    # a sentence that starts with "A" is no vote for A
    (CITIES, "A city on the Seine is a common description, but many rivers have such cities.", None),
    (APPROACHES, "A good approach needs more thought than this question gives it room for, I would say.", None),
    (CITIES, "I think that a long walk along the river is worth it in any of these places.", None),
    (TEN, "I would need to see the whole list before choosing.", None),
    # markdown alone must not split votes
    (CITIES, "**Answer:** B", "letter:B"),
    (CITIES, "**Answer: B**", "letter:B"),
    (CITIES, "**Answer**: B", "letter:B"),
    (SUM, "#### 1000", "number:1000"),
    (SUM, "#### 1,000", "number:1000"),
    (SUM, r"\boxed{12}", "number:12"),
    (SUM, r"The answer is \boxed{12}.", "number:12"),
    (SUM, "1,000.00", "number:1000"),
    (SUM, "1000", "number:1000"),
    # a rating is not its zero
    ("How many of ten points?", "8/10", "number:4/5"),
    ("How would you rate this essay?", "8/10", "number:4/5"),
    # role names inside an answer cut nothing
    (SUM, 'The log says "User: 12" and "Assistant: 13". The answer is 72.', "number:72"),
    (CAPITAL, "User: hello\nAssistant: hi\nThe answer is Canberra.", "text:canberra"),
    # short answers are full answers
    (CITIES, "B", "letter:B"),
    (SUM, "42", "number:42"),
]

LETTERS = [
    (CITIES, "B.", "letter:B"),
    (CITIES, "(B)", "letter:B"),
    (CITIES, "B)", "letter:B"),
    (CITIES, "**B**", "letter:B"),
    (CITIES, "`B`", "letter:B"),
    (CITIES, '"B"', "letter:B"),
    (CITIES, "b", "letter:B"),
    (CITIES, "(b)", "letter:B"),
    (CITIES, "[B]", "letter:B"),
    (CITIES, "B: Paris", "letter:B"),
    (CITIES, "B) Paris", "letter:B"),
    (CITIES, "B. Paris", "letter:B"),
    (CITIES, "(B) Paris", "letter:B"),
    (CITIES, "B - Paris", "letter:B"),
    (CITIES, "B Paris", "letter:B"),
    (CITIES, "Option B", "letter:B"),
    (CITIES, "option (b)", "letter:B"),
    (CITIES, "Answer: B", "letter:B"),
    (CITIES, "Answer: (B) Paris", "letter:B"),
    (CITIES, "answer: b", "letter:B"),
    (CITIES, "ANSWER: B", "letter:B"),
    (CITIES, "Final answer: B", "letter:B"),
    (CITIES, "Final Answer: **B**", "letter:B"),
    (CITIES, "## Final Answer\n\nB", "letter:B"),
    (CITIES, "### Answer\n**(B)**", "letter:B"),
    (CITIES, "**Final Answer**\n\n(B) Paris", "letter:B"),
    (CITIES, "The answer is B.", "letter:B"),
    (CITIES, "The answer is (B).", "letter:B"),
    (CITIES, "The answer is **B**.", "letter:B"),
    (CITIES, "The answer is **(B) Paris**.", "letter:B"),
    (CITIES, "The answer is: B", "letter:B"),
    (CITIES, "The correct answer is B.", "letter:B"),
    (CITIES, "The correct answer is option B.", "letter:B"),
    (CITIES, "The correct option is B", "letter:B"),
    (CITIES, "The best choice is (B), because Paris lies on the Seine.", "letter:B"),
    (CITIES, "The answer is B because Paris lies there.", "letter:B"),
    (CITIES, "The answer would be B.", "letter:B"),
    (CITIES, "So the answer must be (B).", "letter:B"),
    (CITIES, "The answer to the question is B.", "letter:B"),
    (CITIES, "The answer choice is B.", "letter:B"),
    (CITIES, "The answer is therefore (B).", "letter:B"),
    (CITIES, "The answer is most likely B.", "letter:B"),
    (CITIES, r"The answer is $\boxed{B}$.", "letter:B"),
    (CITIES, r"\boxed{\text{B}}", "letter:B"),
    (CITIES, r"\boxed{\textbf{(B)}}", "letter:B"),
    (CITIES, "Option B is correct.", "letter:B"),
    (CITIES, "(B) is the correct answer.", "letter:B"),
    (CITIES, "Rome lies on the Tiber and London on the Thames. B is the right choice.", "letter:B"),
    (CITIES, "Let us see.\n\nB", "letter:B"),
    (CITIES, "The Thames flows through London, so it cannot be that one.\n\n(B) Paris", "letter:B"),
    (CITIES, "B. Paris\n\nThe Seine flows through it for some thirteen kilometres, past Notre-Dame.", "letter:B"),
    (CITIES, "The city that lies on the Seine, and has for two thousand years, is known as B. Paris.", "letter:B"),
    (CITIES, "(B) Paris is the correct answer.", "letter:B"),
    (CITIES, "London is on the Thames, so option B, Paris, is correct.", "letter:B"),
    (CITIES, "A careful look at the map shows that Paris, I would say, is the correct one of these four.", None),
    (CITIES, "While (A) and its river are tempting, and (C) is old, the city on the Seine is the best of them.", None),
    (CITIES, "#### B", "letter:B"),
    (CITIES, "#### A. London\nOn the Thames.\n#### B. Paris\nOn the Seine.", None),
    (CITIES, "<think>It may be A. The answer is A", None),
    (CITIES, "Having looked at each river in turn, the one that remains is (B).", "letter:B"),
    (CITIES, '{"reasoning": "A is on the Thames.", "answer": "B"}', "letter:B"),
    (CITIES, '```json\n{"answer": "B"}\n```', "letter:B"),
    (CITIES, '{"answer": "B) Paris"}', "letter:B"),
    (CITIES, '{"choice": "B"}', "letter:B"),
    (CITIES, "<think>Maybe A? The answer is A.</think>B", "letter:B"),
    (FIGURES, "B", "letter:B"),
    (CITIES, "B\n\nExplanation: Paris lies on the Seine, London (A) on the Thames.", "letter:B"),
    (CITIES, "**B**\n\nExplanation: London is on the Thames.", "letter:B"),
    (CITIES, "B\n\nA. London is on the Thames.\nB. Paris is on the Seine.", "letter:B"),
    (CITIES, "I would go with B.", "letter:B"),
    (CITIES, "I'd choose option (B).", "letter:B"),
    (CITIES, "It's B.", "letter:B"),
    (CITIES, "London is on the Thames. Therefore, B.", "letter:B"),
    (CITIES, "The Thames is in London. So it must be B, Paris.", "letter:B"),
    (CITIES, "It is a city that lies on the Seine.", None),
    (RHINE, "None of the above", "letter:D"),
    (RHINE, "**None of the above.**", "letter:D"),
    (RHINE, "The answer is none of the above.", "letter:D"),
    (CITIES, "None of the above.", None),
    *[(LOWER, reply, "letter:B") for reply in ("b", "B", "(b)", "b) Paris", "The answer is b.", "Paris")],
    *[(INLINE, reply, "letter:B") for reply in ("b", "B", "(B)", "B) Paris", "The answer is (B) Paris.", "Paris")],
    (INLINE, "New York City", "letter:C"),
    (INLINE, "A city that lies there is what they ask for, I suppose.", None),
    (COUNTED, "2", "number:2"),
    # by the option's own text
    (CITIES, "Paris", "letter:B"),
    (CITIES, "paris.", "letter:B"),
    (CITIES, "The answer is Paris.", "letter:B"),
    (CITIES, "**Paris**", "letter:B"),
    (CITIES, "The answer is New York City.", "letter:D"),
    (CITIES, "new york city", "letter:D"),
    (FIGURES, "1200 km", "letter:B"),
    (FIGURES, "The answer is 1,200 km.", "letter:B"),
    (FIGURES, "-12 km", "letter:D"),
    (FIGURES, "12 miles", "letter:E"),
    (APPROACHES, "A good approach to caching", "letter:A"),
    (APPROACHES, "The answer is doing nothing.", "letter:B"),
    (APPROACHES, "I do not care", "letter:D"),
    # several statements: the last explicit one
    (CITIES, "The answer is A. Wait, no: the answer is B.", "letter:B"),
    (CITIES, "Answer: A\n\nOn reflection,\n\nAnswer: B", "letter:B"),
    (CITIES, '{"answer": "A"}\n\nCorrection:\n\n{"answer": "B"}', "letter:B"),
    (CITIES, "First I thought (A) and (C) possible. The answer is (B).", "letter:B"),
    (CITIES, "The answer is (B). The other options, such as (A), lie on other rivers.", "letter:B"),
    (CITIES, "The answer is (B).\n\nQuestion: Which city lies on the Tiber?\nAnswer: (C)", "letter:B"),
    # none
    (CITIES, "The answer is (X).", None),
    (CITIES, "Please end with: The answer is (X).", None),
    (CITIES, "The answer is F.", None),
    (CITIES, "F", None),
    (CITIES, "A and B", None),
    (CITIES, "A or B", None),
    (CITIES, "A, B", None),
    (CITIES, "(A) and (C)", None),
    (CITIES, "The answer is A or B.", None),
    (CITIES, "The answer is not B.", None),
    (CITIES, "The answer is not (B).", None),
    (CITIES, "The answer is (A) or (B).", None),
    (CITIES, "The answer is (A, B, C).", None),
    (CITIES, "Answer: (A, B, C, or D)", None),
    (CITIES, "I thought that the answer is (A). The answer is (B) and (C).", None),
    (CITIES, "It is not on the Tiber, but on the Seine, which leaves (B).", "letter:B"),
    (CITIES, "Neither.", None),
    (CITIES, "Berlin", None),
    (CITIES, "A. London lies on the Thames.\nB. Paris lies on the Seine.\nC. Rome lies on the Tiber.", None),
    (CITIES, "All of these cities are well worth a visit, and each of them has a river to walk along.", None),
    (CITIES, "Answer: ___", None),
    (CITIES, '{"answer": "<letter>"}', None),
]

NUMBERS = [
    (SUM, "72", "number:72"),
    (SUM, "72.", "number:72"),
    (SUM, "72.0", "number:72"),
    (SUM, "72.00", "number:72"),
    (SUM, "**72**", "number:72"),
    (SUM, "$72", "number:72"),
    (SUM, "$72.00", "number:72"),
    (SUM, "72 clips", "number:72"),
    (SUM, "72 dollars", "number:72"),
    (SUM, "72 USD", "number:72"),
    (SUM, "USD 72", "number:72"),
    (SUM, "€72", "number:72"),
    (SUM, "72 €", "number:72"),
    (SUM, "72%", "number:72"),
    (SUM, "72 %", "number:72"),
    (SUM, r"72\%", "number:72"),
    (SUM, "72 percent", "number:72"),
    (SUM, "72 km/h", "number:72"),
    (SUM, "72 m/s^2", "number:72"),
    (SUM, "72 square feet", "number:72"),
    (SUM, "72 cups of flour per day", "number:72"),
    (SUM, "72 degrees", "number:72"),
    (SUM, "72°", "number:72"),
    (SUM, r"72^\circ", "number:72"),
    (SUM, r"$72$", "number:72"),
    (SUM, r"$$72$$", "number:72"),
    (SUM, r"\(72\)", "number:72"),
    (SUM, r"\[72\]", "number:72"),
    (SUM, r"\$72", "number:72"),
    (SUM, r"72 \text{ clips}", "number:72"),
    (SUM, r"\text{72}", "number:72"),
    (SUM, "= 72", "number:72"),
    (SUM, "48 + 24 = 72", "number:72"),
    (SUM, "about 72", "number:72"),
    (SUM, "approximately 72 clips", "number:72"),
    (SUM, "a total of 72", "number:72"),
    (SUM, "+72", "number:72"),
    (SUM, "-72", "number:-72"),
    (SUM, "−72", "number:-72"),
    (SUM, "-$72", "number:-72"),
    (SUM, "$-72", "number:-72"),
    (SUM, "minus 72", "number:-72"),
    (SUM, "negative 72", "number:-72"),
    (SUM, "(72)", "number:72"),
    (SUM, "1,234,567", "number:1234567"),
    (SUM, "1 234 567", "number:1234567"),
    (SUM, r"1{,}234", "number:1234"),
    (SUM, r"1\,234", "number:1234"),
    (SUM, "0.5", "number:1/2"),
    (SUM, ".5", "number:1/2"),
    (SUM, "1/2", "number:1/2"),
    (SUM, "2/4", "number:1/2"),
    (SUM, r"\frac{1}{2}", "number:1/2"),
    (SUM, r"\dfrac12", "number:1/2"),
    (SUM, r"$\frac{1}{2}$", "number:1/2"),
    (SUM, r"-\frac{1}{2}", "number:-1/2"),
    (SUM, "1 1/2", "number:3/2"),
    (SUM, r"1\frac{1}{2}", "number:3/2"),
    (SUM, "1.5 million", "number:1500000"),
    (SUM, "$1.5 billion", "number:1500000000"),
    (SUM, "3 dozen", "number:36"),
    (SUM, "1.2e3", "number:1200"),
    (SUM, "1.2 × 10^3", "number:1200"),
    (SUM, r"1.2 \times 10^{3}", "number:1200"),
    (SUM, "1.2 x 10^-1", "number:3/25"),
    (SUM, "twelve", "number:12"),
    (SUM, "Twenty-one", "number:21"),
    (SUM, "6 pizzas (3 cheese and 3 pepperoni)", "number:6"),
    (SUM, "72 (seventy-two)", "number:72"),
    (VALUE, "x = 12", "number:12"),
    (VALUE, "$x=12$", "number:12"),
    (VALUE, r"\boxed{x = 12}", "number:12"),
    (VALUE, r"The answer is $\boxed{\frac{3}{4}}$.", "number:3/4"),
    (VALUE, r"\boxed{\text{12}}", "number:12"),
    (VALUE, r"So we get \[ x = \boxed{12}. \]", "number:12"),
    (SUM, "The answer is 72.", "number:72"),
    (SUM, "The answer is $72.50.", "number:145/2"),
    (SUM, "The answer is 72 clips, since 48 + 24 = 72.", "number:72"),
    (SUM, "The final answer is: $\\boxed{72}$", "number:72"),
    (SUM, "Final Answer: 72", "number:72"),
    (SUM, "**Final Answer:** $72", "number:72"),
    (SUM, "Answer: 72\n", "number:72"),
    (SUM, "answer = 72", "number:72"),
    (SUM, "The total is 48 + 24 = 72.\n#### 72", "number:72"),
    (SUM, "#### 72\n", "number:72"),
    (SUM, "The answer is:\n\n72", "number:72"),
    (SUM, "#### Step 1\nHalf of 48 is 24.\n#### Step 2\nAdd them up.", None),
    (SUM, "#### 1. compute the sum\nIt is left to the reader.", None),
    (SUM, "#### Conclusion\nThat is all.", None),
    (SUM, "First do it.\n3. eggs and more", None),
    (SUM, "My first answer is correct.", None),
    (SUM, "## Answer\n\n72 clips", "number:72"),
    (SUM, "The answer is 72, not 96.", "number:72"),
    (SUM, "She sold 24 in May.\n\nTherefore, Natalia sold 72 clips altogether.", "number:72"),
    (SUM, "April: 48. May: 24.\n\n72", "number:72"),
    (SUM, "April: 48. May: 24.\n\n**72**", "number:72"),
    (SUM, "**Answer:** Natalia sold 72 clips in April and May, 48 of them in April.", "number:72"),
    (SUM, "<think>50? The answer is 50.</think>\nThe answer is 72.", "number:72"),
    # several
    (SUM, "The answer is 96. Correction: the answer is 72.", "number:72"),
    (SUM, r"\boxed{96} is wrong; it should be \boxed{72}.", "number:72"),
    (SUM, '{"answer": "96"}\nThat was wrong. The correct answer is 72.', "number:72"),
    # more than a number, or none
    (SUM, "5 hours 30 minutes", "text:5 hours 30 minutes"),
    (VALUE, "2 or 3", "text:2 or 3"),
    (VALUE, "2√3", "literal:2sqrt3"),
    (VALUE, r"2\sqrt{3}", "literal:2sqrt3"),
    (VALUE, "x = 2 or x = 3", "literal:x=2orx=3"),
    (VALUE, "2x", "literal:2x"),
    (VALUE, r"\boxed{\frac{\sqrt{2}}{2}}", "literal:(sqrt2)/2"),
    (VALUE, "(1, 2)", "literal:(1,2,)"),
    (VALUE, "July 4, 1776", "text:july 4 1776"),
    (VALUE, "4 July", "text:4 july"),
    (VALUE, "5:30 pm", "text:5 30 pm"),
    (VALUE, "01234", "text:01234"),
    (SUM, "Answer: ___", None),
    (SUM, '{"reasoning": "…", "answer": "___"}', None),
    (SUM, "The answer is [your answer].", None),
    (SUM, 'Put your final answer in the field, e.g., `"answer": "42"`, as the task says it in its text.', None),
    (SUM, "", None),
    (SUM, "   \n ", None),
]

BOOLEANS = [
    (POLAR, "Yes", "boolean:true"),
    (POLAR, "yes.", "boolean:true"),
    (POLAR, "No", "boolean:false"),
    (POLAR, "**No**", "boolean:false"),
    (POLAR, "NO!", "boolean:false"),
    (POLAR, "True", "boolean:true"),
    (POLAR, "false", "boolean:false"),
    (POLAR, "Answer: Yes", "boolean:true"),
    (POLAR, "**Answer:** No.", "boolean:false"),
    (POLAR, "The answer is yes.", "boolean:true"),
    (POLAR, "The answer is **no**.", "boolean:false"),
    (POLAR, "Final answer: True", "boolean:true"),
    (POLAR, r"\boxed{\text{True}}", "boolean:true"),
    (POLAR, r"\boxed{No}", "boolean:false"),
    (
        POLAR,
        "Yes, the Pacific is about twice as large as the Atlantic, at 165 million square kilometres.",
        "boolean:true",
    ),
    (POLAR, "No, it is not.", "boolean:false"),
    (POLAR, "The answer is yes, since it covers more area than all land together.", "boolean:true"),
    (POLAR, '{"answer": true}', "boolean:true"),
    (POLAR, '{"answer": "No"}', "boolean:false"),
    (POLAR, "Yes? Hardly. The answer is no.", "boolean:false"),
]

TEXTS = [
    (CAPITAL, "Canberra", "text:canberra"),
    (CAPITAL, "Canberra.", "text:canberra"),
    (CAPITAL, "canberra", "text:canberra"),
    (CAPITAL, "**Canberra**", "text:canberra"),
    (CAPITAL, '"Canberra"', "text:canberra"),
    (CAPITAL, "“Canberra”", "text:canberra"),
    (CAPITAL, "_Canberra_", "text:canberra"),
    (CAPITAL, "Answer: Canberra", "text:canberra"),
    (CAPITAL, "The answer is Canberra.", "text:canberra"),
    (CAPITAL, "The answer is **Canberra**.", "text:canberra"),
    (CAPITAL, r"\boxed{\text{Canberra}}", "text:canberra"),
    (CAPITAL, '{"answer": "Canberra"}', "text:canberra"),
    (CAPITAL, "The answer is Canberra, which was founded in 1913.", "text:canberra"),
    (CAPITAL, "The capital of Australia is Canberra.", "text:canberra"),
    (CAPITAL, "Canberra is the capital of Australia.", "text:canberra"),
    (CAPITAL, "The city of Canberra is Australia's capital.", "text:canberra"),
    (CAPITAL, '{"answer": "The capital is the city of Canberra."}', "text:canberra"),
    (CAPITAL, "It is called Canberra.", "text:canberra"),
    ("When did the first Ford T leave the factory?", "The first Ford T left the factory in 1908.", "number:1908"),
    ("Who wrote Emma?", "Emma was written by Jane Austen.", "text:jane austen"),
    ("Who sang it?", "It was sung by Simon and Garfunkel.", "text:simon and garfunkel"),
    (CAPITAL, "It is Sydney or Canberra.", "text:it is sydney or canberra"),
    (CAPITAL, "It is not Sydney.", "text:it is not sydney"),
    (CAPITAL, "The United States", "text:united states"),
    (CAPITAL, "U.S.A.", "text:usa"),
    (CAPITAL, "São Paulo", "text:sao paulo"),
    (CAPITAL, "Rubik's Cube", "text:rubiks cube"),
    (CAPITAL, "Italian-American", "text:italian american"),
    (CAPITAL, "Simon & Garfunkel", "text:simon and garfunkel"),
    (CAPITAL, "The answer is your answer.", None),
    (CAPITAL, "Hello! How can I assist you today?", None),
    (CAPITAL, "Do you mean the old one?", None),
    (CAPITAL, "The answer is clear.", None),
    ("Write a slogan.", "Fresh bread from our oven to your table every day", None),
    ("Write a slogan.", "Fresh bread, every day", "text:fresh bread every day"),
    (
        CAPITAL,
        "Australia's capital was chosen as a compromise between its two largest cities. The site lies inland, between "
        "them, and the city was planned from 1913 on by Walter and Marion Griffin, two architects from Chicago.",
        None,
    ),
]

JSON_REPLIES = [
    (SUM, '{"answer": 72}', "number:72"),
    (SUM, '{"answer": "72"}', "number:72"),
    (SUM, '{"answer": "$72.00"}', "number:72"),
    (SUM, '{"reasoning": "48 + 24", "answer": "72 clips"}', "number:72"),
    (SUM, '{"answer": "72", "reasoning": "so the answer is 96, no: 72"}', "number:72"),
    (SUM, '{"final_answer": 72}', "number:72"),
    (SUM, '{"Final Answer": "72"}', "number:72"),
    (SUM, '{"finalAnswer": "72"}', "number:72"),
    (SUM, '{"result": 72}', "number:72"),
    (SUM, '```json\n{"answer": "72"}\n```', "number:72"),
    (SUM, '``` json\n{\n    "reasoning": "…",\n    "answer": "72"\n}\n```', "number:72"),
    (SUM, 'Here is the solution:\n\n{\n "reasoning": "…",\n "answer": "72"\n}\n\nLet me know!', "number:72"),
    (SUM, '{\n "reasoning": "first line\nsecond line",\n "answer": "72"\n}', "number:72"),
    (SUM, '{\n "reasoning": "she said "48" first",\n "answer": "72"\n}', "number:72"),
    (SUM, '{\n "reasoning": "48 and 24",\n "answer": "72"', "number:72"),
    (SUM, '{"reasoning": "so 48 + 24,\nanswer": "72"\n}\n```', "number:72"),
    (SUM, '{"reasoning": "a \\frac{1}{2} b", "answer": "72"}', "number:72"),
    (SUM, "{'reasoning': 'half', 'answer': 72}", "number:72"),
    (SUM, '"answer": "72"', "number:72"),
    (SUM, "answer: 72", "number:72"),
    (SUM, '{"answer": ""}', None),
    (SUM, '{"answer": "___"}', None),
    (SUM, '{"answer": "<your answer>"}', None),
    (SUM, '{"answer": "[insert answer]"}', None),
    (VALUE, '{"answer": "\\\\frac{3}{4}"}', "number:3/4"),
    (VALUE, '{"answer": [1, 2]}', "literal:[1, 2]"),
    (VALUE, '{"answer": {"x": 1, "y": 2}}', "literal:{'x': 1, 'y': 2}"),
    (CAPITAL, '{"city": "Canberra", "population": 450000}', 'json:[["/city","text:canberra"],["/population",450000]]'),
]

LITERALS = [
    (CODE, "[-4, 4]", "literal:[-4, 4]"),
    (CODE, "[ -4,4 ]", "literal:[-4, 4]"),
    (CODE, '{"answer": "[ -4, 4 ]"}', "literal:[-4, 4]"),
    (CODE, '{"answer": [-4, 4]}', "literal:[-4, 4]"),
    (CODE, "(1, 2)", "literal:(1,2,)"),
    (CODE, "{'b': 2, 'a': 1}", "literal:{'a': 1, 'b': 2}"),
    (CODE, '{"answer": "{\\"a\\": 1}"}', "literal:{'a': 1}"),
    (CODE, "5", "literal:5"),
    (CODE, "5.0", "literal:5"),
    (CODE, "True", "literal:True"),
    (CODE, '{"answer": true}', "literal:True"),
    (CODE, "None", "literal:None"),
    (CODE, "'abc'", "literal:'abc'"),
    (CODE, '"abc"', "literal:'abc'"),
    (CODE, "abc", "literal:'abc'"),
    (CODE, "'A b C'", "literal:'A b C'"),
    (CODE, '{"answer": "a b "}', "literal:'a b '"),
    (CODE, '{"answer": "\'a b \'"}', "literal:'a b '"),
    (CODE, '{"answer": ""}', "literal:''"),
    (CODE, '{"answer": "\'\'"}', "literal:''"),
    (CODE, "''", "literal:''"),
    (CODE, '{"answer": "-"}', "literal:'-'"),
    (CODE, '{"answer": "correct"}', "literal:'correct'"),
    (CODE, '{"answer": "007"}', "literal:'007'"),
    (CODE, '{"answer": "assert f(\'x\') == [1, 2]"}', "literal:[1, 2]"),
    (CODE, "The answer is `[1, 2]`.", "literal:[1, 2]"),
    (CODE, "The output is a list. The answer is [1, 2], because it is sorted.", "literal:[1, 2]"),
    (CODE, r"The final answer is: $\boxed{[1, 2]}$", "literal:[1, 2]"),
    (CODE, "The answer is the literal string 'abc'.", "literal:'abc'"),
    (CODE, '{"answer": "abc"}\n\nThe answer is enclosed in quotes because it is a string.', "literal:'abc'"),
    (CODE, "The function first splits the text, then joins it again, and so on, for every character.", None),
]

REFUSALS = [
    (CAPITAL, "I'm sorry, but I can't help with that.", None),
    (CAPITAL, "I cannot assist with this request.", None),
    (SUM, "I'm unable to answer that.", None),
    (CITIES, "As an AI language model, I cannot answer this question.", None),
]

DENIALS = [
    (CITIES, "It is not Paris.", None),
    (CITIES, "The answer is not Paris.", None),
    (CITIES, "London does not lie on the Seine.", None),
    (APPROACHES, "I do not care about caching", "letter:D"),
    (CITIES, "A) London: no. B) Paris: yes. C) Rome: no.", None),
    (CITIES, "The answer is B rather than C.", "letter:B"),
    (CITIES, "I think it's B.", "letter:B"),
    (CITIES, "B (90%)", "letter:B"),
    (CITIES, "[[B]]", "letter:B"),
    (CITIES, "<scratchpad>The answer is A?</scratchpad>\nB", "letter:B"),
    (SUM, "$\\frac{3}{4}$ cup", "number:3/4"),
    (SUM, "The answer is 3/4 of a cup.", "number:3/4"),
    (SUM, "8 of 10", "text:8 of 10"),
    ("Is 7 prime?", "7 is a prime number.", "text:7 is prime number"),
]

# What stands around an answer: tags, fences, greetings, offers of help, notes, tokens that end a turn.
FRAMES = [
    *[(CITIES, frame, "letter:B") for frame in ("<answer>B</answer>", "<answer>\n(B)\n</answer>", "B</s>", "✅ B")],
    *[(CITIES, said, "letter:B") for said in ("Answer → B", "Final answer - B", '{"selected_option": "B"}')],
    (CITIES, "**Final Answer:** $\\boxed{\\text{B}}$", "letter:B"),
    (CITIES, "The answer is **B**.\n\nNote: please verify this with a map.", "letter:B"),
    (CITIES, "The answer - as one sees - is not easy.", None),
    *[
        (SUM, f"{number}{end}", "number:72")
        for number in ("72", "**72**")
        for end in ("</s>", "<|eot_id|>", "<|im_end|>")
    ],
    (SUM, "```\n72\n```", "number:72"),
    (SUM, "<answer>72</answer>", "number:72"),
    (SUM, "<answer> 72 clips", "number:72"),
    (SUM, "<answer>your answer</answer>", None),
    (SUM, "- 72", "number:72"),
    (SUM, "-72", "number:-72"),
    (SUM, "**72**\n\nLet me know if you need anything else!", "number:72"),
    (SUM, "72\n\n*Disclaimer: for education only.*", "number:72"),
    (CAPITAL, "```\nCanberra\n```", "text:canberra"),
    (CAPITAL, "Sure! The capital of Australia is Canberra.", "text:canberra"),
    (CAPITAL, "Canberra.\n\nLet me know if you have any other questions!", "text:canberra"),
    (CAPITAL, "Canberra. I hope this helps!", "text:canberra"),
    (CAPITAL, "Canberra, not Sydney.", "text:canberra"),
    (CAPITAL, "The capital of Australia is Canberra (not Sydney).", "text:canberra"),
    (CAPITAL, "I don't know.", None),
    (CAPITAL, "I'm not sure.", None),
    ("Write a SQL query that counts users.", "SELECT COUNT(*) FROM users;", None),
    ("Write a SQL query that counts users.", "```sql\nSELECT COUNT(*) FROM users;\n```", None),
    (CODE, "```\n[1, 2]\n```", "literal:[1, 2]"),
    *[(POLAR, f"{yes} The Pacific is larger.", "boolean:true") for yes in ("Yes!", "**Yes**,", "Yes\n\n", "✅ Yes.")],
    (POLAR, "Yes (by area).", "boolean:true"),
    (POLAR, "Yes, but only just. Yes, it is.", "boolean:true"),
    (POLAR, "No it is not.", "boolean:false"),
    (POLAR, "No idea.", None),
    (POLAR, "No doubt about that one, the Pacific is.", None),
]

LANGUAGES = [
    *[(CITIES, f"{said} B", "letter:B") for said in ("Réponse :", "Antwort:", "Respuesta:", "Risposta:", "Ответ:")],
    *[(CITIES, f"{said}B", "letter:B") for said in ("答案：", "答案是", "正确答案是 ", "答え：", "정답은 ")],
    (CITIES, "La réponse est B.", "letter:B"),
    (CITIES, "Die richtige Antwort ist (B), denn Paris liegt an der Seine.", "letter:B"),
    (CITIES, "La respuesta correcta es B.", "letter:B"),
    (CITIES, "The answer is （Ｂ）。", "letter:B"),
    (SUM, "答案：72", "number:72"),
    (SUM, "答案是72个。", "number:72"),
    (SUM, "７２", "number:72"),
    (SUM, "Die Antwort lautet: 72", "number:72"),
    (SUM, "7万", "text:7万"),
]

SPELLINGS = [
    *[(VALUE, said, "number:1/2") for said in ("½", "1/2", "0.5", r"\frac{1}{2}")],
    *[(VALUE, said, "number:7/2") for said in ("3½", "3 ½", "3 1/2", "3.5")],
    *[(VALUE, said, "number:300000000") for said in ("3×10⁸", "3 × 10^8", "3e8", "3 x 10^8 m/s", "300,000,000")],
    (VALUE, "6.02 × 10⁻²", "number:301/5000"),
    *[(VALUE, said, "number:1000") for said in ("10^3", "10³", "10^{3}", "1'000", "1_000", "one thousand", "1.000,00")],
    (VALUE, "12 m²", "number:12"),
    (VALUE, "1.000.000", "number:1000000"),
    (VALUE, "12,34,567", "number:1234567"),
    (VALUE, "1.234,56 €", "number:30864/25"),
    (VALUE, "12,5", "literal:12,5"),
    (VALUE, "1.234", "number:617/500"),
    (VALUE, "$12M", "number:12000000"),
    (VALUE, "$3.5k", "number:3500"),
    (VALUE, "12k", "number:12000"),
    (VALUE, "12 m", "number:12"),
    (VALUE, "minus five", "number:-5"),
    (VALUE, "negative twenty-one", "number:-21"),
    (VALUE, "one hundred and twenty", "number:120"),
    (VALUE, "two thousand three hundred six", "number:2306"),
    (VALUE, "Seventy-two clips", "number:72"),
    (VALUE, "two-thirds", "text:two thirds"),
    (VALUE, "twenty thirty", "text:twenty thirty"),
    (VALUE, "So $x = 12$.", "number:12"),
    (SUM, "She sold a total of 48 + 24 = **72 clips**.", "number:72"),
    (SUM, "Thus, Natalia sold $48 + 24 = 72$ clips.", "number:72"),
    ("In which year did it end?", "World War II ended in **1945**.", "number:1945"),
]

MOOD = "Classify the sentiment as positive, negative or neutral: 'I loved it.'"
SPAM = "Is this email spam or ham?\n\nWin a prize"
LABELS = [
    *[
        (MOOD, said, "text:positive")
        for said in (
            "Positive",
            "Sentiment: **Positive**",
            "**Label:** positive",
            "The sentiment of the review is positive.",
            "Positive - the reviewer loved it.",
            "Positive because the reviewer loved it.",
            "Positive.\n\nThe reviewer says that they loved it, which is far from negative or neutral.",
            "The answer is positive, since they loved it.",
            '{"answer": "Positive"}',
        )
    ],
    (MOOD, "It is not positive.", "text:it is not positive"),
    (MOOD, "Positive or neutral", "text:positive or neutral"),
    (SPAM, "Spam, because it asks for nothing but a click.", "text:spam"),
    (SPAM, "This is ham.", "text:ham"),
    ("Sum it up in one or two sentences.", "One", "number:1"),
]

CASES = [
    *DENIALS,
    *FRAMES,
    *LANGUAGES,
    *SPELLINGS,
    *LABELS,
    *PEERS_MISTAKES,
    *LETTERS,
    *NUMBERS,
    *BOOLEANS,
    *TEXTS,
    *JSON_REPLIES,
    *LITERALS,
    *REFUSALS,
]


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 220


@pytest.mark.parametrize(("question", "reply", "expected"), CASES)
def test_the_key_of_a_reply(question: str, reply: str, expected: str | None) -> None:
    assert spelled(key_of(question, reply)) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("B", "letter:B"),  # max_tokens: 1
        ("The answer is (B", "letter:B"),
        ("(B) Par", "letter:B"),
        ("First, the Seine flows through", None),
    ],
)
def test_a_cut_reply_to_a_multiple_choice(reply: str, expected: str | None) -> None:
    assert spelled(key_of(CITIES, reply, "length")) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("The answer is 12", None),  # perhaps of 125
        ("12", None),
        (r"The answer is \boxed{12}", "number:12"),
        ("The answer is 12. To see this, consider", "number:12"),
        ('{"reasoning": "48 +', None),
    ],
)
def test_a_cut_number_is_no_answer(reply: str, expected: str | None) -> None:
    assert spelled(key_of(SUM, reply, "length")) == expected


OPTION_STYLES = [
    "A. London\nB. Paris",
    "A) London\nB) Paris",
    "(A) London\n(B) Paris",
    "A: London\nB: Paris",
    "  A. London\n  B. Paris",
    "- A. London\n- B. Paris",
    "**A.** London\n**B.** Paris",
    "A. London\n\nB. Paris",
    "A. London\r\nB. Paris",
]


@pytest.mark.parametrize("options", OPTION_STYLES)
def test_the_styles_of_option_lists(options: str) -> None:
    assert spelled(key_of(f"Which?\n{options}", "The answer is Paris.")) == "letter:B"


@pytest.mark.parametrize("options", ["A. London", "B. Paris\nC. Rome", "A. London, and then nothing more.\nC. Rome"])
def test_what_is_no_option_list(options: str) -> None:
    assert spelled(key_of(f"Which?\n{options}", "Paris")) == "text:paris"


def test_options_come_from_the_last_user_message() -> None:
    messages = (
        {"role": "user", "content": "A. London\nB. Paris"},
        {"role": "assistant", "content": "B"},
        {"role": "user", "content": [{"type": "text", "text": "And now?\nA. Oslo\nB. Rome\nC. Bern"}]},
    )
    extractor = Extractor.of(ChatRequest(messages=messages))
    assert spelled(extractor.key(Completion(text="Bern"))) == "letter:C"
    assert spelled(extractor.gold_key("C")) == "letter:C"
    assert spelled(extractor.gold_key("Bern")) == "letter:C"


def json_key(reply: object, schema: object = None, paths: tuple[str, ...] = ()) -> str | None:
    form = {"type": "json_object"} if schema is None else {"type": "json_schema", "json_schema": {"schema": schema}}
    request = ChatRequest(messages=({"role": "user", "content": "Classify."},), response_format=form)
    text = reply if isinstance(reply, str) else json.dumps(reply)
    return spelled(Extractor.of(request, paths).key(Completion(text=text)))


LONG = "because " * 20


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"label": "spam", "why": LONG}, {"label": "spam", "why": LONG + "so"}, True),
        ({"label": "spam", "score": 1}, {"score": 1.0, "label": "spam"}, True),
        ({"label": "Spam"}, {"label": "spam"}, True),
        ({"label": "spam"}, {"label": "ham"}, False),
        ({"label": "spam", "score": 1}, {"label": "spam", "score": 2}, False),
        ({"ok": True}, {"ok": False}, False),
        ({"ok": True}, {"ok": 1}, False),
        ({"ok": None}, {"ok": False}, False),
        ({"tags": ["a", "b"]}, {"tags": ["b", "a"]}, False),
        ({"tags": []}, {"tags": {}}, False),
        ({"amount": "1,000.00"}, {"amount": "$1000"}, True),
        ('{"label": "spam"}', '```json\n{"label": "spam"}\n```', True),
    ],
)
def test_keys_of_json_answers(one: object, other: object, equal: bool) -> None:
    assert json_key(one) is not None
    assert (json_key(one) == json_key(other)) is equal


def test_configured_paths_are_the_vote() -> None:
    one, other = {"label": "spam", "score": 0.9, "why": "a"}, {"label": "spam", "score": 0.4, "why": "b"}
    assert json_key(one) != json_key(other)
    assert json_key(one, paths=("/label",)) == json_key(other, paths=("/label",))
    assert json_key(one, paths=("/label", "/score")) != json_key(other, paths=("/label", "/score"))
    assert json_key({"other": 1}, paths=("/label",)) is None
    assert json_key({"a/b": {"c~d": [1, 2]}}, paths=("/a~1b/c~0d/1",)) == 'json:[["/a~1b/c~0d/1",2]]'


def test_long_values_of_an_enum_count() -> None:
    values = ["x" * 80, "y" * 80]
    schema = {"type": "object", "properties": {"kind": {"enum": values}, "why": {"type": "string"}}}
    assert json_key({"kind": values[0], "why": LONG}, schema) != json_key({"kind": values[1], "why": LONG}, schema)


def test_free_text_alone_is_no_vote() -> None:
    assert json_key({"essay": LONG}) is None
    assert json_key("no JSON at all") is None


def test_gold_answers_of_json_requests() -> None:
    request = ChatRequest(messages=({"role": "user", "content": "Classify."},), response_format={"type": "json_object"})
    extractor = Extractor.of(request, ("/label",))
    assert extractor.gold_key("spam") == extractor.key(Completion(text='{"label": "Spam", "p": 0.3}'))
    assert extractor.gold_key('{"label": "spam"}') == extractor.key(Completion(text='{"label": "spam"}'))


def test_nothing_is_read_from_errors_and_refused_replies() -> None:
    extractor = Extractor.of(ChatRequest(messages=({"role": "user", "content": SUM},)))
    assert extractor.key(Completion(text=None)) is None
    assert extractor.key(Completion(text="72", refusal="no")) is None


def test_no_answer_is_looked_for_in_more_than_a_model_can_say() -> None:
    said = "The answer is (B)."
    assert spelled(key_of(TEN, "x" * (MAX_READ - len(said) - 1) + " " + said)) == "letter:B"
    assert key_of(TEN, "x" * (MAX_READ - len(said)) + " " + said) is None


@pytest.mark.parametrize("leaf", [1, "a", None])
def test_an_object_of_too_many_fields_has_no_key(leaf: Any) -> None:
    request = ChatRequest(messages=({"role": "user", "content": "x"},), response_format={"type": "json_object"})
    for count, has_key in ((MAX_LEAVES, True), (MAX_LEAVES + 1, False)):
        reply = Completion(text=json.dumps({f"f{n}": leaf for n in range(count)}), finish_reason="stop")
        assert (Extractor.of(request).key(reply) is not None) is has_key
