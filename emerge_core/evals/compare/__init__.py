"""Members and ensembles of a config, measured through the real proxy on recorded answers."""
