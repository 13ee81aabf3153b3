"""Reports: what is read, the Pareto front, the numbers on the page, the figures, and what a reader is spared."""

import csv
import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from statistics import mean, stdev

import numpy as np
import pytest
import soundfile

pytest.importorskip("matplotlib")

from tidegate import zoo
from tidegate.clips import clips
from tidegate.commands.report import report
from tidegate.golden import Golden
from tidegate.host.features import features_of
from tidegate.host.frontend import FrontEndSettings
from tidegate.spec.cells import UNIT
from tidegate.spec.errors import TidegateError
from tidegate.spec.layer import Layer
from tidegate.spec.model import Model, expected_tensors, save_model
from tidegate.spec.network import Network
from tidegate.spec.rules import Diffuse
from tidegate.train.errors import DataError
from tidegate.train.publish.report import write_model_report, write_report
from tidegate.train.publish.report.raster import clip_events, example, membranes, raster
from tidegate.train.publish.report.results import pareto_front, read_log, read_sweep
from tidegate.train.study.plan import make_plan
from tidegate.train.study.results import RESULTS, Results
from tidegate_sim.random_networks import random_model

NASTY = '_<script>alert("1 & $x$")</script>'
FIGURES = ("clips", "accuracy", "fetch_reduction", "temporal_sparsity", "weights_per_frame", "occupancy")
WORDS = ("zero", "up", "unknown")
SECTIONS = ("Summary", "Accuracy against fetches", "Training", "One model more closely", "Occupancy per signal",
            "Events of one clip", "Confusion")


def small_model(labels=WORDS, gru=(6, 5), accuracy=0.5):
    """A random model with the figures that a training leaves on its card."""
    model = random_model(8, gru, len(labels), seed=1, extreme=False)
    confusion = (np.arange(len(labels) ** 2).reshape(len(labels), -1) + 70).tolist()
    figures = {"utterances": int(np.sum(confusion)), "accuracy": accuracy, "fetch_reduction": 4.0,
               "temporal_sparsity": 0.75, "occupancy": [0.1, 0.2, 0.3][: 1 + len(gru)], "confusion": confusion}
    card = {part: {"part": part, **figures} for part in ("validation", "test")}
    return Model(model.network, model.tensors, tuple(labels), model.frontend, card)


def of_shipped_recipe(model):
    return replace(model, card=model.card | {"recipe": {"name": "digits"}})


def without_front_end():
    """A model that hears nothing and has no card: its report has the fewest figures."""
    model = small_model()
    return Model(model.network, model.tensors, model.labels)


DEAF = without_front_end()


def write_log(path, epochs=3):
    with path.open("w", newline="") as f:
        log = csv.writer(f)
        log.writerow(["number", "loss", "accuracy", "fetch_reduction", "thresholds", "note"])
        for e in range(1, epochs + 1):
            log.writerow([e, 1 / e, 1 - 0.5 / e, "" if e == 1 else e, f"{20 * e} {10.5 * e} 8", "a word"])


def write_sweep(folder, rows, model=None, theta=(1, 2)):
    """A sweep's folder; rows: (label, size, seed, theta, factor, {part: (accuracy, fetch reduction)})."""
    model = model or small_model()
    variants = [{"label": label, "set": {}} for label in dict.fromkeys(row[0] for row in rows)]
    variants = {"variants": variants} if rows else {}
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps({
        "name": "mine", "about": NASTY, "recipe": {}, "vary": {"gru": [[4], [8]]}, "theta": theta,
        **variants}))
    described = make_plan(json.loads((folder / "sweep.json").read_text()))
    keys = [f"{sorted({r[0] for r in rows}).index(label)}-{size}-{seed}" for label, size, seed, *_ in rows]
    results, found = Results(folder, described, keys, {"digest": "d"}), {}
    for key, (label, size, seed, theta, factor, figures) in zip(keys, rows, strict=True):
        row = {"key": key, "label": label, "speaker": "", "gru": size, "seed": seed, "file_bytes": 1000 * seed,
               "theta": [int(t) for t in theta.split()], "factor": factor}
        for part, (accuracy, fetches) in figures.items():
            values = 50, accuracy, fetches, 0.5, 100, [0.1, 0.2, 0.3]
            row |= {f"{part}_{figure}": value for figure, value in zip(FIGURES, values, strict=True)}
        found.setdefault(key, []).append(row)
    for key, mine in found.items():
        results.add(key, b"", [{"number": 1}], mine)
        save_model(model, folder / "models" / f"{key}.tidegate")
        write_log(folder / "logs" / f"{key}.csv")
    return folder


def small_rows():
    """Two labels, three seeds, two settings of Θ; the test part would choose another model than the validation part."""
    rows = []
    for label, base in ((NASTY, 0.90), ("delta", 0.80)):
        for seed in (1, 2, 3):
            for factor in (1, 2):
                validation = (base + 0.01 * seed - 0.05 * factor, 8.0 * factor - seed)
                test = (0.7 - 0.013 * seed**2, 5.0 * factor)
                rows.append((label, "4", seed, f"{64 * factor} {16 * factor} {16 * factor}", factor,
                             {"validation": validation, "test": test}))
    return rows


class Text(HTMLParser):
    """The cells of every row of a page's tables, and the names of all of its tags."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.tags, self.ids, self._cell = [], set(), [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        if tag == "tr":
            self.rows.append([])
        self._cell = tag in ("td", "th")
        if self._cell:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self._cell:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """(folder, text of the report) of a small sweep."""
    folder = write_sweep(tmp_path_factory.mktemp("sweep") / "out", small_rows())
    return folder, write_report(folder, clip=clips()[0].path).read_text(encoding="utf-8")


@pytest.mark.parametrize("points, front", [
    ([], []),
    ([(1, 1)], [0]),
    ([(1, 0.9), (2, 0.8), (3, 0.7)], [0, 1, 2]),
    ([(3, 0.7), (1, 0.9), (2, 0.8)], [1, 2, 0]),            # in order of the first number
    ([(1, 0.9), (2, 0.9), (3, 0.5)], [1, 2]),               # as accurate at fewer fetches
    ([(2, 0.9), (2, 0.8), (1, 0.85)], [0]),                 # as many fetches, more accurate
    ([(2, 0.9), (1, 0.95), (2, 0.9)], [1, 0, 2]),           # equal points are both there
    ([(None, 1.0), (2, 0.9), (9, None), (1, 0.8)], [1]),
])
def test_pareto_front(points, front):
    assert pareto_front(points) == front


def test_pareto_front_is_what_nothing_beats():
    rng = np.random.default_rng(0)
    points = [tuple(p) for p in rng.integers(0, 12, (80, 2)).tolist()]
    beaten = {i for i, (x, y) in enumerate(points) if any(a >= x and b >= y and (a, b) != (x, y) for a, b in points)}
    assert set(pareto_front(points)) == set(range(80)) - beaten


def test_numbers_on_the_page_are_those_by_hand(swept):
    _, page = swept
    found = 0
    for row in Text(page).rows:
        for label, base in ((NASTY, 0.90), ("delta", 0.80)):
            for factor in (1, 2):
                if row[:2] == [label, str(factor)]:
                    found += 1
                    accuracies = [base + 0.01 * seed - 0.05 * factor for seed in (1, 2, 3)]
                    tests = [0.7 - 0.013 * seed**2 for seed in (1, 2, 3)]
                    assert row[2:] == [
                        f"{64 * factor}, {16 * factor}, {16 * factor}", "3",
                        f"{100 * mean(accuracies):.2f} ± {100 * stdev(accuracies):.2f}",
                        f"{100 * mean(tests):.2f} ± {100 * stdev(tests):.2f}",
                        f"{8 * factor - 2:.2f}x", f"{5 * factor:.2f}x", "2.0"]
    assert found == 4
    assert "6 models, 3 seeds (1, 2, 3)" in page and "mean of 3 runs" in page


def test_every_section_and_plot_is_there(swept):
    folder, page = swept
    sections = list(SECTIONS)
    sections.insert(sections.index("Training"), "One clip through each variant")
    assert re.findall("<h2>(.*?)</h2>", page) == sections
    shown = re.findall(r'<figure id="([\w-]+)">\n<svg ', page)
    assert shown == ["pareto", "codings", "curves", "occupancy", "events", "confusion-validation", "confusion-test"]
    assert page.count("</svg>") == len(shown)
    assert (folder / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in (folder / "pareto.svg").read_text(encoding="utf-8")
    assert "accuracy, test part" in page and "12 (model and Θ) in 4 groups" in page


def test_nothing_is_loaded_from_elsewhere(swept):
    _, page = swept
    outside = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert "http" not in outside and "//" not in re.sub("base64,[^\"]*", "", outside)
    assert "url(" not in re.sub(r"url\(#", "", outside)
    assert not Text(page).tags & {"script", "link", "iframe", "img", "object", "embed"}
    for reference in re.findall(r'href="([^"]*)"', outside):
        assert reference.startswith(("#", "data:image/png;base64,"))


def test_identifiers_are_unique_and_resolved(swept):
    """Many SVGs share a page: each has its own names, and every reference finds its target."""
    ids = Text(swept[1]).ids
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', swept[1])) <= set(ids)


def test_text_from_files_is_escaped(swept):
    folder, page = swept
    assert "<script" not in page and "&lt;script&gt;alert" in page
    assert "<script" not in (folder / "pareto.svg").read_text(encoding="utf-8")


def test_same_files_same_report(swept, tmp_path):
    folder, page = swept
    svg = (folder / "pareto.svg").read_bytes()
    again = write_report(folder, clip=clips()[0].path, out_html=tmp_path / "again.html")
    assert again.read_text(encoding="utf-8") == page
    assert (folder / "pareto.svg").read_bytes() == svg


def test_model_is_chosen_by_validation_at_its_own_theta(swept, tmp_path):
    row = read_sweep(swept[0]).chosen()
    assert (row.label, row.seed, row.factor) == (NASTY, 3, 1)        # by test it would be seed 1
    dense = [("dense", "4", seed, "0 0 0", factor, {"validation": (0.99, 1.1)}) for seed in (1, 2) for factor in (1, 2)]
    row = read_sweep(write_sweep(tmp_path / "a", [*dense, *small_rows()])).chosen()
    assert row.label == NASTY                                       # a model without thresholds shows no events
    assert read_sweep(write_sweep(tmp_path / "b", dense)).chosen().label == "dense"


def test_thresholds_after_training_are_groups_of_their_own(tmp_path):
    """The same models at several absolute Θ; at a factor, learned Θ differ within a group."""
    rows = [("learned", "4", seed, theta, factor, {"validation": (0.9, 2.0)}) for seed in (1, 2) for theta, factor in (
        (f"{60 + seed} 20 20", 1), ("32 16 16", None), ("64 32 32", None))]
    sweep = read_sweep(write_sweep(tmp_path / "s", rows, DEAF, theta=(1, (32, 16, 16), (64, 32, 32))))
    assert [(len(g.rows), {r.theta for r in g.rows}) for g in sweep.groups] == [
        (2, {(32, 16, 16)}), (2, {(64, 32, 32)}), (2, {(61, 20, 20), (62, 20, 20)})]
    page = write_report(tmp_path / "s").read_text(encoding="utf-8")
    assert any("61.5, 20, 20" in row for row in Text(page).rows) and "accuracy, validation part" in page


def change(folder, update):
    """Replace every row of a sweep by ``update(row)``."""
    with closing(sqlite3.connect(folder / RESULTS)) as database, database:
        rows = database.execute("SELECT rowid, row FROM results").fetchall()
        database.executemany("UPDATE results SET row = ? WHERE rowid = ?",
                             [(json.dumps(update(json.loads(row))), number) for number, row in rows])


def test_rows_are_in_the_order_of_the_description(tmp_path):
    rows = small_rows()
    folder = write_sweep(tmp_path / "s", [*rows[6:], *rows[:6]], DEAF)
    description = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps(description | {"variants": description["variants"][::-1]}))
    assert [row.label for row in read_sweep(folder).rows] == [NASTY] * 6 + ["delta"] * 6


def test_median_run():
    from tidegate.train.publish.report.results import Group, PartFigures, Row

    rows = tuple(Row(str(k), "", "", (), k, (), 1.0, {"validation": PartFigures(9, accuracy, 1.0, 0.0)})
                 for k, accuracy in enumerate((0.5, 0.9, 0.7, 0.8)))
    assert Group(rows).median().key == "2" and Group(rows[:3]).median().key == "2"


def test_speakers_left_out(tmp_path):
    folder = write_sweep(tmp_path / "s", small_rows(), DEAF)
    change(folder, lambda row: row | {"speaker": ("ann", "bob")[row["seed"] % 2], "label": "delta"})
    page = write_report(folder).read_text(encoding="utf-8")
    test = [100 * (0.7 - 0.013 * seed**2) for seed in (1, 2, 3)]
    ann, bob = [test[1]] * 2, [test[0], test[2]] * 2                  # two labels became one
    row = next(r for r in Text(page).rows if r[0].startswith("delta (speakers left out)") and len(r) == 5)
    assert row[2:] == [f"{mean(ann):.2f} ± 0.00", f"{mean(bob):.2f} ± {stdev(bob):.2f}",
                       f"{mean([mean(ann), mean(bob)]):.2f} ± {stdev([mean(ann), mean(bob)]):.2f}"]


def test_events_of_the_raster_are_the_traces():
    model = of_shipped_recipe(small_model())
    clip = example(model, None)
    assert clip.path == clips()[0].path and "zero" in clip.what
    events = clip_events(model, clip.path)
    trace = Golden(model).run(model.quantise(features_of(model, clip.path))[:, None])
    for s, fired in enumerate(events.fired):
        assert fired.shape[1] == model.network.elements(s)
        assert np.array_equal(fired.sum(1), trace.events[:, 0, s]) and fired.any()
    assert np.allclose(events.probabilities.sum(1), 1)
    assert np.array_equal(events.probabilities.argmax(1), trace.logits[:, 0].argmax(1))
    panels = raster(events, model.labels, 0.016).axes
    assert len(panels) == 3 + 2
    for panel, fired in zip(panels, events.fired, strict=False):            # a dash an event: two points and a gap
        x, y = panel.lines[0].get_data()
        assert len(x) == 3 * fired.sum() and np.array_equal(y[::3], np.nonzero(fired)[1])
        assert np.array_equal(np.floor(np.asarray(x[::3]) / 0.016), np.nonzero(fired)[0])


@pytest.mark.parametrize("rule", [Diffuse(256), Diffuse(64, -3, 5, leak=2), Diffuse(128, -1, 1, zero=True)], ids=str)
def test_membranes_reach_their_threshold_where_they_fire(rule):
    settings = FrontEndSettings()
    layer = Layer(6, cell=UNIT, activation="identity", consumes=True, bias_columns=1)
    network = Network(settings.bands, (layer,), Layer(3, consumes=True), (64, 90), (None, rule))
    rng = np.random.default_rng(5)
    given = {"frontend.mean": 0, "frontend.scale": 1, "unit.0.bias": 0, "classifier.bias": 0}
    tensors = {name: (np.full(shape, given[name]) if name in given else rng.integers(-20, 21, shape)).astype(dtype)
               for name, (dtype, shape) in expected_tensors(network).items()}
    model = Model(network, tensors, ("a", "b", "c"), settings.to_dict())
    events = clip_events(model, clips()[0].path)
    potential, fired = events.membranes[1], events.fired[1]
    assert list(events.membranes) == [1] and fired.any() and not fired.all()
    reached = (potential >= 1) if rule.lowest == 0 else (potential >= 1) | (potential < 1 - rule.step / 90)
    assert np.array_equal(reached, fired)
    counts = membranes(events, 1, 0.016).axes[1].patches
    assert sum(bar.get_height() for bar in counts) == 6


def test_clip_comes_from_the_data_or_is_left_out(tmp_path, write_words):
    model = small_model(("low", "high", "rise", "fall"))
    assert example(model, None) is None
    folder = write_words()
    found = example(model, folder)
    assert found.path.is_relative_to(folder) and "validation clip" in found.what
    own = small_model(("low", "up"))
    assert example(own, None) is None       # a bundled clip whose word happens to match is not theirs
    assert example(of_shipped_recipe(own), None).path.parent == clips()[0].path.parent
    assert example(own, folder).path.is_relative_to(folder)         # no bundled clip whose word happens to match
    save_model(model, tmp_path / "m.tidegate")
    page = write_model_report(tmp_path / "m.tidegate", None, tmp_path / "m.html").read_text(encoding="utf-8")
    assert "Left out: no recording of the model" in page
    save_model(DEAF, tmp_path / "m.tidegate")
    page = write_model_report(tmp_path / "m.tidegate", None, tmp_path / "m.html", None, folder).read_text()
    assert "Left out: the model has no feature front end" in page and "no figures of accuracy" in page


def test_a_bad_folder_of_words_is_told_even_where_it_is_not_needed(tmp_path):
    save_model(small_model(), tmp_path / "m.tidegate")
    save_model(DEAF, tmp_path / "deaf.tidegate")
    soundfile.write(tmp_path / "x.wav", np.zeros(8000), 16000)
    out = tmp_path / "m.html"
    for model, clip, folder, message in (
        ("m", None, "none", "no folder"), ("m", tmp_path / "x.wav", "none", "no folder"),
        ("deaf", None, "none", "no folder"), ("m", None, "", "has recordings directly inside"),
    ):
        with pytest.raises(DataError, match=message):
            write_model_report(tmp_path / f"{model}.tidegate", None, out, clip, tmp_path / folder)
    assert not out.exists()


def test_report_of_a_model(tmp_path):
    save_model(small_model(accuracy=0.123), tmp_path / "m.tidegate")
    write_log(tmp_path / "log.csv")
    soundfile.write(tmp_path / "<x>.wav", np.random.default_rng(0).normal(0, 0.1, 8000), 16000)
    out = write_model_report(tmp_path / "m.tidegate", tmp_path / "log.csv", tmp_path / "m.html", tmp_path / "<x>.wav")
    page = out.read_text(encoding="utf-8")
    assert ["validation", "666", "12.30%", "4.00x", "75.00%"] in Text(page).rows
    assert '<figure id="curves">' in page and "&lt;x&gt;.wav" in page and "<x>" not in page
    assert "666 clips, one seed: 222 right" in page


def test_a_report_says_what_the_model_was_made_with(tmp_path):
    model = small_model()
    save_model(model, tmp_path / "m.tidegate")
    page = write_model_report(tmp_path / "m.tidegate", None, tmp_path / "m.html").read_text(encoding="utf-8")
    assert "made with" not in page
    model.card["made_with"] = {"tidegate": "1.2", "torch": "3.4", "device": "A <GPU>"}
    save_model(model, tmp_path / "m.tidegate")
    page = write_model_report(tmp_path / "m.tidegate", None, tmp_path / "m.html").read_text(encoding="utf-8")
    assert ["made with", "tidegate 1.2, torch 3.4, device A <GPU>"] in Text(page).rows


def test_a_sweep_without_any_figures_has_a_report(tmp_path):
    folder = write_sweep(tmp_path / "s", [("a", "4", 1, "1 2 3", 1, {})], DEAF, theta=(1,))
    page = write_report(folder).read_text(encoding="utf-8")
    assert "no validation figures to choose a model by" in page and "the mean of 0 runs" in page
    assert "1 groups without figures on this part" in page


def test_log(tmp_path):
    write_log(tmp_path / "log.csv")
    log = read_log(tmp_path / "log.csv")
    assert set(log) == {"number", "loss", "accuracy", "fetch_reduction", "thresholds"}
    assert log["thresholds"].tolist() == [[20, 10.5, 8], [40, 21, 8], [60, 31.5, 8]]
    assert np.isnan(log["fetch_reduction"][0, 0]) and log["fetch_reduction"][1:, 0].tolist() == [2, 3]


@pytest.mark.parametrize("file, content, message", [
    ("sweep.json", None, "holds no results of a sweep"),
    ("sweep.json", "{", "is no description of a sweep"),
    ("sweep.json", "[]", "is no description of a sweep"),
    ("sweep.json", '{"name": "mine"}', "recipe is missing"),
    (RESULTS, None, "holds no results of a sweep"),
    (RESULTS, "", "holds no results of a sweep"),
    (RESULTS, 1000 * "no database", "file is not a database"),
    ("logs/1-4-2.csv", None, "no file"),
    ("logs/1-4-2.csv", "number,loss\n", "is no training log"),
    ("logs/1-4-2.csv", "loss\n1.0\n", "is no training log"),
    ("models/0-4-3.tidegate", None, "no model file"),
    ("models/0-4-3.tidegate", "nonsense", "not a readable model file"),
])
def test_missing_and_damaged_files(tmp_path, file, content, message):
    folder = write_sweep(tmp_path / "s", small_rows())
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(TidegateError, match=message) as error:
        write_report(folder)
    assert "\n" not in str(error.value) and not (folder / "report.html").exists()


def test_a_sweep_without_a_finished_point(tmp_path):
    folder = write_sweep(tmp_path / "s", [])
    with pytest.raises(DataError, match="no finished point yet"):
        write_report(folder)


def test_damaged_card_and_unwritable_place(tmp_path):
    model, file = small_model(), tmp_path / "m.tidegate"
    save_model(model, file)
    with pytest.raises(DataError, match="cannot be written"):
        write_model_report(file, None, tmp_path / "nowhere" / "m.html")
    model.card["validation"]["confusion"] = [[1, 2], [3, 4]]
    save_model(model, file)
    with pytest.raises(DataError, match="confusion on the model's card is damaged"):
        write_model_report(file, None, tmp_path / "m.html")


def test_verb(tmp_path, capsys):
    """A model with the log beside it, and a sweep's folder."""
    save_model(small_model(), tmp_path / "m.tidegate")
    write_log(tmp_path / "m.log.csv")
    report(str(tmp_path / "m.tidegate"), json=True)
    assert json.loads(capsys.readouterr().out) == {"file": str(tmp_path / "m.report.html")}
    assert '<figure id="curves">' in (tmp_path / "m.report.html").read_text(encoding="utf-8")
    folder = write_sweep(tmp_path / "s", small_rows(), DEAF)
    report(str(folder), out_file=tmp_path / "s.html")
    assert capsys.readouterr().out == f"wrote {tmp_path / 's.html'}\n"
    report(str(folder), csv=tmp_path / "s.csv", json=True)
    assert json.loads(capsys.readouterr().out) == {"file": str(tmp_path / "s.csv")}
    assert len((tmp_path / "s.csv").read_text(encoding="utf-8").splitlines()) == 1 + len(small_rows())
    with pytest.raises(TidegateError, match="--csv writes rows"):
        report(str(folder), csv=tmp_path / "s.csv", out_file=tmp_path / "s.html")
    for option in ({}, {"csv": tmp_path / "s.csv"}):
        with pytest.raises(DataError, match="holds no results of a sweep"):
            report(str(tmp_path), **option)
    with pytest.raises(TidegateError, match="no such folder"):
        report(str(folder), out_file=tmp_path / "nowhere" / "s.html")


def test_a_clip_that_is_decided_early(tmp_path):
    page = write_model_report(zoo.path("digits-early"), None, tmp_path / "early.html").read_text(encoding="utf-8")
    assert re.search(r"decided: “\w+” with \d+%, in frame \d+ \(dotted\)\. 61 frames", page)
    assert re.search(r"leads by more than 2, on average after 3\d\.\d% \(validation\) and 31\.0% \(test\) of", page)
