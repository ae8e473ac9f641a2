"""A provider that needs no network: it answers arithmetic and multiple choice."""
