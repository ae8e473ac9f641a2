"""Builds the artifacts that Lambda runs: the functions' makefiles call it, and so does `sam build`.

    python3.13 build.py proxy|authorizer|pretraffic DIRECTORY

The proxy's dependencies come as wheels for Lambda's platform, with the hashes of
`functions/proxy/requirements.txt`; files that are never loaded there are left out; bytecode is compiled here,
because the task directory is read-only and each cold start would compile again. Standard
library only; it must run on the function's own Python version.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from time import time_ns

ROOT = Path(__file__).resolve().parent.parent
PYTHON = (3, 13)  # the template's Runtime
PLATFORMS = {
    "x86_64": ("manylinux2014_x86_64", "manylinux_2_28_x86_64"),
    "arm64": ("manylinux2014_aarch64", "manylinux_2_28_aarch64"),
}
AWS_SERVICES = ("ssm", "secretsmanager", "sts", "sso", "sso-oidc")  # of botocore's some four hundred
UNUSED = (
    "numpy/**/tests",
    "**/*.pyi",
    "*/tests",
    "jsonschema/benchmarks",
    "fastapi/.agents",
    "aws_lambda_powertools/event_handler",
    "numpy/f2py",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/fft",
    "numpy/ma",
    "numpy/polynomial",
    "numpy/random",
    "numpy/testing",
    "boto3/data",
    "boto3/examples",
    "bin",
)


def main() -> None:
    name, target = sys.argv[1], Path(sys.argv[2])
    if sys.version_info[:2] != PYTHON:
        sys.exit(f"run by Python {sys.version.split()[0]}, but the function needs {'.'.join(map(str, PYTHON))}")
    if name == "proxy":
        install(target, architecture())
        (target / "architecture").write_text(architecture() + "\n")  # see pin_architecture.py
        shutil.copytree(
            ROOT / "emerge_core",
            target / "emerge_core",
            ignore=shutil.ignore_patterns("__pycache__", "cli", "console", "evals", "*.md"),
        )
        copy(ROOT / "functions" / "proxy", target, "*.py", "*.yaml", "runtime-wrapper")
        prune(target)
    else:
        copy(ROOT / "functions" / name, target, "*.py")
    # New code each time: a changed parameter alone would publish no new version.
    (target / "build_id").write_text(f"{time_ns():x}\n")
    quiet = compileall.compile_dir(
        target, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH, workers=0
    )
    if not quiet:
        sys.exit("some of the code does not compile")


def architecture() -> str:
    """EMERGE_ARCHITECTURE, as the Makefile sets it; else what samconfig.toml gives the Architecture parameter; else
    the template's default."""
    if given := os.environ.get("EMERGE_ARCHITECTURE"):
        return given
    settings = tomllib.loads((ROOT / "samconfig.toml").read_text())
    for section in settings.get("default", {}).values():
        overrides = section.get("parameters", {}).get("parameter_overrides", "")
        for pair in overrides if isinstance(overrides, list) else overrides.split():
            key, _, value = pair.partition("=")
            if key == "Architecture":
                return value.strip("\"'")
    default = re.search(r"^  Architecture: \{.*?\bDefault: (\w+)", (ROOT / "template.yaml").read_text(), re.MULTILINE)
    return default[1] if default else sys.exit("template.yaml has no parameter Architecture")


def install(target: Path, machine: str) -> None:
    platforms = [option for tag in PLATFORMS[machine] for option in ("--platform", tag)]
    version = ".".join(map(str, PYTHON))
    wheels = ["--only-binary=:all:", "--implementation", "cp", "--python-version", version, *platforms]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-compile", "--no-deps", "--require-hashes"]
    requirements = ROOT / "functions" / "proxy" / "requirements.txt"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        *quiet,
        *wheels,
        "--target",
        str(target),
        "-r",
        str(requirements),
    ]
    subprocess.run(command, check=True)  # noqa: S603


def prune(target: Path) -> None:
    for pattern in UNUSED:
        for path in target.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    data = target / "botocore" / "data"
    for path in data.iterdir():
        if path.is_dir() and path.name not in AWS_SERVICES:
            shutil.rmtree(path)


def copy(source: Path, target: Path, *patterns: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for pattern in patterns:
        for path in source.glob(pattern):
            shutil.copy(path, target / path.name)


if __name__ == "__main__":
    main()
