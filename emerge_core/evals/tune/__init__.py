"""Search for the best ensemble for a task."""
