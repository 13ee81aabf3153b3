"""Data sets, augmentation, training and evaluation.  ``import tidegate.train`` alone does not import torch."""


def run(directory, recipe, out, **options):
    """Train on a folder of words and write a model file; see ``tidegate.train.fit.training_run.run``."""
    from .fit.training_run import run

    return run(directory, recipe, out, **options)
