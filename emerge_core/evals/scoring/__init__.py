"""Whether a reply is right."""
