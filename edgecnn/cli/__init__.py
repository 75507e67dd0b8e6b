"""The command line: parse, one call, print."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

import edgecnn
from edgecnn.cli.interruption import interruptible, interruption_code
from edgecnn.cli.table import tell
from edgecnn.errors import EdgecnnError, explain_missing_packages, unknown_name

#: Command → its one-line help. The module `edgecnn.cli.<command>` is imported only when the command is used.
COMMANDS = {
    "bench": "Measure latency, memory and the score of exported files.",
    "compare": "Compare two exported files on the same samples, each in its own runtime.",
    "completion": "Print the shell completion script for bash, zsh or fish.",
    "compress": "Make a network smaller and keep its accuracy.",
    "debug": "Show in which layers an int8 file loses its signal, the worst first.",
    "demo": "Train, compress, export and measure a small network, end to end.",
    "devices": "List the device catalogue, or show one device with the source of each fact.",
    "doctor": "Show installed and missing packages, folders and boards.",
    "export": "Export a network to ONNX and TFLite, float and int8, verified.",
    "fit": "Check whether a file fits a device's memory.",
    "history": "List earlier measurements, or show one in full.",
    "report": "Write an HTML report on exported files: accuracy, latency, size, and the devices they fit.",
    "sensitivity": "Cut each layer of a network separately, and show the loss and the saving.",
    "study": "Studies of many networks: published, counted, trained and deployed figures.",
}

#: Options that a command does not have, and what serves in their place.
WISHES = {
    "--latency": "a latency is a goal of edgecnn compress, for example --latency 12ms --device rpi4",
    "--precision": "--recipe chooses the precisions, for example --recipe phone",
    "--int8": "--recipe chooses the precisions, for example --recipe phone",
    "--fp16": "--recipe chooses the precisions, for example --recipe phone",
}

COMPLETE_VARIABLE = "_EDGECNN_COMPLETE"  # what the completion script sets when it calls us


class LazyGroup(click.Group):
    """A group whose commands are imported on use, so that `edgecnn --help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"edgecnn.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = not args or args[0] in COMMANDS or args[0].startswith("-")
        if not known and not ctx.resilient_parsing:
            raise unknown_name("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        options = click.Command.shell_complete(self, ctx, incomplete)
        names = (name for name in COMMANDS if name.startswith(incomplete))
        return [*(CompletionItem(name, help=COMMANDS[name]) for name in names), *options]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=LazyGroup, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(edgecnn.__version__, prog_name="edgecnn")
def cli() -> None:
    """Make a trained CNN small and fast enough for a phone or a board, and prove it.

    \b
    Example:
      edgecnn export edgecnn:resnet20 --weights resnet20.safetensors --data cifar10 --recipe board -o out/
      edgecnn bench out/resnet20.w8a8.tflite --data cifar10
      edgecnn fit out/resnet20.w8a8.tflite --device stm32h7a3
    """


def _notes_of(error: BaseException) -> Iterator[str]:
    """Yield what was noted on *error*, or on those that it took the place of: how to go on, for example."""
    one: BaseException | None = error
    while one is not None:
        yield from getattr(one, "__notes__", ())
        one = one.__cause__ or one.__context__


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every failure is one line on standard error and its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    _prepare_streams()
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before onnxruntime is imported; see `runtimes.worker`
    # Read here rather than by click, which may fail before it has parsed it.
    debug = "--debug" in given
    try:
        if COMPLETE_VARIABLE in os.environ:
            importlib.import_module("edgecnn.cli.completion")  # has the bash completion of our own
            cli.main(given, prog_name="edgecnn", complete_var=COMPLETE_VARIABLE)  # prints the completions and exits
        with interruptible(), explain_missing_packages(), cli.make_context("edgecnn", given) as context:
            code = cli.invoke(context)
            sys.stdout.flush()  # here, where a full disk is reported, not when Python ends
    except click.exceptions.Exit as done:  # --help and --version
        code = done.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        fail("; ".join(("interrupted", "existing files are unchanged", *_notes_of(error))), interruption_code(), debug)
    except EdgecnnError as error:
        fail(str(error), error.exit_code, debug)
    except click.NoSuchOption as error:
        wish = WISHES.get(error.option_name)
        fail(f"No such option '{error.option_name}'; {wish}" if wish else error.format_message(), 2, debug)
    except click.ClickException as error:
        fail(error.format_message(), 2, debug)
    except BrokenPipeError:
        # The reader of our output went away, `edgecnn devices | head` say: no failure of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except ModuleNotFoundError as error:
        fail(f"{error}: the installation is broken; reinstall edgecnn", 2, debug)
    except OSError as error:
        fail(_os_message(error), 2, debug)
    except MemoryError:
        fail("this machine does not have enough memory", 2, debug)
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        fail(f"unexpected {type(error).__name__}: {text} (--debug shows where)", 2, debug)
    sys.exit(code if isinstance(code, int) else 0)


def _prepare_streams() -> None:
    """Have standard input, output and error open, whatever the caller closed, and let them take any character."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Takes the descriptor that is free, so that no file of ours gets it, and what is printed with it.
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - open as long as the program
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may not be text, or a terminal plain ASCII
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        binary = io.BufferedWriter(_Forgiving(sys.stderr.fileno(), "w", closefd=False))
        encoding = sys.stderr.encoding
        sys.stderr = io.TextIOWrapper(binary, encoding, errors="backslashreplace", line_buffering=True)


class _Forgiving(io.FileIO):
    """Standard error: where it takes nothing, a full disk say, words are lost, and the exit code stays what it was."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or len(data)
        except OSError:
            return len(data)


def fail(message: str, code: int, debug: bool) -> None:
    """Print *message* as one line on standard error (the traceback before it where *debug*) and exit with *code*.

    Args:
        message: becomes one line.
        code: the exit code.
        debug: whether the traceback is wanted.
    """
    if debug:
        for line in traceback.format_exc().splitlines():
            tell(line)
    try:
        sys.stdout.flush()
    except OSError:
        # What cannot be written would be tried again when Python ends, with an exit code and lines of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    tell(f"edgecnn: {' '.join(message.split())}")
    sys.exit(code)


def _os_message(error: OSError) -> str:
    where = f" at '{error.filename}'" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"no space left on the device{where}; no incomplete file was left"
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return f"a file is in the way of the folder{where}; choose another folder"
    return f"{(error.strerror or str(error)).lower()}{where}"


__all__: list[Any] = ["cli", "main"]
