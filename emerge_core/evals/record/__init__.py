"""Making a recording."""
