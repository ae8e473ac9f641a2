"""Measuring ensembles on recorded answers: read recordings, replay them, score and compare."""
