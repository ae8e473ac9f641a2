"""The kinds of answer, and the canonical key of each."""
