"""Reports of training runs and sweeps: one HTML file that needs nothing else, and plot files.  Needs matplotlib.

    results.py   a sweep's folder and training logs → rows, groups over seeds, Pareto front
    charts.py    figures from numbers                raster.py   events of a clip
    page.py      inline SVG, files                   traces.py   what was told of frames that are no sound
    model.py, sweep.py   the reports

The text of the pages is in ``../templates``.
"""

from .model import write_model_report
from .sweep import write_report

__all__ = ["write_model_report", "write_report"]
