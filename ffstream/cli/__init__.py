"""The command line: one module a verb, each loading only what it needs."""

from __future__ import annotations

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

app = typer.Typer(
    name="ffstream",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="A daemon that never stops learning: Forward-Forward on live data over ZeroMQ.\n\n"
    "[bold]ffstream demo[/] shows all of it in a minute. Then [bold]ffstream config > ffstream.toml[/] and "
    "[bold]ffstream serve -c ffstream.toml[/] start a daemon of your own; feed it, query it, watch it.",
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


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"ffstream {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; an error that ffstream raises on purpose is one line and its exit code."""
    try:
        app()
    except FFStreamError as error:
        _fail(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "ffstream":
            raise
        _fail(f"this command needs {error.name}: pip install 'ffstream[all]'", 69)


def _fail(message: str, code: int) -> NoReturn:
    typer.secho("error: ", fg="red", nl=False, err=True)
    typer.echo(message, err=True)
    sys.exit(code)
