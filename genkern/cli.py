"""The command line: ``genkern list``, ``genkern backends``, ``genkern <claim>``, and the commands on stores.

The options of a claim are the parameters of its study's `run`: names, types and defaults from the signature, help from
the docstring. Exit status: 0 done, 1 failed or cells have failed, 2 bad arguments, 130 interrupted; one line on stderr
says why.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import genkern
from genkern import _cli_stores, studies

DONE, FAILED, BAD_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = [_dashes(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    try:
        options = vars(_parser(arguments).parse_args(arguments))
        command = options.pop("command")
        if command == "list":
            width = max(map(len, studies.CLAIMS))
            _print("\n".join(f"{claim:<{width}}  {line}" for claim, (_, line) in studies.CLAIMS.items()))
        elif command == "backends":
            states = genkern.backends()
            width = max(map(len, states))
            _print("\n".join(f"{backend:<{width}}  {state}" for backend, state in states.items()))
        elif command in _cli_stores.COMMANDS:
            text, failures = _cli_stores.run(command, **options)
            _print(text)
            return FAILED if failures else DONE
        else:
            _study(command, **options)
    except SystemExit as stop:  # of argparse: help, version, bad arguments
        return stop.code if isinstance(stop.code, int) else FAILED
    except KeyboardInterrupt as stop:
        return _stop(INTERRUPTED, str(stop) or "interrupted")
    except BrokenPipeError:  # the reader of our output has left, which is no news to anyone
        _abandon_stdout()
        return FAILED
    except (ValueError, TypeError, genkern.errors.StoreMismatch) as error:
        return _stop(BAD_ARGUMENTS, str(error))
    except OSError as error:
        _abandon_stdout()
        where = f"{error.filename}: " if error.filename else ""
        return _stop(FAILED, f"{where}{error.strerror or error}")
    except MemoryError as error:
        return _stop(FAILED, f"out of memory {error}")
    except (ImportError, genkern.errors.GenkernError) as error:
        return _stop(FAILED, str(error))
    except Exception as error:
        return _stop(FAILED, f"{type(error).__name__}: {error}")
    return DONE


def _study(claim: str, *, out: str, json_output: bool, **parameters: Any) -> None:
    made = [folder for folder in (Path(out), *Path(out).parents) if not folder.exists()]
    try:
        result = studies.load(claim).run(out=out, **parameters)
    except genkern.errors.StoreMismatch:
        for folder in made:  # nothing was run for them
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    if json_output:
        _print(json.dumps(result.summary(), indent=2, allow_nan=False))
    else:
        _print(f"{result.table}\nsaved: figure.png, results.npz, summary.json in {out}")


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_ARGUMENTS, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Parser of all commands; only a claim that is asked for is imported and given its options."""
    parser = _Parser(prog="genkern", description=genkern.__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"genkern {genkern.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("list", help="name the studies", allow_abbrev=False)
    commands.add_parser("backends", help="say which backends run on this machine", allow_abbrev=False)
    _cli_stores.add(commands)
    for claim, (_, line) in studies.CLAIMS.items():
        command = commands.add_parser(claim, help=line, description=line, allow_abbrev=False)
        if claim in arguments:
            command.add_argument(
                "--out", metavar="DIR", default=claim, help="folder of the results (default: %(default)s)"
            )
            command.add_argument("--json", dest="json_output", action="store_true", help="print the summary as JSON")
            _add_parameters(command, studies.load(claim).run)
    return parser


def _add_parameters(parser: argparse.ArgumentParser, run: Callable[..., Any]) -> None:
    hints = typing.get_type_hints(run)
    texts = _parameter_texts(inspect.getdoc(run) or "")
    for name, parameter in inspect.signature(run).parameters.items():
        if name == "out":
            continue
        flag = f"--{name.replace('_', '-')}"
        text = texts.get(name, "").replace("%", "%%")
        if parameter.default is not None:
            text += f" Default: {parameter.default}."
        kinds = _alternatives(hints[name])
        if name == "progress":  # a function is for callers in Python, and silence for those who did not ask
            text = "Show progress: a bar on a terminal, a line a minute elsewhere. Default: True."
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=True, help=text)
        elif bool in kinds:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=parameter.default, help=text)
        else:
            convert, metavar = _converter(kinds)
            metavar = {"executor": "SPEC", "store": "FILE"}.get(name, metavar)
            parser.add_argument(flag, type=convert, metavar=metavar, default=parameter.default, help=text)


def _alternatives(hint: Any) -> list[Any]:
    """Types of a union but None."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return [kind for kind in (typing.get_args(hint) if union else [hint]) if kind is not type(None)]


def _converter(kinds: list[Any]) -> tuple[Callable[[str], Any], str]:
    lists = [kind for kind in kinds if typing.get_origin(kind) is Sequence]
    single = next((kind for kind in kinds if kind in (int, float, str)), None)
    if not lists:
        if single is None:
            raise AssertionError(f"no command-line form of {kinds}")
        return single, {int: "N", float: "X", str: "NAME"}[single]
    (item,) = typing.get_args(lists[0])

    def numbers(text: str) -> Any:
        try:
            if single is not None and "," not in text:
                return single(text)
            return [item(part) for part in text.split(",") if part.strip()]
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected numbers separated by commas, got {text!r}") from None

    return numbers, "N,..." if single is None else "N | N,..."


def _parameter_texts(doc: str) -> dict[str, str]:
    """Texts of the section "Parameters" of a NumPy-style docstring, by name."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[^\n]*\n-+$|\Z)", doc, re.MULTILINE | re.DOTALL)
    entries = re.findall(
        r"^(\w[\w, ]*) :[^\n]*\n((?:[ ]+[^\n]*\n?|\n)*)", section.group(1) if section else "", re.MULTILINE
    )
    return {name.strip(): " ".join(text.split()) for names, text in entries for name in names.split(",")}


def _dashes(argument: str) -> str:
    """``--n_train=3`` as ``--n-train=3``, so that both spellings of a parameter are understood."""
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else argument


def _print(text: str) -> None:
    print(text, flush=True)


def _stop(status: int, message: str) -> int:
    print(f"genkern: {_cli_stores.shown(' '.join(message.split()))}", file=sys.stderr)
    return status


def _abandon_stdout() -> None:
    """Send what is left of stdout nowhere, so that the interpreter does not complain of it at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
