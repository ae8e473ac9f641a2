"""How differently models fail on the same questions."""
