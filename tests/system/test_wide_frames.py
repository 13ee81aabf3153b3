"""Frames of images: more features than a request had room for at first, on the virtual board."""

import numpy as np
import pytest
from command import fails, tidegate
from models import random_frames, random_model

from tidegate.golden import Golden
from tidegate.host.board import Board
from tidegate.spec.errors import CapacityError
from tidegate.spec.model import save_model
from tidegate_sim.verify import verify

LANES = 64
PIXELS = 28 * 28


@pytest.fixture(autouse=True)
def _compiled(compiled):
    pass


@pytest.mark.parametrize("features", [256, 257, 512, 513, PIXELS, 1023, 1024])
def test_frames_equal_golden(features):
    model, frames = random_model(features=features), random_frames(features, 20, features)
    golden = Golden(model).run(frames[:, None])
    with Board.open("virtual", lanes=LANES) as board:
        board.load(model)
        results = list(board.stream(frames))
    assert np.array_equal([r.logits for r in results], golden.logits[:, 0])
    assert np.array_equal([r.events for r in results], golden.events[:, 0])


def test_verify_an_image():
    model = random_model(features=PIXELS)
    report = verify(model, [random_frames(k, 25, PIXELS) for k in range(2)], lanes=[LANES])
    assert (report["frames"], report["mismatches"]) == (150, 0), report
    assert report["decisions"] > 0


def test_a_frame_too_wide_is_refused_in_a_line():
    with (Board.open("virtual", lanes=LANES) as board,
          pytest.raises(CapacityError, match=r"1025 features, the board has 1024 \(1 too few\)") as error):
        board.load(random_model(features=1025, gru=(8,), thetas=(16, 8)))
    assert "\n" not in str(error.value)


def test_verify_from_files_of_frames(tmp_path):
    model, path = random_model(features=PIXELS), tmp_path / "image.tidegate"
    save_model(model, path)
    fails(tidegate("verify", path, "--data", tmp_path), f"no frames in '{tmp_path}'; give a folder of .npy and .npz")
    done = tidegate("verify", path, "-n", 20, "--seed", 7)
    assert done.returncode == 0 and "random walks of seed 7" in done.stdout and "0 mismatches" in done.stdout, done
    np.save(tmp_path / "clips.npy", np.stack([random_frames(k, 9, PIXELS) for k in range(3)]))
    done = tidegate("verify", path, "--data", tmp_path, "-n", 20)
    assert done.returncode == 0 and "60 frames at 3 settings" in done.stdout and "0 mismatches" in done.stdout, done
