"""Every task by its name: the tasks of this package, registered ones, and those of installed packages.

A package adds a task by an entry point of the group ``tidegate.tasks``: its name is the task's, its object the task.
The package is imported when a recipe first names the task.  An entry point cannot replace a task of the same name.
"""

from functools import partial
from importlib.metadata import entry_points

from ..data.images import CODES, load_images
from ..data.nmnist import load_nmnist
from ..data.sequences import SOURCES, load_sequences
from ..errors import DataError
from .arrays import ArrayTask
from .ctc import StringTask
from .images import EventTask, ImageTask
from .protocol import Task
from .series import SeriesTask
from .words import WordTask

GROUP = "tidegate.tasks"
_tasks: dict[str, Task] = {}


def register(task: Task) -> None:
    """Make a task known by its name; DataError if there is one of this name."""
    if task.name in _tasks:
        raise DataError(f"there is a task '{task.name}' already; give yours another name")
    _tasks[task.name] = task


def task_names() -> tuple[str, ...]:
    """Names of all tasks."""
    return tuple(dict.fromkeys((*_tasks, *(entry.name for entry in entry_points(group=GROUP)))))


def find_task(name: str) -> Task:
    """The task of a name; DataError if there is none, or its package cannot be loaded."""
    if name not in _tasks:
        for entry in entry_points(group=GROUP, name=name):
            try:
                _tasks[name] = entry.load()
            except (ImportError, AttributeError) as error:
                raise DataError(f"the task '{name}' cannot be loaded from '{entry.value}' ({error}); "
                                "repair its package") from None
    if name not in _tasks:
        raise DataError(f"no task '{name}'; choose {', '.join(task_names())}, or install the package that has it")
    return _tasks[name]


register(WordTask())
for _name in SOURCES:
    register(ArrayTask(_name, partial(load_sequences, _name)))
for _name in CODES:
    register(ImageTask(_name, partial(load_images, _name)))
register(EventTask("n-mnist", load_nmnist))
register(SeriesTask())
register(StringTask())
