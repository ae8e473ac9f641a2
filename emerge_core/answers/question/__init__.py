"""What a request asks for: its form, its labels, its options."""

from emerge_core.answers.question.form import FormReading, explain_form, form_of
from emerge_core.answers.question.question import Question

__all__ = ["FormReading", "Question", "explain_form", "form_of"]
