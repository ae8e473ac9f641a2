"""Recorded answers served as upstreams."""
