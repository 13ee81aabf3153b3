"""Streams for training: what they are made of, what is to be answered where, the loss, mining, and the judge."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tidegate.golden import DeltaNetwork
from tidegate.golden.network import NetworkState
from tidegate.host.audio import read_audio
from tidegate.host.detector import DetectorSettings
from tidegate.host.frontend import FrontEnd, FrontEndSettings
from tidegate.spec.model import read_model
from tidegate.spec.stop import Decider, Stop
from tidegate.train import run
from tidegate.train.data.feature_bank import FeatureBank, Material, noise_bed
from tidegate.train.data.features import load_features
from tidegate.train.data.folders import scan
from tidegate.train.data.material import SoundFolders, heard_in, in_validation, load_material, sounds
from tidegate.train.data.stream_options import Listening
from tidegate.train.data.streams import IGNORE, REJECT, Mined, Mixer, _calm
from tidegate.train.errors import DataError
from tidegate.train.fit import stream_loop
from tidegate.train.fit.listening import MARGINS, DetectionCurve, StreamLoss, listen, mine, smoothed, start_of
from tidegate.train.fit.loop import Trainer
from tidegate.train.fit.stream_loop import StreamTrainer
from tidegate.train.fit.training_run import run as run_recipe
from tidegate.train.recipe import Augmentation, Recipe

LABELS = ("yes", "no", "unknown", "silence")
BANDS = 5
PLAIN = Listening(streams=6, chunk=50, chunks=4, wet=0.0, mined=0.0, splice=0.0, clean=1.0, gain=0.0, word_gain=0.0,
                  reset=0.0, prompt=1.0)
MEAN, SCALE = np.zeros(BANDS, np.float32), np.ones(BANDS, np.float32)


def clip(level: float, frames: int = 20, first: int = 5, end: int = 14) -> np.ndarray:
    energies = np.full((frames, BANDS), 1e-6, np.float32)
    energies[first:end] = level
    return energies


@pytest.fixture(scope="module")
def material() -> Material:
    words = FeatureBank.of([clip(1.0), clip(2.0), clip(3.0), clip(4.0)], np.array([0, 0, 1, 2]), words=True)
    speech = FeatureBank.of([np.full((300, BANDS), 5.0, np.float32), np.full((80, BANDS), 6.0, np.float32)])
    sounds = FeatureBank.of([np.full((100, BANDS), 7.0, np.float32)])
    return Material(LABELS, words, replace(words, energies=words.energies * 100), speech, None, sounds,
                    noise_bed([np.full((50, BANDS), 9.0, np.float32)], BANDS, np.random.default_rng(0)), 2.0)


def mixer(material, options=PLAIN, **more) -> Mixer:
    made = Mixer(material, options, MEAN, SCALE, FrontEndSettings(bands=BANDS), **more)
    made.restart(np.random.default_rng(3))
    return made


def whole(mixer: Mixer, chunks: int):
    """(energies, targets, kinds of the items) (T, B) of some chunks."""
    energies, targets, kinds = [], [], []
    for _ in range(chunks):
        c = mixer.chunk()
        energies.append(np.exp(c.frames.numpy()[..., 0] / 256) - 1e-3)
        targets.append(c.targets.numpy())
        names = np.array([kind for kind, _ in c.items])
        kinds.append(names[c.origin])
    return tuple(map(np.concatenate, (energies, targets, kinds)))


def test_each_kind_is_answered_as_it_should_be(material):
    mix = mixer(material)
    energies, targets, kinds = whole(mix, 60)
    levels = {"yes": (1, 2), "no": (3,), "unknown": (4,)}
    assert len(mix.spoken) > 50
    checked = 0
    for word in mix.spoken:
        if word.end + 30 >= len(targets):
            continue
        checked += 1
        heard = energies[word.first : word.end, word.stream]
        assert any(np.allclose(heard, level, rtol=0.02) for level in levels[word.label])
        inside = targets[word.first : word.end - 1, word.stream]
        after = targets[word.end - 1 : word.end + 15, word.stream]
        assert (after == LABELS.index(word.label)).all()
        assert (inside == (REJECT if word.label == "unknown" else IGNORE)).all()
    assert checked > 50
    for level, kind in ((5, "speech"), (6, "speech"), (7, "sound")):
        here = np.isclose(energies, level, rtol=0.02)
        assert here.sum() > 200 and set(np.unique(targets[here])) <= {REJECT, IGNORE}
        assert (kinds[here] == kind).all()
        assert (targets[here] == IGNORE).mean() < 0.2
    silent = targets == LABELS.index("silence")
    assert silent.any() and (energies[silent] < 1e-3).all()


def test_streams_follow_from_the_seed_and_do_not_depend_on_the_past(material):
    options = replace(PLAIN, clean=0.2, gain=6.0, word_gain=3.0, splice=0.3, reset=0.2)
    vary = Augmentation(stretch=0.1, warp=0.5)
    mix = mixer(material, options, vary=vary)
    first = [mix.chunk() for _ in range(5)]
    mix.restart(np.random.default_rng(3))
    for a in first:
        b = mix.chunk()
        assert torch.equal(a.frames, b.frames) and torch.equal(a.targets, b.targets) and a.items == b.items
    assert any(c.fresh.any() for c in first[1:]) and first[0].fresh.all()
    mix.restart(np.random.default_rng(4))
    assert not torch.equal(mix.chunk().frames, first[0].frames)


def test_background_has_its_level_and_rooms_their_share(material):
    loud = mixer(material, replace(PLAIN, clean=0.0, snr=(10.0, 10.0), shares=(0, 0, 0, 0, 1)))
    frames = torch.cat([loud.chunk().frames for _ in range(20)])
    assert float((torch.exp(frames / 256) - 1e-3).mean()) == pytest.approx(0.2, rel=0.5)      # 10 dB below 2.0
    wet = mixer(material, replace(PLAIN, wet=1.0, shares=(1, 0, 0, 0, 0)))
    energies, _, _ = whole(wet, 20)
    assert 100 == pytest.approx(energies.max() / 3, rel=0.05)


def test_parts_of_words_are_no_words(material):
    mix = mixer(material, replace(PLAIN, splice=1.0, shares=(0, 1, 0, 0, 0)))
    _, targets, kinds = whole(mix, 40)
    assert set(np.unique(kinds)) == {"splice"} and not mix.spoken
    assert set(np.unique(targets)) <= {REJECT, IGNORE, LABELS.index("unknown"), LABELS.index("silence")}
    assert (targets == LABELS.index("unknown")).any()


def test_speech_is_heard_in_other_voices_and_other_microphones(material):
    """Shifted along the bands, stretched and coloured: only in training, and what is mined is found again."""
    ramp = np.exp(0.05 * np.arange(200 * BANDS, dtype=np.float32).reshape(200, BANDS) / BANDS)
    ramp[:, 3] *= 50
    few = replace(material, speech=FeatureBank.of([ramp]), speech_wet=None)
    options = replace(PLAIN, speech=(60, 80), speech_warp=2.0, colour=3.0)
    plain, varied = (mixer(few, o, vary=v) for o, v in ((options, None), (options, Augmentation(stretch=0.2, warp=0.0,
                                                                                                 mask_bands=0,
                                                                                                 mask_frames=0))))
    for _ in range(20):
        item = plain._speech()
        assert np.array_equal(item.energies, ramp[item.at[: len(item.energies)]])
    peaks, colours, mapped = set(), [], []
    for _ in range(200):
        item = varied._speech()
        energies, at = item.energies, item.at[: len(item.energies)]
        peaks.add(int(energies.mean(0).argmax()))
        colours.append(10 * np.log10(energies[0, [0, -1]] / ramp[at[0], [0, -1]]))
        mapped.append(np.abs(np.diff(at)).max() <= 2 and (0 <= at).all() and (at < 200).all())
    assert peaks > {2, 3, 4} and all(mapped)
    assert 2 < np.std(np.array(colours)[:, 0]) < 6 and np.ptp(np.diff(colours, axis=1)) > 3


def test_recordings_of_a_click_of_silence_and_shorter_than_a_cut(material):
    words = FeatureBank.of([np.zeros((9, BANDS), np.float32), clip(1.0, 20, 19, 20), clip(1.0, 1, 0, 1), clip(4.0)],
                    np.array([0, 0, 0, 2]), words=True)
    assert words.first.tolist() == [0, 19, 0, 5] and words.end.tolist() == [9, 20, 1, 14]
    speech = FeatureBank.of([np.ones((22, BANDS), np.float32)])
    few = replace(material, words=words, words_wet=None, speech=speech)
    mined = Mined(speech=[(0, 2), (0, 21), (0, 30)])
    mix = mixer(few, replace(PLAIN, splice=0.5, mined=0.5, shares=(0.3, 0.4, 0.3, 0, 0)), mined=mined,
                vary=Augmentation(stretch=0.1))
    whole(mix, 20)
    assert {len(mix._speech().energies) for _ in range(50)} == set(range(20, 25))      # 22, stretched
    assert len(mix.keywords) == 1           # nobody says the other one


def test_speech_is_cut_where_it_is_quiet():
    """A cut near an end of the recording goes there only if it is that end."""
    level = np.ones(60)
    level[[12, 45]] = 0
    assert [_calm(level, at, begins=True) for at in (5, 24, 30, 55)] == [0, 0, 12, 45]
    assert [_calm(level, at, begins=False) for at in (5, 30, 36, 55)] == [12, 12, 60, 60]


def test_what_is_missing_has_no_share(material):
    bare = replace(material, speech=FeatureBank.of([]), sounds=FeatureBank.of([]))
    _, _, kinds = whole(mixer(bare), 20)
    assert set(np.unique(kinds)) == {"keyword", "other", "pause"}


def test_the_loss_is_that_of_the_docstring():
    options = replace(PLAIN, reject_weight=2.0, hard_weight=3.0, hard_share=0.34, unknown_weight=0.5,
                      silence_weight=0.25)
    loss = StreamLoss(options, 2, 2, 3)
    logits = torch.randn(7, 1, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    targets = torch.tensor([0, 1, 2, 3, REJECT, IGNORE, REJECT])[:, None]
    p = logits[:, 0].softmax(-1)
    ce = -p.log()[torch.arange(4), torch.arange(4)]
    lost = -(1 - p[[2, 3, 4, 6], :2].sum(-1)).log()
    expected = ce[:2].mean() + 0.5 * ce[2] + 0.25 * ce[3] + 2 * lost.mean() + 3 * lost.max()
    assert torch.allclose(loss(logits, targets), expected)
    assert float(loss(logits, torch.full((7, 1), IGNORE))) == 0


def test_the_loss_of_the_best_frame_of_each_answer():
    """One answer goes on to the chunk's end, one begins with it, two of a stream follow each other."""
    logits = torch.randn(20, 2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    targets = torch.full((20, 2), REJECT)
    answers = ((3, 6, 0, 1), (6, 9, 0, 0), (18, 20, 0, 1), (0, 4, 1, 1))
    for begin, end, stream, word in answers:
        targets[begin:end, stream] = word
    best = [max(float(logits[t, b].log_softmax(-1)[k]) for t in range(i, e)) for i, e, b, k in answers]
    loss = StreamLoss(replace(PLAIN, peak=0.25, reject_weight=0.0, hard_weight=0.0, silence_weight=0.0), 2, 2, 3)
    assert float(loss.peaks(logits, targets)) == pytest.approx(-np.mean(best))
    every = torch.nn.functional.cross_entropy(logits[targets >= 0], targets[targets >= 0])
    assert float(loss(logits, targets)) == pytest.approx(float(0.75 * every) - 0.25 * np.mean(best))
    assert float(loss.peaks(logits, torch.full((20, 2), REJECT))) == 0


def test_a_recording_that_sounds_nothing_like_its_keyword_counts_less():
    """The generalised cross-entropy (1 − p^q) / q, of keywords only."""
    only = replace(PLAIN, reject_weight=0.0, hard_weight=0.0, silence_weight=0.0, unknown_weight=1.0)
    for peak in (0.0, 1.0):
        plain, robust = (StreamLoss(replace(only, peak=peak, robust=q), 2, 2, 3) for q in (0.0, 0.4))
        for lead in (-6.0, 0.0, 6.0):
            logits = torch.tensor([[[lead, 0.0, -99.0, -99.0]]], requires_grad=True)
            right, other = torch.tensor([[0]]), torch.tensor([[2]])
            p = torch.sigmoid(torch.tensor(lead))
            assert torch.isclose(robust(logits, right), (1 - p**0.4) / 0.4, atol=1e-5)
            slopes = [torch.autograd.grad(loss(logits, right), logits)[0] for loss in (plain, robust)]
            assert torch.allclose(slopes[1], slopes[0] * p**0.4, atol=1e-5)
            assert robust(logits, other) == plain(logits, other)


def test_the_loss_is_that_of_what_a_detector_compares():
    """The detector's own filter on a stream from reset, but for its rounding and for the share of what came before."""
    logits = torch.randint(-1 << 20, 1 << 20, (60, 1, 4), generator=torch.Generator().manual_seed(1)).double()
    own = Decider(Stop(0, 0, 2, True, 3), (1,)).smooth(logits.long().numpy())
    begun = 1 - (1 - 1 / 8) ** (np.arange(60) + 1)
    np.testing.assert_allclose(smoothed(logits, 3)[:, 0].numpy() * begun[:, None], own[:, 0], atol=2)
    options = replace(PLAIN, smoothed=3)
    targets = torch.randint(REJECT, 4, (60, 1), generator=torch.Generator().manual_seed(2))
    assert StreamLoss(options, 2, 2, 3)(logits, targets) == StreamLoss(PLAIN, 2, 2, 3)(smoothed(logits, 3), targets)


def test_false_accepts_are_mined_and_come_again(material):
    mix = mixer(material)
    chunks = [mix.chunk() for _ in range(8)]
    mined = Mined(most=5)
    for c in chunks:
        logits = torch.zeros(*c.targets.shape, 4)
        logits[..., 0] = torch.from_numpy(np.isin(c.origin, [k for k, (kind, _) in enumerate(c.items)
                                                             if kind in ("speech", "other")])).float()
        mine(mined, c, logits, 2)
    assert len(mined.speech) == 5 and set(mined.words) == {3}
    assert all(0 <= frame < 320 and recording in (0, 1) for recording, frame in mined.speech)
    quiet = Mined()
    mine(quiet, chunks[0], torch.zeros(*chunks[0].targets.shape, 4), 2)
    assert not quiet.speech and not quiet.words
    again = mixer(material, replace(PLAIN, mined=1.0, shares=(0, 0, 1, 0, 0)), mined=Mined(speech=[(1, 40)]))
    energies, _, _ = whole(again, 4)
    assert np.isclose(energies, 6, rtol=0.02).any() and not np.isclose(energies, 5, rtol=0.02).any()


def test_streams_that_begin_anew_begin_from_reset():
    state = NetworkState([torch.ones(3, 2), torch.ones(3, 4)], [torch.ones(3, 4)])
    kept = start_of(state, np.array([False, True, False]))
    assert all(a[1].abs().sum() == 0 and (a[[0, 2]] == 1).all() for a in (*kept.anchors, *kept.states))
    assert start_of(state, np.ones(3, bool)) is None and start_of(None, np.zeros(3, bool)) is None


class Oracle:
    """Stands for a network: answers each chunk's targets, and ``wrong`` in speech."""

    classifier_frac, layers, classifier = 7, (0,), SimpleNamespace(weight=torch.zeros(1))

    def __init__(self, mix: Mixer, wrong: bool):
        self.mix, self.wrong, self.chunk = mix, wrong, None
        make = mix.chunk

        def chunk():
            self.chunk = make()
            return self.chunk

        mix.chunk = chunk

    def __call__(self, frames, start=None):
        targets, logits = self.chunk.targets, torch.zeros(*self.chunk.targets.shape, 4)
        for k in range(4):
            logits[..., k] = 8.0 * (targets == k)
        if self.wrong:
            logits[..., 1] += 8.0 * (targets == REJECT) * (frames[..., 0] > 256 * np.log(5.0))
        return SimpleNamespace(logits=logits, state=None, events=[torch.ones(frames.shape[:2])] * 2)


@pytest.mark.parametrize("wrong", [False, True])
def test_the_judge_counts_misses_and_false_accepts(material, wrong):
    mix = mixer(material, replace(PLAIN, gap=(60, 90), shares=(0.4, 0.2, 0.3, 0.1, 0.0)))
    frontend = FrontEndSettings(bands=BANDS)
    settings = DetectorSettings(1, 0.8, 0.5, 0.5)
    heard = listen(Oracle(mix, wrong), mix, 60, np.random.default_rng(5), frontend, settings)
    assert heard.hours == pytest.approx(60 * 50 * 6 * 0.016 / 3600) and heard.events == [1.0, 1.0]
    row = heard.rows[0]
    assert row["keywords"] > 30
    if wrong:
        assert row["kinds"]["background"] > 5 and heard.misses_at(1.0) == 1.0
    else:
        assert row["misses"] == 0 and row["per_hour"] == 0 and heard.misses_at(1.0) == row["misses"]


def test_a_margin_counts_only_if_all_above_it_do():
    points = ((1, 0.4, 0.1), (2, 0.6, 0.2), (3, 0.5, 0.3), (4, 0, 0.4))
    rows = [{"margin": m, "per_hour": r, "misses": x} for m, r, x in points]
    heard = DetectionCurve(rows, 1.0, [])
    assert heard.at(0.5) == rows[2] and heard.misses_at(0.5) == 0.3 and heard.misses_at(9) == 0.1
    assert DetectionCurve(rows[:2], 1.0, []).at(0.5) is None and DetectionCurve(rows[:2], 1.0, []).misses_at(0.5) == 1.0


def test_a_room_keeps_the_loudness_and_adds_its_echo():
    rng = np.random.default_rng(1)
    sound = rng.normal(0, 0.1, 4000).astype(np.float32)
    response = np.zeros(800, np.float32)
    response[[0, 700]] = 1, 0.5
    heard = heard_in(sound, response, 1000)
    assert heard.shape == (5000,) and (heard**2).sum() == pytest.approx((sound**2).sum(), rel=1e-3)
    expected = np.convolve(sound, response)[:5000]
    assert np.allclose(heard[: len(expected)] / heard[100], expected / expected[100], atol=1e-3)
    assert np.array_equal(heard_in(sound, np.array([1.0], np.float32), 0).round(4), sound.round(4))


def test_material_of_the_parts_is_apart_and_rooms_are_in_order(folders, listener, tmp_path):
    root, sources = folders
    data = scan(root, listener.keywords)
    features = load_features(data, listener.frontend, tmp_path)
    train, judged = (load_material(data, features, sources, part, tmp_path) for part in ("train", "validation"))
    files = sounds(sources.speech)
    kept = [p for p in files if in_validation(p)]
    assert 0 < len(kept) < len(files) and (len(train.speech), len(judged.speech)) == (len(files) - len(kept), len(kept))
    own = [len(features.of(part)) - features.counts(part)["silence"] for part in ("train", "validation")]
    assert len(train.words) > own[0] and len(judged.words) >= own[1]
    assert train.words_wet is not None and (train.words_wet.targets == train.words.targets).all()
    # the first one again, by hand
    path = next(data.root / c.path for c in data.clips if c.part == "train")
    rooms = [read_audio(p, 8000) for p in sounds(sources.rooms)]
    heard = [FrontEnd(listener.frontend).energies(heard_in(read_audio(path, 8000), room, 3200)) for room in rooms]
    found = train.words_wet.clip(0)
    apart = [np.abs(np.log(h + 1e-3) - np.log(found * h.sum() / found.sum() + 1e-3)).mean() for h in heard]
    assert min(apart) < 1e-4 < 0.1 < max(apart)
    assert all(len(train.words_wet.clip(i)) > len(train.words.clip(i)) for i in range(len(train.words)))
    assert train.typical > 0 and abs(float(train.noise.mean()) - 1) < 0.2
    more = replace(sources, keywords=(root,))
    with pytest.raises(DataError, match="in no folder with the name of a keyword"):
        load_material(data, features, more, "train", tmp_path)
    for name in listener.keywords:
        (tmp_path / "more" / name).mkdir(parents=True)
        for p in list((root / name).iterdir())[:20]:
            (tmp_path / "more" / name / p.name).write_bytes(p.read_bytes())
    again = load_material(data, features, replace(sources, keywords=(tmp_path / "more",)), "train", tmp_path)
    added = again.words.targets[len(train.words) :]
    assert set(added) == {0, 1} and 20 < len(added) < 40 and again.words_wet is not None
    (tmp_path / "junk").mkdir()
    for k in range(20):
        (tmp_path / "junk" / f"{k}.wav").write_bytes(b"no sound")
    with pytest.raises(DataError, match=r"no recording of speech can be read; the first is .*\.wav' cannot be read"):
        load_material(data, features, SoundFolders(speech=(tmp_path / "junk",)), "train", tmp_path)
    some = load_material(data, features, SoundFolders(speech=(*sources.speech, tmp_path / "junk")), "train", tmp_path)
    assert len(some.speech) == len(train.speech) and 10 < len(some.skipped) <= 20
    (tmp_path / "empty").mkdir()
    for wrong in (SoundFolders(speech=(tmp_path / "none",)), SoundFolders(rooms=(tmp_path / "empty",))):
        with pytest.raises(DataError, match=r"no folder|no sound files"):
            load_material(data, features, wrong, "train", tmp_path)


def test_training_on_streams_learns_and_goes_on_after_a_stop(folders, listener, tmp_path):
    root, sources = folders
    cache = tmp_path / "cache"

    def train(out, resume=False, **changes):
        return run_recipe(root, replace(listener, **changes), out, cache=cache, resume=resume, progress=False,
                          sources=sources)

    whole = read_model(train(tmp_path / "a.tidegate"))
    assert set(whole.card["sources"]) == {"speech", "words", "noise", "rooms"}
    assert whole.detector is not None and whole.detector.stream
    assert whole.card["detector"]["wanted_per_hour"] == 0.5 and whole.card["detector"]["hours"] >= 0.1
    assert whole.card["validation_streams"]["curve"] and whole.card["recipe"]["listening"]["chunk"] == 40

    class Stop(Exception):
        pass

    epochs = Trainer.epochs

    def stopped(self):
        for k, epoch in enumerate(epochs(self)):
            yield epoch
            if k == 0:
                raise Stop

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Trainer, "epochs", stopped)
        train(tmp_path / "b.tidegate")
    with pytest.raises(DataError, match="belongs to another recipe or data set"):
        run_recipe(root, listener, tmp_path / "b.tidegate", cache=cache, resume=True, progress=False,
                   sources=replace(sources, speech=()))
    assert read_model(train(tmp_path / "b.tidegate", resume=True)).digest == whole.digest


def test_only_an_epoch_on_streams_is_kept(folders, listener, tmp_path, monkeypatch):
    """Even if an epoch on clips looked better: before the streams a network does not know what to reject."""
    root, sources = folders
    monkeypatch.setattr(StreamTrainer, "_judge_epoch", lambda self, figures: (1.0 / self.epoch, 1.0, 0.5))
    recipe = replace(listener, epochs=3, anneal=0.0, listening=replace(listener.listening, clip_epochs=1))
    kept = read_model(run_recipe(root, recipe, tmp_path / "a.tidegate", cache=tmp_path / "cache", progress=False,
                                 sources=sources))
    assert kept.card["epoch"] == 2


def test_a_run_that_is_stopped_after_its_last_judging_keeps_its_card(folders, listener, tmp_path, monkeypatch):
    root, sources = folders
    run_it = dict(cache=tmp_path / "cache", progress=False, sources=sources)
    whole = read_model(run_recipe(root, listener, tmp_path / "a.tidegate", **run_it))

    def stopped(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_judge", stopped)
        run_recipe(root, listener, tmp_path / "b.tidegate", **run_it)
    monkeypatch.setattr(stream_loop, "with_balance", lambda *_: pytest.fail("it would judge what it has balanced"))
    again = read_model(run_recipe(root, listener, tmp_path / "b.tidegate", resume=True, **run_it))
    assert again.card["rejection"] == whole.card["rejection"] and again.digest == whole.digest


def test_a_name_that_is_not_utf8_has_its_part():
    names = [Path(os.fsdecode(b"v\xff/%d\xe9.wav" % k)) for k in range(200)]
    assert 5 < sum(map(in_validation, names)) < 40


def test_who_needs_what_is_said_in_a_line(folders, recipe, listener, tmp_path):
    root, sources = folders
    with pytest.raises(DataError, match="trains on clips only; leave the folders of other sound out"):
        run(root, recipe, tmp_path / "a.tidegate", progress=False, sources=sources)
    with pytest.raises(DataError, match="so 2 epochs never hear a stream; give more"):
        replace(listener, epochs=2, listening=replace(listener.listening, clip_epochs=2))
    with pytest.raises(DataError, match=r"no folder '.*nope'; check the path"):      # before anything is decoded
        run(root, listener, tmp_path / "a.tidegate", cache=tmp_path / "none", progress=False,
            sources=replace(sources, rooms=(tmp_path / "nope",)))
    with pytest.raises(DataError, match="nothing to resume"):
        run(root, listener, tmp_path / "a.tidegate", cache=tmp_path / "none", resume=True, progress=False)
    assert not (tmp_path / "none").exists()
    with pytest.raises(DataError, match="listening takes a class 'unknown'"):
        run(root, replace(listener, keywords=()), tmp_path / "a.tidegate", cache=tmp_path, progress=False)
    d = listener.to_dict()
    assert Recipe.from_dict(d) == listener
    for wrong in ({"seed": 10**20}, {"learning_rate": float("nan")}, {"learning_rate": 0.0},
                  {"patience": -1}, {"label_smoothing": 2.0}, {"clip": 0.0}, {"test_share": 2.0}):
        with pytest.raises(DataError, match="recipe 'own': "):
            Recipe.from_dict(d | {"name": "own"} | wrong)
    for wrong in ({"chunk": "x"}, {"nothing": 1}, {"shares": [0, 0, 0, 0, 0]}, {"speech": [200, 60]}, {"hard_share": 2},
                  {"settle": -1}, {"gap": [90, 4]}, {"snr": [5, 5, 5]}, {"smoothed": 9}):
        with pytest.raises(DataError):
            Recipe.from_dict(d | {"listening": wrong})


def test_network_and_front_end_agree_on_what_a_frame_is(material):
    frontend = FrontEndSettings(bands=BANDS)
    network = DeltaNetwork(BANDS, [8], 4, [20, 10])
    heard = listen(network, mixer(material), 4, np.random.default_rng(1), frontend, DetectorSettings())
    assert len(heard.rows) == len(MARGINS)
    assert heard.hours == pytest.approx(4 * 50 * 6 * frontend.hop / frontend.sample_rate / 3600)
