"""``tidegate verify --against FILE``: what it prints, its exit codes, and wrong use."""

import json

import numpy as np
import pytest
import torch
from command import fails, tidegate, write_sound
from made_networks import Net, exported
from safetensors.torch import save_file

from tidegate import from_torch
from tidegate.commands.app import app
from tidegate.host.frontend import FrontEndSettings
from tidegate.spec.errors import TidegateError
from tidegate.spec.model import read_model, save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network as .onnx, .safetensors and .pt2, its data, and the model that ``import`` makes of it."""
    here = tmp_path_factory.mktemp("float")
    torch.manual_seed(0)
    net = Net("GRU", 6, 16, 2, 4, last=True)
    x = np.random.default_rng(0).normal(0, 1, (30, 20, 6)).astype(np.float32)
    with torch.no_grad():
        y = net(torch.from_numpy(x)).argmax(1).numpy()
    (here / "trained.onnx").write_bytes(exported(net))
    save_file({name: t.contiguous() for name, t in net.state_dict().items()}, here / "trained.safetensors")
    torch.export.save(torch.export.export(net, (torch.randn(2, 20, 6),)), here / "trained.pt2")
    np.savez(here / "data.npz", x=x, y=y)
    np.save(here / "x.npy", x)
    (here / "folder").mkdir()
    np.save(here / "folder/a.npy", x[:3])
    np.save(here / "folder/b.npy", x[3, :11])
    done = tidegate("import", here / "trained.onnx", "--calibrate", here / "data.npz", "--out", here / "m.tidegate")
    assert done.returncode == 0, done.stderr
    model = read_model(here / "m.tidegate")
    save_model(model.with_thresholds(100, 0, 0), here / "theta.tidegate")
    return here


@pytest.mark.parametrize("network", ["trained.onnx", "trained.safetensors", "trained.pt2"])
def test_a_sound_model_is_within_all_bounds(folder, network, capsys):
    code, text = verified(capsys, folder / "m.tidegate", "--against", folder / network, "--data", folder / "data.npz")
    assert code == 0 and "every value is within its bound" in text and "30 sequences, 600 frames" in text
    assert "the same answer as float in 100.0% of 30 answers, read in the last frame" in text
    assert "layer 1, sum of the own state nh" in text and "logits" in text


def verified(capsys, model, *arguments):
    """(exit code, standard output) of the verb in this process; a TidegateError is raised."""
    code = app(["verify", str(model), *map(str, arguments)], standalone_mode=False) or 0
    return code, capsys.readouterr().out


def test_a_departure_is_told_and_the_exit_code_is_1(folder, capsys):
    command = [folder / "theta.tidegate", "--against", folder / "trained.onnx", "--data"]
    done = tidegate("verify", *command, folder / "data.npz")
    assert done.returncode == 1 and done.stderr == ""
    assert "first beyond its bound: features, as sent" in done.stdout and "why: Θ of the features" in done.stdout
    assert "at Θ = 0 every value is within its bound" in done.stdout
    code, text = verified(capsys, *command, folder / "x.npy", "--json")
    told = json.loads(text)
    assert code == 1 and told["first"]["causes"][0]["kind"] == "Θ" and not told["within"]
    assert told["first_without_theta"] is None
    for more, code in ((["--theta", 0], 0), (["--bound", 3], 0), (["--bound", 0.3], 1)):
        assert verified(capsys, *command, folder / "data.npz", *more)[0] == code, more


def test_data_may_be_a_folder_and_cut(folder, capsys):
    command = [folder / "m.tidegate", "--against", folder / "trained.onnx", "--json", "--data"]
    for data, more, frames in ((folder / "folder", [], 71), (folder / "data.npz", ["--frames", 50], 50)):
        told = json.loads(verified(capsys, *command, data, *more)[1])
        assert told["within"] and told["frames"] == frames and told["readout"] == "last"


def test_wrong_use_is_one_line(folder, capsys):
    model, data = folder / "m.tidegate", ["--data", folder / "data.npz"]
    against = ["--against", folder / "trained.onnx"]
    (folder / "empty").mkdir()
    for arguments, text in (
            (against, "give --data"), (["--against", "float", *data], "'float'; choose rtl, netlist, or the file"),
            (["--against", folder / "none.onnx", *data], "no network file"),
            (["--against", folder / "x.npy", *data], "no importer reads 'x.npy'"),
            ([*against, *data, "--lanes", 8], "--lanes cannot be used against a float network"),
            ([*against, *data, "--bound", -1], "a bound is a number above 0"),
            ([*against, "--data", folder / "none.npz"], "no file '"),
            ([*against, "--data", folder / "empty"], "no frames in"),
            (["--bound", 0.1], "--bound is for a comparison with a float network"),
            (["--theta", 0.5], "--theta is for a comparison with a float network")):
        with pytest.raises(TidegateError, match=text) as error:
            verified(capsys, model, *arguments)
        assert "\n" not in str(error.value)
    fails(tidegate("verify", "digits", *against, *data), "the model has 20 features")


def test_recordings_are_features_of_the_models_front_end(folder, capsys):
    settings = FrontEndSettings()
    net = torch.nn.ModuleList([torch.nn.GRU(settings.bands, 8), torch.nn.Linear(8, 2)])
    torch.save({name: t for name, t in net.state_dict().items()}, folder / "heard.pt")
    save_model(from_torch(net, frontend=settings.to_dict(), scale=np.full(settings.bands, 0.25)), folder / "s.tidegate")
    (folder / "sounds").mkdir()
    sound = write_sound(folder / "sounds/a.wav")
    for data in (folder / "sounds", sound):
        code, text = verified(capsys, folder / "s.tidegate", "--against", folder / "heard.pt", "--data", data,
                              "--normalised")
        assert code == 0 and "1 sequences" in text
    with pytest.raises(TidegateError, match="no recordings in"):
        verified(capsys, folder / "s.tidegate", "--against", folder / "heard.pt", "--data", folder / "empty")
