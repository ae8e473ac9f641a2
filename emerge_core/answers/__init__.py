"""Answer keys: extraction, normalisation, equality; usability and confidence of replies."""

from emerge_core.answers.extractor import Extractor, candidate, read_candidate
from emerge_core.answers.forms.tool_calls import names_key
from emerge_core.answers.groups import group_keys, same, strongest
from emerge_core.answers.question.form import explain_form, form_of
from emerge_core.answers.usable import hedges, is_refusal

__all__ = [
    "Extractor",
    "candidate",
    "explain_form",
    "form_of",
    "group_keys",
    "hedges",
    "is_refusal",
    "names_key",
    "read_candidate",
    "same",
    "strongest",
]
