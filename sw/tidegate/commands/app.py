"""The verbs, registered."""

import typer

from . import bench, boards, build, data, fit, flash, listen, models, report, selftest, speech, stream, sweep

app = typer.Typer(name="tidegate", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Delta-RNN: a network that speaks only when something changed, on the board and here.")
app.command()(speech.demo)
app.command()(speech.run)
app.command()(listen.listen)
app.command()(models.train)
app.command()(sweep.sweep)
app.command("eval")(models.evaluate)
app.command()(report.report)
app.command()(stream.stream)
app.command()(models.verify)
app.command()(fit.fit)
app.command()(bench.bench)
app.add_typer(data.app, name="data")
app.command()(models.models)
app.command()(boards.boards)
app.command()(build.build)
app.command()(flash.flash)
app.command()(selftest.selftest)
