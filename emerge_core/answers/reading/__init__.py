"""Where a reply states its answer."""
