"""A training run from a folder to a model file."""

import os
from pathlib import Path

from rich.console import Console

from tidegate.host.figures import ratio_text
from tidegate.spec.model import Model

from ..data.features import Features
from ..data.folders import scan_for
from ..data.material import NOTHING_ELSE, SoundFolders, check_sources, load_material
from ..data.split import PARTS
from ..errors import DataError
from ..recipe import Recipe
from ..tasks.registry import find_task
from .checkpoint import check_resumable, checkpoint_path
from .loop import Trainer
from .memory import keep_freed_memory
from .stream_loop import StreamTrainer
from .teacher import teacher_path


def run(directory: str | Path | None, recipe: Recipe, out: str | Path, *, cache: str | Path | None = None,
        resume: bool = False, progress: bool = True, speaker: str = "",
        sources: SoundFolders = NOTHING_ELSE, start: Model | None = None, teacher: str | Path | None = None) -> Path:
    """Train on a folder of words (``data.scan``) or the data of another task, and write the best model to ``out``.

    The file is written whenever an epoch is no worse than those before, once the thresholds are fully there; a
    checkpoint ``out.checkpoint`` after each epoch lets ``resume=True`` go on.  The card holds recipe, split sizes
    and the figures on the validation part and, once the run is complete, on the others.  ``speaker``: keep all clips of
    this speaker for the test part.  ``sources``: folders of other sound for a recipe that listens to streams.
    ``start``: begin with the weights of this model, which has the recipe's words and sizes.  ``teacher``: where the
    teacher of a recipe with one is kept, for other runs, too (None: beside the model until the run is complete).
    """
    out = Path(out)
    for file in (out, *(() if teacher is None else (Path(teacher),))):
        if not file.parent.is_dir():
            raise DataError(f"'{file}' cannot be written (no folder '{file.parent}'); choose another place")
        if not os.access(file.parent, os.W_OK):
            raise DataError(f"'{file}' cannot be written (no permission in '{file.parent}'); choose another place")
    if out.is_dir():
        raise DataError(f"'{out}' is a folder; give the name of a model file to write")
    if resume:
        check_resumable(out)
    check_sources(sources, recipe.keywords)     # what is missing is told before anything is decoded
    console = Console(stderr=True, quiet=not progress, markup=False)
    keep_freed_memory()
    if sources != NOTHING_ELSE and recipe.listening is None:
        raise DataError(f"recipe '{recipe.name}' trains on clips only; leave the folders of other sound out, or choose "
                        "a recipe with 'listening'")
    if teacher is not None and recipe.teacher is None:
        raise DataError(f"recipe '{recipe.name}' has no teacher; leave the file '{teacher}' out")
    task = find_task(recipe.task)
    features = task.load(recipe, directory, cache=cache, progress=progress, speaker=speaker)
    shape = recipe.network(features.width, len(features.labels)).shape
    console.print(f"recipe {recipe.name}: {shape}, {recipe.epochs} epochs, seed {recipe.seed}")
    for line in task.lines(features):
        console.print(line, soft_wrap=True)
    if recipe.listening is None:
        trainer = Trainer(recipe, features, out, resume, progress, start)
    elif directory is None or not isinstance(features, Features):
        raise DataError(f"recipe '{recipe.name}': the task '{recipe.task}' has no streams; leave 'listening' out")
    else:
        data = scan_for(recipe, directory, speaker)
        if not sources.speech:
            console.print("warning: no continuous speech is given (--speech), so the model will hear its words in "
                          "all talk", soft_wrap=True)
        material, judged = (load_material(data, features, sources, part, cache, progress) for part in PARTS[:2])
        if skipped := material.skipped + judged.skipped:
            console.print(f"{len(skipped)} recordings cannot be read and are left out, the first: {skipped[0]}",
                          soft_wrap=True)
        trainer = StreamTrainer(recipe, features, out, material, judged, resume, progress, sources, start,
                                None if teacher is None else Path(teacher))
    try:
        for epoch in trainer.epochs():
            early = "" if epoch.frames_used is None else f" after {epoch.frames_used:.0%} of the frames"
            streams = "" if epoch.misses is None else f"misses in streams {epoch.misses:.1%}  "
            console.print(f"epoch {epoch.number:3}/{recipe.epochs}  loss {epoch.loss:.3f}  "
                          f"validation {task.primary.text(epoch.accuracy)}{early}  "
                          f"{streams}fetch reduction {ratio_text(epoch.fetch_reduction, 2)}  "
                          f"Θ {' '.join(map(str, epoch.thresholds))}")
    except KeyboardInterrupt:
        if trainer.epoch:
            console.print(f"{trainer.epoch} epochs are kept; the same command with --resume goes on")
        raise
    checkpoint_path(out).unlink(missing_ok=True)
    if recipe.teacher and teacher is None:
        teacher_path(out).unlink(missing_ok=True)
    return out
