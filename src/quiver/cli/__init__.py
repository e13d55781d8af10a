"""The command line: one file per command, each a thin wrapper of a method of Collection.

Nothing heavy is imported until a command needs it, so that ``quiver --help`` answers at once.
"""

import sys

import typer

from quiver.cli.add import add
from quiver.cli.bench import bench
from quiver.cli.caption import caption
from quiver.cli.count import count
from quiver.cli.default import default
from quiver.cli.delete import delete
from quiver.cli.demo import demo
from quiver.cli.doctor import doctor
from quiver.cli.drop import drop
from quiver.cli.duplicates import duplicates
from quiver.cli.export import export
from quiver.cli.facets import facets
from quiver.cli.fit import fit
from quiver.cli.get import get
from quiver.cli.index import index
from quiver.cli.info import info
from quiver.cli.key import key
from quiver.cli.mcp import mcp
from quiver.cli.prune import prune
from quiver.cli.quarantine import quarantine
from quiver.cli.relocate import relocate
from quiver.cli.search import search
from quiver.cli.serve import serve
from quiver.cli.threshold import threshold
from quiver.cli.train import train
from quiver.cli.version import versions
from quiver.errors import QuiverError, explained
from quiver.wording import command_line

app = typer.Typer(
    name="quiver",
    help="Find anything with anything: images, video, audio, text and pairs in typed vector spaces.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def worded(context: typer.Context) -> None:
    """Word the messages of every command for the command line."""
    context.with_resource(command_line())


STORED = (info, default, drop, get, count, facets, duplicates, delete, versions, quarantine, prune, relocate, export)
for command in (add, search, index, fit, threshold, caption, *STORED, serve, mcp, train, doctor, demo):
    app.command()(command)
app.add_typer(bench, name="bench")
app.add_typer(key, name="key")

#: Exit statuses after Ctrl-C and SIGTERM: 128 and the number of the signal.
STOPPED = (130, 143)


def main() -> None:
    """Run the command line; errors that a user can correct are one line on standard error, with exit status 2."""
    try:
        app()
    except QuiverError as error:
        print(f"quiver: {error}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as stop:
        if stop.code in STOPPED:
            print("quiver: stopped; committed work is kept, and the same command resumes", file=sys.stderr)
        raise
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except BaseException as error:
        if (told := explained(error)) is error:
            raise
        print(f"quiver: {told}", file=sys.stderr)
        sys.exit(2)
