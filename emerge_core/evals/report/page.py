"""The pages of `emerge diversity`: a task with gold answers, and one without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isnan

from emerge_core.evals.diversity.measures import PanelDiversity
from emerge_core.evals.diversity.unlabelled import Reliability
from emerge_core.evals.diversity.unlabelled_table import (
    ANCHORED,
    ANCHORED_HEAD,
    LIMITS,
    anchored_row,
    moved,
    suggestion,
)
from emerge_core.evals.report.figures import Contents
from emerge_core.evals.report.html import bullets, heading, image, note, page, section, table
from emerge_core.evals.tables import coefficient, percent, points

CUT = 300  # characters of a question that are shown

READ = {
    "errors": (
        "Who fails on the same questions",
        "The correlation of two models' errors: 0 means that they fail independently, 1 that they fail on the same "
        "questions. A panel gains from dark fields between models of about equal accuracy.",
    ),
    "cost": (
        "What accuracy costs",
        "Each model alone, by its number in the list, and votes of three that no cheaper vote of three beats. Bars "
        "are 95 % intervals: if two "
        "overlap widely, this recording does not distinguish them. The votes were picked on these same questions, so "
        "they look a little better than they are.",
    ),
    "gain": (
        "When a vote helps",
        "Every panel of three: how much its vote gains over its best member, by how far apart its members are. Panels "
        "of equals (left) tend to gain, panels with one strong member (right) to lose.",
    ),
    "calibration": (
        "Whether confidence can be believed",
        "Of answers given with a stated confidence, how many are right. On the dashed line confidence is what it says; "
        "below it a model is boastful, and its confidence must be calibrated before it counts.",
    ),
    "reliability": (
        "How reliable each model seems",
        "No answer was checked: the figures follow from which models agree.",
    ),
    "agreement": ("Which models agree", "Of the questions that both answer, the share with the same answer."),
}


def scored_page(
    contents: Contents, pictures: Mapping[str, bytes], texts: Mapping[str, str], anchored: Reliability | None = None
) -> str:
    """`texts` are the questions' by id; `anchored` is what the scored ones say of all, where others are not."""
    found = contents.diversity
    members = [
        [each.model, each.family or "?", percent(each.accuracy), points(each.marginal), _money(spot.cost)]
        for each, spot in zip(found.members, contents.models, strict=True)
    ]
    what = "mean score, %" if found.graded else "right, %"
    all_ = f"the vote of these {len(members)}" if contents.hidden else "the vote of all"
    head = ["model", "family", what, f"adds to {all_}, points", "$ per 1,000"]
    hidden = (
        f" The {contents.hidden} least accurate models are left out of all that follows." if contents.hidden else ""
    )
    parts = [
        heading(f"Diversity: {found.task}", f"{found.questions} questions, {found.left_out} left out.{hidden}"),
        bullets(_summary(contents)),
        section("Models", table(head, members), "In brackets the 95 % interval. Right is as the recording scores it."),
        *(_picture(name, pictures[name]) for name in ("errors", "cost", "gain", "calibration") if name in pictures),
        section("Pairs", table(*_pairs(found)), "Least correlated errors first; * marks models of one family."),
    ]
    if anchored:
        order = sorted(range(len(anchored.models)), key=lambda m: -anchored.accuracy[m].value)
        said = f"{anchored.labelled} of {anchored.questions} have gold answers. {moved(anchored)} {ANCHORED}"
        known = table(["model", *ANCHORED_HEAD], [anchored_row(anchored, m) for m in order])
        parts.insert(3, section("All questions, labelled or not", known, said))
    if contents.examples:
        rows = [[_cut(texts.get(each.question, each.question)), str(each.together)] for each in contents.examples]
        note = (
            f"On {contents.shared_failures} questions every one of these models fails. Many equal wrong answers "
            "point to a trap, or to a wrong gold answer."
        )
        parts.append(section("Where all fail", table(["question", "equal wrong answers"], rows, running=0), note))
    return page(f"Diversity: {found.task}", parts)


def unlabelled_page(
    found: Reliability,
    pictures: Mapping[str, bytes],
    texts: Mapping[str, str],
    known: Mapping[str, float] | None = None,
) -> str:
    order = sorted(range(len(found.models)), key=lambda m: -found.accuracy[m].value)
    rows = [
        [found.models[m], percent(found.accuracy[m]), *([f"{100 * known[found.models[m]]:.1f}"] if known else [])]
        for m in order
    ]
    head = ["model", "estimated right, %", *(["truly right, %"] if known else [])]
    first = suggestion(found)
    if found.left_out:
        first.append(f"Left out, since few of their replies state an answer to compare: {', '.join(found.left_out)}.")
    asked = [[_cut(texts.get(id_, id_)), id_] for id_ in found.to_label]
    parts = [
        heading(f"Reliability: {found.task}", f"{found.questions} questions without gold answers."),
        bullets(first),
        note(LIMITS),
        section("Models", table(head, rows), "In brackets the 95 % interval."),
        *(_picture(name, pictures[name]) for name in ("reliability", "agreement") if name in pictures),
        section("Label these first", table(["question", "id"], asked, running=0), "The models divide most on them."),
    ]
    return page(f"Reliability: {found.task}", parts)


def _summary(contents: Contents) -> Iterable[str]:
    found = contents.diversity
    best = next(each for each in found.members if each.model == found.best)
    does = "with a mean score of" if found.graded else "right on"
    yield f"Best single model: {found.best}, {does} {percent(best.accuracy)} %."
    if contents.trios:
        top = max(contents.trios, key=lambda trio: trio.vote)
        yield (
            f"Best vote of three on these questions: {', '.join(top.names)}: {100 * top.vote:.1f} %, "
            f"{100 * top.gain:+.1f} points against its best member. It was picked on them, so expect less on others."
        )
    at_best = f"The best reply to each question scores {percent(found.oracle)} % on average"
    if not found.graded:
        at_best = f"At least one of them is right on {percent(found.oracle)} %"
    voters = f"these {len(found.members)}" if contents.hidden else "all"
    yield f"{at_best}: what a perfect picker would reach. The vote of {voters} reaches {percent(found.vote)} %."


def _pairs(found: PanelDiversity) -> tuple[Sequence[str], list[list[str]]]:
    pairs = sorted(found.pairs, key=lambda pair: 2.0 if isnan(pair.phi.value) else pair.phi.value)
    rows = [
        [
            f"{pair.a} and {pair.b}" + (" *" if pair.same_family else ""),
            coefficient(pair.phi),
            percent(pair.double_fault),
            percent(pair.same_wrong),
            coefficient(pair.q),
        ]
        for pair in pairs[:20]
    ]
    return ["pair", "error correlation", "both wrong, %", "of those the same answer, %", "Yule's Q"], rows


def _picture(name: str, png: bytes) -> str:
    title, note = READ[name]
    return section(title, image(title, png), note)


def _cut(text: str) -> str:
    """Beginning and end: questions of one task often begin alike."""
    return text if len(text) <= CUT else f"{text[: CUT // 3]} … {text[-2 * CUT // 3 :]}"


def _money(cost: float) -> str:
    return "unknown" if isnan(cost) else f"{cost:.2f}"
