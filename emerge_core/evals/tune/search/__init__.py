"""Every ensemble of a search space, scored on recorded answers."""
