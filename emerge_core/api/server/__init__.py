"""The server process behind `emerge serve`: connections, their limits, signals, and several workers.

Nothing else imports this room, because it needs uvicorn.
"""
