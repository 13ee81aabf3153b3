"""What `tidegate import` prints and stores describes the model that it writes, and the other verbs go on from there."""

import json
import re

import numpy as np
import pytest
import torch
from command import fails, tidegate
from made_networks import Net

from tidegate.golden import Golden
from tidegate.golden.figures import figures
from tidegate.spec.model import read_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network, n.pt, and sequences with its own answers, d.npz."""
    folder = tmp_path_factory.mktemp("report")
    torch.manual_seed(0)
    net, rng = Net("GRU", 8, 16, 1, 3), np.random.default_rng(0)
    x = np.repeat(rng.normal(0, 1, (200, 4, 8)), 6, 1) + rng.normal(0, 0.1, (200, 24, 8))
    with torch.no_grad():
        y = net(torch.from_numpy(x).float())[:, -1].argmax(1).numpy()
    torch.save(net.state_dict(), folder / "n.pt")
    np.savez(folder / "d.npz", x=x, y=y)
    np.savez(folder / "counts.npz", x=(100 * x).astype(np.int16), y=y)
    return folder


def ran(folder, *arguments):
    done = tidegate(*arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def judged(folder, name):
    """(accuracy, fetch reduction, occupancy) of a model on all sequences."""
    held, model = np.load(folder / "d.npz"), read_model(folder / name)
    trace = Golden(model).run(model.quantise(held["x"]).transpose(1, 0, 2))
    found = figures(model.network, trace.events)
    return float((trace.logits[-1].argmax(-1) == held["y"]).mean()), found.fetch_reduction, found.occupancy


def test_the_report_is_that_of_the_fine_tuned_model(folder):
    said = ran(folder, "import", "n.pt", "-c", "d.npz", "--fetch-reduction", "6", "--epochs", "4", "-o", "t.tidegate")
    accuracy, reduction, occupancy = judged(folder, "t.tidegate")
    lines = said.splitlines()
    top = re.search(r"fetch reduction ([\d.]+)x, the same answer as float [\d.]+%, accuracy ([\d.]+)%", said)
    assert "fine-tuned for 4 epochs" in lines[0] and top[0] in lines[2]
    assert float(top[1]) == pytest.approx(reduction, abs=0.006)
    assert float(top[2]) == pytest.approx(100 * accuracy, abs=0.06)
    assert re.search(r"before fine-tuning: fetch reduction .*accuracy .*; the report above is that of the model after",
                     said)
    assert re.search(r"epoch [1-4] of 4 was kept, by 40 of 200 sequences that were held out: accuracy on these", said)
    card = read_model(folder / "t.tidegate").card
    assert card["conversion"]["point"]["accuracy"] == pytest.approx(accuracy)
    assert card["conversion"]["occupancy"] == pytest.approx(list(occupancy))
    assert card["finetuned"]["occupancy"] == pytest.approx(list(occupancy))
    assert card["conversion"]["epochs"] == card["finetuned"]["best"] > 0


def test_the_same_as_data(folder):
    said = json.loads(ran(folder, "import", "n.pt", "-c", "d.npz", "--fetch-reduction", "6", "--epochs", "2", "--json",
                          "-o", "j.tidegate"))
    accuracy, reduction, _ = judged(folder, "j.tidegate")
    assert said["report"]["point"]["fetch_reduction"] == pytest.approx(reduction)
    assert said["report"]["point"]["accuracy"] == pytest.approx(accuracy)
    assert said["before_finetuning"]["epochs"] == 0 and said["before_finetuning"]["point"] != said["report"]["point"]


def test_fit_goes_on_with_the_occupancy_that_was_measured(folder):
    ran(folder, "import", "n.pt", "-c", "d.npz", "--theta", "20", "-o", "f.tidegate")
    model = read_model(folder / "f.tidegate")
    assert model.network.thresholds == (20, 20)                 # one number is Θ of all signals
    _, _, occupancy = judged(folder, "f.tidegate")
    said = json.loads(ran(folder, "fit", "f.tidegate", "--board", "icebreaker", "--json"))
    assert said["speed"]["occupancy"] == pytest.approx(list(occupancy))
    ran(folder, "import", "n.pt", "-o", "without.tidegate")
    fails(tidegate("fit", "without.tidegate", cwd=folder), "no occupancy")


def test_integers_are_lsbs_or_refused(folder):
    done = tidegate("import", "n.pt", "-c", "counts.npz", "-o", "i.tidegate", cwd=folder)
    fails(done, "the calibration data are int16")
    assert not (folder / "i.tidegate").exists()
    ran(folder, "import", "n.pt", "-c", "d.npz", "-o", "0.tidegate")
    model, held = read_model(folder / "0.tidegate"), np.load(folder / "d.npz")
    np.savez(folder / "lsbs.npz", x=model.quantise(held["x"]), y=held["y"])
    compared = [tidegate("verify", "0.tidegate", "--against", "n.pt", "--data", name, cwd=folder)
                for name in ("d.npz", "lsbs.npz")]
    told = [re.findall(r"the same answer as float in [\d.]+%|features, as sent|layer 0, state h +[\d.]+", done.stdout)
            for done in compared]
    assert told[0][0] == told[1][0] and compared[1].returncode == 0, compared[1].stdout + compared[1].stderr
