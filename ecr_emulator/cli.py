"""The ``ecr-emulator`` command."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Collection
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from ecr_emulator import __version__
from ecr_emulator.outbound import no_certificates_read
from ecr_emulator.settings import ENVIRONMENT_PREFIX, Settings, SettingsError, load

# What works on the stores, beside a server or without one: the module in ``commands``, and what it does.
_COMMANDS = {
    "check": ("check", "verify every digest and reference"),
    "gc": ("gc", "remove what nothing uses"),
    "seed": ("seed", "bring registries to a described state"),
    "export": ("export", "write registries as one tar"),
    "import": ("import_", "bring back what export wrote"),
    "migrate": ("migrate", "move everything to another configuration"),
}
# The exit status of a command that was interrupted, as shells have it.
_INTERRUPTED = 130
# The exit status of an explanation that tells of a denial.
_DENIED = 3
# New objects that may have cycles after which the server looks for those; Python's 700 are one request's.
_YOUNG_OBJECTS = 10_000
_DESCRIPTION = "An AWS-compatible Amazon ECR emulator: the ECR API and an OCI registry over one store."
_SERVE_EPILOG = f"""\
Each flag is also an environment variable ({ENVIRONMENT_PREFIX}PORT=5000) and a key of the TOML file
(port = 5000). A flag wins over a variable, a variable over the file.

examples:
  ecr-emulator serve                                  keep state in ./data, listen on 127.0.0.1:4510
  ecr-emulator serve --data-dir :memory: --port 0     a throw-away server on a free port
  aws ecr create-repository --repository-name app --endpoint-url http://127.0.0.1:4510
"""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and exit."""
    given = sys.argv[1:] if arguments is None else arguments
    parser = _parser(given[0] if given else "")
    options = parser.parse_args(given)
    try:
        settings = load(vars(options), os.environ, options.config)
    except SettingsError as error:
        parser.exit(2, f"ecr-emulator: {error}\n")
    if options.command in _COMMANDS:
        sys.exit(_run(settings, options))
    sys.exit(_explain(settings, options) if options.command == "explain" else _serve(settings))


def _parser(command: str) -> argparse.ArgumentParser:
    """Return the parser; of the commands on stores only the one that is given has its flags."""
    parser = argparse.ArgumentParser(prog="ecr-emulator", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="run the server",
        description="Run the server until it is told to stop (Ctrl-C, SIGTERM).",
        epilog=_SERVE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_settings(serve, [setting.name for setting in fields(Settings)])
    explain = commands.add_parser(
        "explain",
        help="tell whether somebody may do something, and why",
        description="Tell what the policies in the data folder and in the credentials file say of one "
        "action, by which statement. The exit status is 0 where it is allowed and 3 where it is denied.",
    )
    explain.add_argument("--principal", required=True, metavar="ARN", help="who calls")
    explain.add_argument("--action", required=True, help="what for, as in ecr:PutImage")
    explain.add_argument("--resource", required=True, metavar="ARN", help="a repository's ARN, or *")
    explain.add_argument("--source-ip", metavar="ADDRESS", help="where from, for conditions on it")
    _add_settings(explain, ["data_dir", "metadata_url", "credentials", "auth", "region"])
    for name, (_, text) in _COMMANDS.items():
        if name != command:
            commands.add_parser(name, help=text)
            continue
        module = _module(name)
        parser_of_command = commands.add_parser(name, help=text, description=module.DESCRIPTION)
        module.configure(parser_of_command)
        _add_settings(parser_of_command, module.SETTINGS)
    return parser


def _module(command: str) -> Any:
    return import_module(f"ecr_emulator.commands.{_COMMANDS[command][0]}")


def _add_settings(parser: argparse.ArgumentParser, names: Collection[str]) -> None:
    parser.set_defaults(config=None)
    if names:
        parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with settings")
    for setting in fields(Settings):
        if setting.name not in names:
            continue
        default = f" (default: {setting.default})" if setting.default not in ("", MISSING) else ""
        parser.add_argument(
            f"--{setting.name.replace('_', '-')}",
            type=int if setting.metadata["type"] is int else str,
            choices=setting.metadata["choices"] or None,
            metavar=None if setting.metadata["choices"] else setting.name.upper(),
            help=setting.metadata["help"] + default,
        )


def _explain(settings: Settings, options: argparse.Namespace) -> int:
    from ecr_emulator.identity.explain import Question, explain

    question = Question(options.principal, options.action, options.resource, options.source_ip)
    try:
        is_allowed, text = explain(settings, question)
    except (OSError, ValueError) as error:
        print(f"ecr-emulator: {error}", file=sys.stderr)
        return 1
    print(text)
    return 0 if is_allowed else _DENIED


def _run(settings: Settings, options: argparse.Namespace) -> int:
    from ecr_emulator.core.emulator import StoresError

    try:
        status: int = asyncio.run(_module(options.command).run(settings, options))
    except (StoresError, OSError) as error:
        print(f"ecr-emulator: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return status


def _serve(settings: Settings) -> int:
    # Imported here: --help and --version need not wait for aiohttp.
    with no_certificates_read():
        from ecr_emulator import logs
        from ecr_emulator.server import StartError, running

    # What requests make dies without it; cycles, as of exceptions, are few.
    gc.set_threshold(_YOUNG_OBJECTS)
    logs.configure(settings.log_format, settings.log_level)
    logger = logging.getLogger("ecr_emulator")

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with running(settings) as server:
            logger.info("listening on %s, state in %s", server.url, settings.data_dir)
            if server.emulator.ca_file:
                logger.info(
                    "TLS clients have to trust the CA in %s (AWS CLI and SDKs: AWS_CA_BUNDLE)",
                    server.emulator.ca_file.resolve(),
                )
            await stop.wait()
            logger.info("stopping")

    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve())
    except StartError as error:
        print(f"ecr-emulator: {error}", file=sys.stderr)
        return 1
    return 0
