"""Every environment variable of emerge: its name, where it counts, and what it does. Nothing else spells them out."""

from __future__ import annotations

from typing import NamedTuple

CONFIG = "EMERGE_CONFIG"
API_KEYS = "EMERGE_API_KEYS"
CORS_ORIGINS = "EMERGE_CORS_ORIGINS"
OPEN_ENDED = "EMERGE_OPEN_ENDED"

STACK = "EMERGE_STACK"
AUTH = "EMERGE_AUTH"
DEFAULT_CONFIG = "EMERGE_DEFAULT_CONFIG"
CONFIG_TTL_S = "EMERGE_CONFIG_TTL_S"
RESPONSE_MODE = "EMERGE_RESPONSE_MODE"
MODEL_METRICS = "EMERGE_MODEL_METRICS"
TRACING = "EMERGE_TRACING"

REPLAY_KEY = "EMERGE_REPLAY_KEY"


class Variable(NamedTuple):
    where: str
    meaning: str
    default: str


VARIABLES: dict[str, Variable] = {
    CONFIG: Variable("commands, function", "the config: a file, or on AWS also `ssm:/name`", "what is detected"),
    API_KEYS: Variable(
        "`serve`, `sam local`",
        "comma-separated keys, one of which clients must send",
        "none: no key is asked for",
    ),
    CORS_ORIGINS: Variable(
        "`serve`, function", "comma-separated origins whose web pages may call the API; `*` for all", "none"
    ),
    OPEN_ENDED: Variable(
        "commands",
        "without a config: how prose is answered. `merge`: the strongest model writes it from all replies; `fallback`: "
        "one model writes it, the next one only if it fails",
        "`merge`; `fallback` if there is one model",
    ),
    STACK: Variable("function", "the stack's name, a dimension of every metric", "`local`"),
    AUTH: Variable("function", "`gateway`: API Gateway has checked the client's key", "the function checks it"),
    DEFAULT_CONFIG: Variable("function", "the file that serves until a config is pushed", "none"),
    CONFIG_TTL_S: Variable("function", "seconds until the config in SSM is read again", "60"),
    RESPONSE_MODE: Variable("function", "`stream` or `buffered`, as the stack's `ResponseMode`", "`buffered`"),
    MODEL_METRICS: Variable("function", "`false`: no metrics per model", "`true`"),
    TRACING: Variable("function", "`true`: X-Ray subsegments", "`false`"),
    REPLAY_KEY: Variable("`compare`", "set by the command itself: the key that its replay server is sent", "set"),
}
