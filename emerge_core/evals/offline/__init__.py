"""Ensembles over recorded answers, as arrays: what the proxy would answer, without asking anybody."""
