"""OpenAI's chat completions API, and everything compatible with it."""
