"""The float network that a network on streams learns from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tidegate.spec.model import read_model
from tidegate.train.data.stream_options import Teaching
from tidegate.train.data.streams import Chunk
from tidegate.train.errors import DataError
from tidegate.train.fit import teacher as teachers
from tidegate.train.fit.teacher import FEWEST, Ear, Teacher, lesson, teacher_path
from tidegate.train.fit.training_run import run

SMALL = Teaching(width=8, maps=2, epochs=2, chunks=3)
CPU = torch.device("cpu")


def chunk(frames, fresh):
    none = np.zeros(frames.shape[:2], np.int64)
    return Chunk(frames, torch.from_numpy(none), none, none, [], np.array(fresh))


def test_a_lesson_is_zero_where_both_say_the_same_and_grows_with_the_difference():
    torch.manual_seed(1)
    a, b = torch.randn(2, 5, 3, 4)
    assert lesson(a, a + 7, 2.0).abs() < 1e-6           # the level of all logits says nothing
    p, q = torch.softmax(a, -1), torch.softmax(b, -1)
    assert lesson(a, b, 1.0).item() == pytest.approx((p * (p.log() - q.log())).sum(-1).mean().item(), rel=1e-5)
    assert lesson(a, b, 1.0) > lesson(a, (a + b) / 2, 1.0) > 0


def test_it_hears_the_past_only_and_chunks_are_a_whole():
    torch.manual_seed(2)
    teacher = Teacher(FEWEST, 3, SMALL).eval()
    frames = torch.randint(-900, 900, (60, 2, FEWEST)).float()
    ear = Ear(teacher, False)
    with torch.no_grad():
        whole = ear.hear(chunk(frames, [True, True]), CPU)
        changed = frames.clone()
        changed[40:] = 0
        ear.restart()
        other = ear.hear(chunk(changed, [True, True]), CPU)
        assert torch.allclose(whole[:40], other[:40], atol=1e-5) and not torch.allclose(whole[40:], other[40:])
        ear.restart()
        parts = [ear.hear(chunk(part, [k == 0] * 2), CPU) for k, part in enumerate(frames.split(20))]
        assert torch.allclose(torch.cat(parts), whole, atol=1e-4)
        anew = ear.hear(chunk(frames[:20], [True, False]), CPU)       # one stream begins anew
        assert torch.allclose(anew[:, 0], whole[:20, 0], atol=1e-4) and not torch.allclose(anew[:, 1], whole[:20, 1])


def test_too_few_bands():
    with pytest.raises(DataError, match=f"needs {FEWEST} bands or more, the front end has {FEWEST - 1}"):
        Teacher(FEWEST - 1, 3, SMALL)


@pytest.fixture
def taught(listener):
    return replace(listener, teacher=SMALL, frontend=replace(listener.frontend, bands=16))


def test_a_run_with_a_teacher(folders, taught, tmp_path, monkeypatch, capsys):
    root, sources = folders

    def train(out, recipe=taught, teacher=None):
        return run(root, recipe, out, cache=tmp_path / "cache", sources=sources, teacher=teacher)

    model = read_model(train(tmp_path / "a.tidegate"))
    assert "teacher: epoch   2/2" in capsys.readouterr().err
    assert model.card["recipe"]["teacher"]["width"] == 8
    assert not teacher_path(tmp_path / "a.tidegate").exists()         # the run is complete

    kept = tmp_path / "kept.teacher"
    assert read_model(train(tmp_path / "b.tidegate", teacher=kept)).digest == model.digest
    assert kept.exists()
    capsys.readouterr()
    other = replace(taught, teacher=replace(SMALL, weight=3.0, temperature=1.0))
    assert read_model(train(tmp_path / "c.tidegate", other, kept)).digest != model.digest
    shown = capsys.readouterr().err
    assert "the teacher is in" in shown and "teacher: epoch" not in shown
    with pytest.raises(DataError, match="belongs to another recipe or data set; delete it"):
        train(tmp_path / "d.tidegate", replace(taught, teacher=replace(SMALL, width=9)), kept)

    # one that was stopped goes on, and comes out the same
    class Stop(Exception):
        pass

    def write(path, state):
        written(path, state)
        raise Stop

    written, again = teachers.write_state, tmp_path / "again.teacher"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(teachers, "write_state", write)
        train(tmp_path / "e.tidegate", teacher=again)
    assert read_model(train(tmp_path / "e.tidegate", teacher=again)).digest == model.digest
    with pytest.raises(DataError, match="cannot be written"):              # told before anything is trained
        train(tmp_path / "f.tidegate", teacher=tmp_path / "none" / "x.teacher")
    with pytest.raises(DataError, match="has no teacher; leave the file"):
        train(tmp_path / "f.tidegate", replace(taught, teacher=None), kept)


def test_a_teacher_teaches_on_streams(recipe):
    with pytest.raises(DataError, match="give 'listening', too"):
        replace(recipe, teacher=SMALL)
