"""HTTP to the providers: connections, limits, server-sent events."""
