"""The distribution's name and version, once: the build, `emerge --version` and the OpenAPI document read them here."""

DISTRIBUTION = "emerge-llm"  # the name to install by; the package is emerge_core, the command emerge
VERSION = "0.2.0"
