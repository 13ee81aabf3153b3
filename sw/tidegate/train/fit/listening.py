"""What training on streams minimises, what it mines, and how it judges a network on streams of the validation part.

    loss =  CE(answers of keywords)  +  unknown_weight · CE(answers of other words)  +  silence_weight · CE(pauses)
          + reject_weight · mean R  +  hard_weight · mean of the largest R
    R    =  −log(1 − p(any keyword))    in frames in which no keyword is to be answered

R does not say which of ``unknown`` and ``silence`` is right.  The largest R of a chunk count again because false
accepts are rare: the mean over all frames hardly knows them.

With ``robust`` q > 0 the cross-entropy CE of a keyword is replaced by (1 − exp(−q·CE)) / q, the generalised
cross-entropy (Zhang and Sabuncu 2018, arXiv:1805.07836): some recordings hold nothing, or half a word, and whoever
insists on them learns to hear words in silence.

With ``smoothed`` all of it is about the logits that a detector compares; with ``peak`` a share of a keyword's loss is
that of the one frame in which it is answered best, for a detector needs one.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tidegate.golden import DeltaNetwork
from tidegate.golden.network import NetworkState
from tidegate.host.detector import Detection, DetectorSettings
from tidegate.host.frontend import FrontEndSettings
from tidegate.spec.formats import acc_frac
from tidegate.spec.stop import STOP_SHIFT, UNDECIDED, Decider, best_two

from ..data.folders import UNKNOWN
from ..data.soundscape import SpokenWord
from ..data.stream_options import Listening
from ..data.streams import IGNORE, REJECT, Chunk, Mined, Mixer, Spoken
from ..judge.streaming import TOLERANCE_S, Count, count

_SURE = 0.0             # lead of a keyword over the other classes from which a frame is mined
MARGINS = tuple(0.5 * k for k in range(1, 21))      # in units of the logits


def start_of(state: NetworkState | None, fresh: np.ndarray) -> NetworkState | None:
    """The state in which the next chunk begins: that of a reset for the streams that begin anew."""
    if state is None or fresh.all():
        return None
    kept = torch.from_numpy(~fresh).float()[:, None].to(state.anchors[0].device)
    return NetworkState([a * kept for a in state.anchors], [h * kept for h in state.states])


def smoothed(logits: Tensor, smooth: int) -> Tensor:
    """Logits (T, ...) as a detector smooths them over about 2**smooth frames; what came before them is not known."""
    t = torch.arange(len(logits), device=logits.device)
    back = (t[:, None] - t).clamp_min(0)
    weights = (1 - 2.0**-smooth) ** back * (t[:, None] >= t)
    return torch.tensordot((weights / weights.sum(1, keepdim=True)).to(logits.dtype), logits, 1)


class StreamLoss:
    """The loss of a chunk; ``keywords``: how many of the first classes are keywords, ``unknown`` its number or -1."""

    def __init__(self, options: Listening, keywords: int, unknown: int, silence: int):
        self.options, self.keywords, self.unknown, self.silence = options, keywords, unknown, silence

    def rejected(self, logits: Tensor) -> Tensor:
        """R in every frame, from logits (..., classes)."""
        k = self.keywords
        return torch.logsumexp(logits, -1) - torch.logsumexp(logits[..., k:], -1)

    def robust(self, lost: Tensor) -> Tensor:
        """The generalised cross-entropy of cross-entropies: what is hopelessly wrong counts less than it costs."""
        q = self.options.robust
        return (1 - torch.exp(-q * lost)) / q if q else lost

    def peaks(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean over the keywords' answers of the cross-entropy in the frame where it is least."""
        wanted = targets.t()                                # an answer's frames follow each other
        keyword = (wanted >= 0) & (wanted < self.keywords)
        if not keyword.any():
            return logits.new_zeros(())
        before = torch.nn.functional.pad(wanted[:, :-1], (1, 0), value=IGNORE)
        answer = ((wanted != before) & keyword).flatten().cumsum(0)[keyword.flatten()] - 1
        lost = self.robust(torch.nn.functional.cross_entropy(logits.transpose(0, 1)[keyword], wanted[keyword],
                                                             reduction="none"))
        least = lost.new_full((int(answer.max()) + 1,), torch.inf)
        return least.scatter_reduce(0, answer, lost, "amin").mean()

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """``logits`` (T, B, classes), ``targets`` (T, B)."""
        o = self.options
        logits = smoothed(logits, o.smoothed) if o.smoothed else logits
        flat, wanted = logits.flatten(0, 1), targets.flatten()
        total = logits.new_zeros(())
        if o.peak:
            total = total + o.peak * self.peaks(logits, targets)
        for chosen, weight, keyword in (((wanted >= 0) & (wanted < self.keywords), 1 - o.peak, True),
                                        ((wanted == self.unknown) & (wanted >= 0), o.unknown_weight, False),
                                        ((wanted == self.silence) & (wanted >= 0), o.silence_weight, False)):
            picked = chosen.nonzero()[:, 0]
            if weight and len(picked):
                lost = torch.nn.functional.cross_entropy(flat[picked], wanted[picked], reduction="none")
                total = total + weight * (self.robust(lost) if keyword else lost).mean()
        negative = ((wanted == REJECT) | (wanted == self.unknown) | (wanted == self.silence)).nonzero()[:, 0]
        if len(negative):
            lost = self.rejected(flat[negative])
            worst = lost.topk(max(1, int(o.hard_share * len(lost)))).values
            total = total + o.reject_weight * lost.mean() + o.hard_weight * worst.mean()
        return total


def mine(mined: Mined, chunk: Chunk, logits: Tensor, keywords: int) -> None:
    """Remember what speech and which other words the network takes for keywords in a chunk."""
    with torch.no_grad():
        lead = (logits[..., :keywords].amax(-1) - logits[..., keywords:].amax(-1)).cpu().numpy()
    lead[(chunk.targets.numpy() >= 0) & (chunk.targets.numpy() < keywords)] = -np.inf
    lead[chunk.targets.numpy() == IGNORE] = -np.inf
    frames = lead.argmax(0)
    for b, t in enumerate(frames):
        number = chunk.origin[t, b]
        if lead[t, b] > _SURE and number >= 0:
            kind, recording = chunk.items[number]
            if kind == "speech":
                mined.add_speech(recording, int(chunk.at[t, b]))
            elif kind == "other":
                mined.add_word(recording)


@dataclass(frozen=True)
class DetectionCurve:
    """Figures on streams: rows per margin (``margin``, ``misses`` share, ``per_hour`` false accepts per hour without
    keywords, ``wrong`` answers per keyword), ``hours``, ``events`` per signal and frame."""

    rows: list[dict]
    hours: float
    events: list[float]

    def at(self, per_hour: float) -> dict | None:
        """The row of the least margin from which on there are at most so many false accepts per hour."""
        kept = None
        for row in reversed(self.rows):
            if row["per_hour"] > per_hour:
                break
            kept = row
        return kept

    def misses_at(self, per_hour: float) -> float:
        """Share of the keywords missed there; 1 if there is no such margin."""
        row = self.at(per_hour)
        return 1.0 if row is None else row["misses"]


@torch.no_grad()
def listen(network: DeltaNetwork, mixer: Mixer, chunks: int, rng: np.random.Generator, frontend: FrontEndSettings,
           settings: DetectorSettings) -> DetectionCurve:
    """Run a network on ``chunks`` chunks of a mixer's streams and detect with the board's rule at each of MARGINS."""
    mixer.restart(rng)
    o, labels = mixer.options, mixer.material.labels
    rules = [(m, DetectorSettings(settings.smooth, float(1 / (1 + np.exp(-m))), settings.release,
                                  settings.refractory_s).rule(labels, frontend, network.classifier_frac))
             for m in MARGINS]
    deciders = [Decider(rule, (o.streams,)) for _, rule in rules]
    smoother = Decider(rules[0][1], (o.streams,))
    found: list[list[np.ndarray]] = [[] for _ in rules]
    state, events, frames = None, np.zeros(len(network.layers) + 1), 0
    device = network.classifier.weight.device
    for _ in range(chunks):
        chunk = mixer.chunk()
        output = network(chunk.frames.to(device), start=state)
        state = output.state
        events += [float(e.sum()) for e in output.events]
        frames += chunk.frames.shape[0] * chunk.frames.shape[1]
        raw = torch.round(output.logits.double() * 2.0 ** acc_frac(network.classifier_frac)).long().cpu().numpy()
        lead, best = best_two(smoother.smooth(raw >> STOP_SHIFT))
        for decider, into in zip(deciders, found, strict=True):
            into.append(decider.decide(lead, best))
    words, until = _truth(mixer.spoken, o.streams, frontend, chunks * o.chunk)
    hours = frames * frontend.hop / frontend.sample_rate / 3600
    keywords = [w for some in words for w in some if w.label != UNKNOWN]
    without = hours - sum(w.end_s - w.start_s + TOLERANCE_S for w in keywords) / 3600
    rows = []
    for (margin, _), pieces in zip(rules, found, strict=True):
        decided, all_of_it = np.concatenate(pieces), Count.none()
        for b in range(o.streams):
            detections = [Detection(int(t), frontend.heard(int(t) + 1), labels[decided[t, b]], 1.0)
                          for t in np.flatnonzero(decided[: until[b], b] != UNDECIDED)]
            all_of_it += count(words[b], detections)
        n = max(all_of_it.keywords, 1)
        rows.append({"margin": margin, "misses": all_of_it.misses / n, "per_hour": all_of_it.false / without,
                     "wrong": sum(all_of_it.wrong_answers.values()) / n, "keywords": all_of_it.keywords,
                     "kinds": all_of_it.false_accepts | all_of_it.wrong_answers})
    return DetectionCurve(rows, hours, (events / frames).tolist())


def _truth(spoken: list[Spoken], streams: int, frontend: FrontEndSettings,
           frames: int) -> tuple[list[list[SpokenWord]], list[int]]:
    """The words of each stream, and the frame up to which it counts: a word that cannot be detected before all is over
    is left out."""
    second = frontend.sample_rate / frontend.hop
    words: list[list[SpokenWord]] = [[] for _ in range(streams)]
    until = [frames] * streams
    for s in spoken:
        if s.end + TOLERANCE_S * second > frames:
            until[s.stream] = min(until[s.stream], s.first)
            continue
        words[s.stream].append(SpokenWord(s.label, s.first / second, s.end / second, ""))
    return words, until
