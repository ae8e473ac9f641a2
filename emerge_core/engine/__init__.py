"""One request from its ensemble to its trace."""
