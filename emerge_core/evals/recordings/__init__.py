"""Stored answers of models to the questions of a task."""
