"""Board against a fake board: load, stream, reset, thresholds, dense mode and refusals."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from core_board import CoreBoard
from fake_board import DIGEST, FakeBoard, FakeTransport
from models import random_frames, random_model

from tidegate.golden import Golden
from tidegate.host.board import Board
from tidegate.host.errors import BoardError, InputError
from tidegate.host.frame_result import FrameResult
from tidegate.spec.design import SIMULATED, Design
from tidegate.spec.errors import CapacityError, ModelError
from tidegate.spec.formats import acc_frac
from tidegate.spec.layout import Layout
from tidegate.spec.packets import Request, most_frames
from tidegate.spec.register_values import register_values
from tidegate.spec.stop import UNDECIDED, Stop, decisions, leads


@pytest.fixture
def fake():
    return FakeBoard()


@pytest.fixture
def board(fake):
    return Board(FakeTransport(fake), timeout=0.01, patience=0.2)


@pytest.mark.parametrize("lanes", SIMULATED)
def test_load_writes_the_layout(lanes):
    fake = FakeBoard(SIMULATED[lanes])
    board = Board(FakeTransport(fake))
    model, seen = random_model(), []
    board.load(model, progress=lambda done, total: seen.append((done, total)))
    layout = Layout(model.network, fake.design)
    image = layout.pack(model).tobytes()
    assert bytes(fake.weights[: len(image)]) == image
    for name, value in register_values(layout).items():
        assert fake.registers[name] == value, name
    assert fake.registers["MODE"] == 0
    assert seen[-1] == (len(image), len(image)) and seen == sorted(seen)


def test_too_large_a_model_is_refused_before_anything_is_sent(board, fake):
    board.load(random_model(seed=1))
    sent, applied = len(board.link.transport.sent), fake.applied
    with pytest.raises(CapacityError, match="weight memory words"):
        board.load(random_model(features=200, gru=(400, 400)))
    assert (len(board.link.transport.sent), fake.applied) == (sent, applied)
    assert len(list(board.stream(random_frames(1, 3)))) == 3          # the model before is still there


def test_a_load_cut_short_leaves_no_model(board, fake):
    board.load(random_model(seed=1))

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        board.load(random_model(seed=2), progress=interrupt)
    assert fake.registers["LAYERS"] == 0
    with pytest.raises(BoardError, match="no model is loaded"):
        board.stream(random_frames(1, 3))
    board.load(random_model(seed=2))
    assert len(list(board.stream(random_frames(1, 3)))) == 3


def test_a_load_interrupted_anywhere_leaves_no_model_that_runs(board, fake):
    board.load(random_model(seed=1))
    requests, request = 0, board.link.request
    for last in range(200):
        requests = 0

        def some(*args, last=last, **options):
            nonlocal requests
            requests += 1
            if requests > last:
                raise KeyboardInterrupt
            return request(*args, **options)

        board.link.request = some
        try:
            board.load(random_model(seed=2))
            break
        except KeyboardInterrupt:
            assert board.model is None and (last == 0 or fake.registers["LAYERS"] == 0)
    assert 20 < last < 199 and fake.registers["LAYERS"] == 2 and fake.state == 0


def test_a_model_may_be_named(board):
    board.load("digits")
    assert board.model.labels[0] == "0" and board.layout.network == board.model.network
    with pytest.raises(ModelError, match="no model 'no such': neither a file nor in the zoo"):
        board.load("no such")
    assert board.model is not None


def test_results(board):
    model = random_model()
    board.load(model)
    results = list(board.stream(random_frames(5, 20)))
    assert [r.frame for r in results] == list(range(20))
    scale = 2.0 ** (8 + model.network.classifier.weight_frac)
    for r in results:
        assert isinstance(r, FrameResult) and len(r.events) == 3 and len(r.logits) == 4
        assert r.label_index == int(np.argmax(r.logits)) and r.label == model.labels[r.label_index]
        exp = np.exp((np.array(r.logits) - max(r.logits)) / scale)
        assert r.confidence == pytest.approx(exp[r.label_index] / exp.sum(), rel=1e-12)
    with pytest.raises(dataclasses.FrozenInstanceError):
        results[0].frame = 3


def test_stream_starts_from_reset_or_goes_on(board):
    board.load(random_model())
    frames = random_frames(2, 30)
    whole = list(board.stream(frames))
    assert list(board.stream(frames)) == whole
    first = list(board.stream(frames[:11]))
    assert first + list(board.stream(frames[11:], reset=False)) == whole


def test_frames_go_in_bursts_and_the_next_is_sent_first(board, fake):
    board.load(random_model())
    most = most_frames(features=10, classes=4)
    stream = board.stream(random_frames(2, 3 * most + 1))
    for k in range(3 * most + 1):
        assert next(stream).frame == k
        assert fake.registers["FRAMES"] == min((k // most + 2) * most, 3 * most + 1)


@pytest.mark.parametrize("features", [256, 257, 512, 513, 784, 1023, 1024])
@pytest.mark.parametrize("own", [True, False], ids=["own board", "largest board"])
def test_wide_frames(features, own):
    """On a board that is built for them, and on one for wider frames; the same bursts."""
    model, frames = random_model(features=features), random_frames(3, 7, features)
    fake = CoreBoard(Design(lanes=8, cell_rate=1, weight_words=32768, features=features if own else 1024))
    board = Board(FakeTransport(fake), timeout=0.01, patience=0.2)
    board.load(model)
    lengths, start = [], board.link.start

    def spy(kind, payload=b""):
        if kind == Request.FRAMES:
            lengths.append(len(payload))
        return start(kind, payload)

    board.link.start = spy
    results = list(board.stream(frames))
    golden = Golden(model).run(frames[:, None])
    assert [r.logits for r in results] == [tuple(row) for row in golden.logits[:, 0].tolist()]
    assert [r.events for r in results] == [tuple(row) for row in golden.events[:, 0].tolist()]
    assert lengths == [2 * features] * 7
    first = list(board.stream(frames[:3]))
    assert first + list(board.stream(iter(frames[3:]), reset=False)) == results


@pytest.mark.parametrize("features", [1025, 1 << 16])
def test_too_wide_a_frame_is_refused_in_a_line(board, features):
    text = rf"{features} features, the board has 1024 \({features - 1024} too few\)"
    with pytest.raises(CapacityError, match=text) as error:
        board.load(random_model(features=features, gru=(8,), thetas=(16, 8)))
    assert "\n" not in str(error.value)
    with pytest.raises(CapacityError, match="784 features, the board has 256"):
        Board(FakeTransport(FakeBoard(Design()))).load(random_model(features=784, gru=(8,), thetas=(16, 8)))


def test_a_block_is_answered_before_the_next_is_asked_for(board):
    board.load(random_model())
    frames, results, cuts = random_frames(2, 60), [], [0, 1, 14, 15, 15, 50, 60]

    def blocks():
        for start, end in pairwise(cuts):
            assert len(results) == start
            yield frames[start:end]

    for result in board.stream(blocks()):
        results.append(result)
    assert results == list(board.stream(frames))


def test_an_abandoned_stream_leaves_the_board_usable(board, fake):
    board.load(random_model())
    frames = random_frames(2, 60)
    whole = list(board.stream(frames))
    stream = board.stream(frames)
    assert [next(stream) for _ in range(3)] == whole[:3]
    stream.close()
    ahead = board.read_register("FRAMES")
    assert ahead == 2 * most_frames(features=10, classes=4)
    assert list(board.stream(frames[ahead:], reset=False)) == whole[ahead:]
    next(board.stream(frames))
    assert list(board.stream(frames)) == whole


def test_requests_between_results(board):
    board.load(random_model())
    frames = random_frames(2, 60)
    whole, again = list(board.stream(frames)), []
    for result in board.stream(frames):
        board.write_register("COLUMN_BASE4", board.read_register("FRAMES"))
        again.append(result)
    assert again == whole


def test_live_blocks(board):
    board.load(random_model())
    frames = random_frames(2, 30)
    blocks = [frames[:1], frames[1], frames[2:2], frames[2:17], frames[17:]]
    assert list(board.stream(iter(blocks))) == list(board.stream(frames))


def test_float_frames_are_quantised_by_the_model(board):
    model = random_model()
    board.load(model)
    floats = np.random.default_rng(0).normal(0, 3, (15, 10)).astype(np.float32)
    assert list(board.stream(floats)) == list(board.stream(model.quantise(floats)))


def test_thresholds_and_dense(board, fake):
    board.load(random_model())
    frames = random_frames(2, 10)
    before = list(board.stream(frames))
    board.thresholds(1, 2, 3)
    assert [fake.registers[f"THETA{s}"] for s in range(3)] == [1, 2, 3]
    assert board.model.network.thresholds == (1, 2, 3)
    assert list(board.stream(frames)) != before
    with pytest.raises(ModelError, match="3 signals need 3 thresholds"):
        board.thresholds(1, 2)
    assert board.dense is False
    board.dense = True
    assert (board.dense, fake.registers["MODE"]) == (True, 1)
    board.load(random_model())
    assert (board.dense, fake.registers["MODE"]) == (False, 0)


@pytest.mark.parametrize("thresholds", [
    (10, 20.5, 3), (10, 20.0, 3), (10, True, 3), (10, "20", 3), (10, None, 3), (10, np.nan, 3), (10, -1, 3),
    (10, 4095, 3), (10, 20), (10, 20, 3, 4)], ids=str)
def test_thresholds_that_cannot_be_change_nothing(board, fake, thresholds):
    board.load(random_model())
    registers, model, sent = dict(fake.registers), board.model, len(board.link.transport.sent)
    with pytest.raises(ModelError) as error:
        board.thresholds(*thresholds)
    assert "\n" not in str(error.value)
    assert (fake.registers, board.model, len(board.link.transport.sent)) == (registers, model, sent)
    board.thresholds(np.int64(10), np.uint8(20), torch.tensor(3))
    assert [fake.registers[f"THETA{s}"] for s in range(3)] == [10, 20, 3]


def test_weights_that_do_not_fit(board, fake):
    lanes, words = fake.design.lanes, fake.design.weight_words
    before = bytes(fake.weights)
    for weights, word, text in (
            (np.ones((2, lanes), np.int32), 0, "weights are int8"), (np.ones((2, lanes - 1), np.int8), 0, "are int8"),
            (np.ones((8, lanes), np.int8), words - 2, "do not fit"), (np.ones((1, lanes), np.int8), -1, "do not fit")):
        with pytest.raises(BoardError, match=text):
            board.write_weights(weights, word)
    assert bytes(fake.weights) == before


def test_registers(board):
    board.write_register("THETA1", 8191)
    assert board.read_register("THETA1") == 8191
    with pytest.raises(BoardError, match="13 bits"):
        board.write_register("THETA1", 8192)
    with pytest.raises(ModelError, match=r"THETA1 is a whole number, not 1\.5"):
        board.write_register("THETA1", 1.5)
    with pytest.raises(BoardError, match="read only"):
        board.write_register("FRAMES", 0)
    with pytest.raises(BoardError, match="no register 'THETA33'"):
        board.read_register("THETA33")


@pytest.mark.parametrize("frames, text", [
    (np.zeros((3, 9), np.int16), r"shape \(3, 9\); this model needs \(frames, 10\)"),
    (np.zeros((2, 3, 10)), "shape"),
    (np.full((3, 10), np.nan, np.float32), "frame 0 holds NaN"),
    (np.array([[0.0] * 10, [0.0] * 9 + [np.inf]]), "frame 1 holds NaN or infinity"),
    (np.full((1, 10), 2048), "beyond ±2047"),
    (np.full((1, 10), -32768, np.int16), "beyond ±2047"),
    (np.full((1, 10), -(2**63), np.int64), "beyond ±2047"),
    (np.full((1, 10), 2**64 - 5, np.uint64), "beyond ±2047"),
    ([np.zeros((2, 10)), np.zeros((1, 9))], r"shape \(1, 9\)"),
    ([np.zeros(10), np.full(10, 2048)], "beyond ±2047"),
    ([[[1] * 10, [1] * 9]], "make no array"),
    (torch.full((2, 10), torch.nan), "frame 0 holds NaN"),
    (np.zeros((1, 10), complex), "floats or integers"),
    (np.zeros((1, 10), bool), "floats or integers"),
])
def test_bad_frames_are_refused_before_anything_is_sent(board, frames, text):
    board.load(random_model())
    sent = len(board.link.transport.sent)
    with pytest.raises(InputError, match=text):
        board.stream(frames)
    assert len(board.link.transport.sent) == sent


@pytest.mark.parametrize("of", [list, tuple, torch.tensor, lambda x: torch.tensor(x / 256, requires_grad=True),
                                lambda x: [x[:7], x[7], *x[8:20], x[20:]], lambda x: x.tolist(), lambda x: [x]])
def test_a_list_or_a_tensor_is_as_an_array(board, of):
    """The same results, in as few requests."""
    model, frames = random_model(), random_frames(1, 50)
    scaled = {"frontend.mean": np.zeros(10, np.float32), "frontend.scale": np.ones(10, np.float32)}
    board.load(dataclasses.replace(model, tensors=model.tensors | scaled))
    transport, seen = board.link.transport, []
    for given in (frames, of(frames)):
        start = len(transport.sent)
        results = list(board.stream(given))
        seen.append((results, len(transport.sent) - start))
    assert seen[0][0] == seen[1][0] and abs(seen[0][1] - seen[1][1]) < 5        # a zero more or less is stuffed


def test_a_list_of_numbers_is_one_frame(board):
    board.load(random_model())
    assert list(board.stream([5] * 10)) == list(board.stream(np.full(10, 5)))


def test_no_frames(board):
    board.load(random_model())
    assert list(board.stream([])) == list(board.stream([np.zeros((0, 10))])) == []
    assert list(board.stream(np.zeros((0, 10), np.int16))) == []


def test_no_model(board):
    with pytest.raises(BoardError, match="no model is loaded"):
        board.stream(np.zeros((1, 10)))


@pytest.mark.parametrize("fault", ["skip", "twice", "reset"])
def test_a_lost_or_doubled_frame_is_noticed(board, fake, fault):
    board.load(random_model())
    stream = board.stream(random_frames(1, 100))
    for _ in range(5):
        next(stream)
    fake.registers["FRAMES"] += {"skip": -1, "twice": 1, "reset": -5}[fault]
    with pytest.raises(BoardError, match="counts frame"):
        list(stream)


def test_another_model_on_the_board(board, fake):
    board.load(random_model())
    fake.registers["CLASSES"] = 6
    with pytest.raises(BoardError, match="another model"):
        list(board.stream(random_frames(1, 2)))


def test_digest(fake):
    full = DIGEST.hex() + "00" * 16
    assert Board(FakeTransport(fake), expect_digest=full).identity.digest == DIGEST
    with pytest.raises(BoardError, match="the manifest says 1234"):
        Board(FakeTransport(fake), expect_digest="1234" + full[4:])


def test_the_next_board_takes_over(fake):
    """A user gives up in the middle of a stream; whoever opens the port next starts clean."""
    board = Board(FakeTransport(fake))
    board.load(random_model())
    stream = board.stream(random_frames(1, 20))
    expected = [next(stream) for _ in range(5)]
    fake.receive(b"\x07half a packet")
    again = Board(FakeTransport(fake))
    again.load(random_model())
    assert list(again.stream(random_frames(1, 20)))[:5] == expected


def test_weight_chunks_are_whole_words(board, fake):
    lengths = []
    request = board.link.request

    def spy(kind, payload=b""):
        if kind == Request.WRITE_WEIGHTS:
            lengths.append(len(payload) - 4)
        return request(kind, payload)

    board.link.request = spy
    board.load(random_model())
    assert all(n % 64 == 0 and n <= board.design.payload - 4 for n in lengths)


def test_a_stop_rule_ends_a_clip_at_its_decision(board, fake):
    board.load(random_model())
    frames = random_frames(7, 90)
    whole = list(board.stream(frames))
    lead, best = leads(np.array([r.logits for r in whole]))
    for hold in (0, 5, 30):
        rule = Stop(int(np.sort(lead)[-4]), hold)
        at = int(np.flatnonzero((lead > rule.margin) & (np.arange(90) >= hold))[0])
        board.stop = rule
        results = list(board.stream(frames))
        assert len(results) == at + 1 and [r.logits for r in results] == [r.logits for r in whole[: at + 1]]
        assert [r.decided for r in results] == [False] * at + [True]
        assert (results[-1].decided_at, results[-1].label_index) == (at, best[at])
        assert all(r.decided_at is None for r in results[:-1])
        assert board.read_register("DECISION") == best[at] + 1
        assert list(board.stream(frames, reset=False)) == []        # until the next reset
    board.stop = None
    assert list(board.stream(frames)) == whole


def test_a_listening_board_decides_again(board):
    board.load(random_model())
    frames = random_frames(7, 90)
    logits = np.array([r.logits for r in board.stream(frames)])
    rule = Stop(int(np.median(leads(logits)[0])), hold=2, classes=3, stream=True)
    board.stop = rule
    found = decisions(logits[:, None], rule)[:, 0]
    results = list(board.stream(iter(np.array_split(frames, 13))))
    assert len(results) == 90 and [r.decided for r in results] == (found != UNDECIDED).tolist()
    assert sum(r.decided for r in results) > 3
    assert results[-1].decided_at == np.flatnonzero(found != UNDECIDED)[-1]


def test_a_smoothed_decision_is_named_by_its_class(board):
    """The class that leads in the smoothed logits need not be the best of the frame in which it is decided."""
    board.load(model := random_model())
    frames, unit = random_frames(7, 90), 1 << acc_frac(model.network.classifier.weight_frac)
    logits = np.array([r.logits for r in board.stream(frames)])
    board.stop = rule = Stop(0, stream=True, smooth=3, release=0)
    found = decisions(logits[:, None], rule)[:, 0]
    results = list(board.stream(frames))
    assert [r.label_index for r in results if r.decided] == found[found != UNDECIDED].tolist()
    assert any(r.decided and r.label_index != int(np.argmax(r.logits)) for r in results)
    for r in results:
        odds = np.exp((np.array(r.logits) - max(r.logits)) / unit)
        assert r.confidence == pytest.approx(odds[r.label_index] / odds.sum())


def test_dense_mode_and_a_stop_rule_are_apart(board, fake):
    board.load(random_model())
    board.stop, board.dense = Stop(100), True
    assert fake.registers["MODE"] == 3 and fake.registers["STOP_MARGIN"] == 100 and fake.registers["STOP_CLASSES"] == 4
    board.dense = False
    assert (fake.registers["MODE"], board.stop) == (2, Stop(100))
    board.load(random_model())
    assert (fake.registers["MODE"], board.stop) == (0, None)
    fake.registers["MODE"], fake.registers["STOP_CLASSES"] = 2, 4           # a rule that the driver knows nothing of
    with pytest.raises(BoardError, match="another model"):
        list(board.stream(random_frames(7, 90)))
