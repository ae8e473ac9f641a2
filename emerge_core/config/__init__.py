"""The config: its shape, where it comes from, and what is wrong with it."""

from emerge_core.config.advice import warnings
from emerge_core.config.detect import default_config, detect_config
from emerge_core.config.keys import KeyResolver, resolve_key
from emerge_core.config.load import load_config, parse_config
from emerge_core.config.names import ensemble_of, resolve_name
from emerge_core.config.schema import (
    AggregatorConfig,
    Config,
    EmbedderConfig,
    EnsembleConfig,
    EscalateConfig,
    MemberConfig,
    ModelConfig,
    PriceConfig,
    ProviderConfig,
    StrategyConfig,
    Supports,
)
from emerge_core.config.sources import find_config

__all__ = [
    "AggregatorConfig",
    "Config",
    "EmbedderConfig",
    "EnsembleConfig",
    "EscalateConfig",
    "KeyResolver",
    "MemberConfig",
    "ModelConfig",
    "PriceConfig",
    "ProviderConfig",
    "StrategyConfig",
    "Supports",
    "default_config",
    "detect_config",
    "ensemble_of",
    "find_config",
    "load_config",
    "parse_config",
    "resolve_key",
    "resolve_name",
    "warnings",
]
