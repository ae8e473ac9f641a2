"""From YAML to a consistent `Config`, or to one error that lists every fault with its place."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from emerge_core.config.problems import config_error, schema_problems
from emerge_core.config.references import reference_problems
from emerge_core.config.schema import Config
from emerge_core.config.yaml_text import read_yaml
from emerge_core.errors import ConfigError


def parse_config(text: str, *, source: str) -> Config:
    document = read_yaml(text, source=source)
    if document.value is None:
        raise ConfigError(f"{source}: is empty; a config needs providers, models and ensembles")
    if not isinstance(document.value, dict):
        raise ConfigError(f"{source}: must be a mapping with the keys {', '.join(Config.model_fields)}")
    try:
        config = Config.model_validate(document.value)
    except ValidationError as error:
        problems = schema_problems(error, document.value)
        raise config_error(problems, source=source, document=document) from None
    if problems := reference_problems(config):
        raise config_error(problems, source=source, document=document)
    return config


def load_config(path: Path | str) -> Config:
    """The config in a file. Raises ConfigError, which lists every fault with its place."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not a UTF-8 text file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_config(text, source=str(path))
