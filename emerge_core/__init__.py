"""emerge: an OpenAI-compatible proxy whose answer is the decision of a diverse panel of models."""
