"""The verbs, registered."""

import re

import typer
from typer.core import TyperCommand

from . import (
    bench,
    boards,
    build,
    converting,
    data,
    exporting,
    fit,
    flash,
    importing,
    listen,
    models,
    report,
    selftest,
    speech,
    stream,
    sweep,
)

_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")


class Command(TyperCommand):
    """A verb whose options for numbers take several at once: ``--occupancy 30 20`` is --occupancy 30 --occupancy 20."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        several = {name for option in self.params if getattr(option, "multiple", False) for name in option.opts}
        spelled, option, values = [], "", 0     # the option to which a number may belong, and numbers that it has
        for word in args:
            if option and _NUMBER.fullmatch(word):
                spelled += [option, word] if values else [word]
                values += 1
            else:
                spelled.append(word)
                option, values = word if word in several else "", 0
        return super().parse_args(ctx, spelled)


app = typer.Typer(name="tidegate", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Delta-RNN: a network that speaks only when something changed, on the board and here.")
app.command(cls=Command)(speech.demo)
app.command(cls=Command)(speech.run)
app.command(cls=Command)(listen.listen)
app.command(cls=Command)(models.train)
app.command("import", cls=Command)(importing.import_network)
app.command("convert", cls=Command)(converting.convert_network)
app.command("export", cls=Command)(exporting.export_model)
app.command(cls=Command)(sweep.sweep)
app.command("eval", cls=Command)(models.evaluate)
app.command(cls=Command)(report.report)
app.command(cls=Command)(stream.stream)
app.command(cls=Command)(models.verify)
app.command(cls=Command)(fit.fit)
app.command(cls=Command)(bench.bench)
app.add_typer(data.app, name="data")
app.command(cls=Command)(models.models)
app.command(cls=Command)(boards.boards)
app.command(cls=Command)(build.build)
app.command(cls=Command)(flash.flash)
app.command(cls=Command)(selftest.selftest)
