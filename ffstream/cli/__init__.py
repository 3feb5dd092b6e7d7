"""The command line: one module per verb, each loading only what it needs."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Annotated, NoReturn

import typer

from ffstream import __version__
from ffstream.cli import (
    bench,
    config,
    ctl,
    demo,
    doctor,
    dream,
    experiment,
    feed,
    inspect,
    picture,
    predict,
    serve,
    watch,
)
from ffstream.errors import FFStreamError

# EX_IOERR of sysexits.h.
UNWRITABLE = 74

app = typer.Typer(
    name="ffstream",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="A daemon that never stops learning: Forward-Forward on live data over ZeroMQ.\n\n"
    "`ffstream demo` shows all of it in a minute. Then start a daemon of your own, and in other terminals feed it, "
    "watch it, query it:\n\n"
    "```\nffstream serve --dataset digits\nffstream feed digits --passes 10 --seed 0\nffstream watch\n"
    "ffstream predict seven.png\n```\n\n"
    "`ffstream config` prints every setting. Each command has a `--help` with examples.",
)
app.command()(demo.demo)
app.command()(serve.serve)
app.command("config")(config.config)
app.command()(doctor.doctor)
app.command()(feed.feed)
app.command()(predict.predict)
app.command()(watch.watch)
app.command()(ctl.ctl)
app.command()(inspect.inspect)
app.command()(dream.dream)
app.add_typer(picture.picture)
app.add_typer(bench.bench)
app.add_typer(experiment.experiment)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"ffstream {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    # The version is printed as soon as the option is read, so no verb has to follow it.
    del version


def main() -> None:
    """Run the command line; any problem with its input or output is reported in a line or two."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path may contain bytes that are not valid text.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            # Flush here: a failure at the exit of the interpreter would print a traceback.
            if sys.stdout is not None:
                sys.stdout.flush()
    except FFStreamError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader closed the pipe early.
        _drop_output()
        sys.exit(1)
    except OSError as error:
        _drop_output()
        _fail(f"{error.filename or 'output'}: {error.strerror or error}", UNWRITABLE)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "ffstream":
            raise
        _fail(f"this command needs {error.name}: pip install 'ffstream[all]'", 69)


def _drop_output() -> None:
    """Discard unprinted output, so that the interpreter does not retry at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError):
        os.dup2(nowhere, 1)


def _fail(message: str, code: int) -> NoReturn:
    typer.secho("error: ", fg="red", nl=False, err=True)
    typer.echo(message, err=True)
    sys.exit(code)
