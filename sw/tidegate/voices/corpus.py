"""A folder of near words: ``word/voice/clip.flac``, as ``train.data.scan`` reads it; the voice is the speaker.

    DIR/near-words.json         what was asked for, the programs, and every word with the keyword that it is near to
    DIR/README.md               the same for people, with licences
    DIR/floor/flite-slt/p97_s110.flac
    DIR/_keywords_/four/flite-slt/p97_s110.flac     the keywords themselves
    DIR/_sentences_/flite-slt/017_p97_s110.flac     sentences; no folder of a word begins with _

``Wanted.flat`` gives ``voice/word_p97_s110.flac`` instead: the folder ``unknown`` of one's own words.

Everything follows from the seed.  A clip is written under a temporary name and renamed; a stopped run goes on where it
ended.
"""

import io
import json
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import numpy as np
import soundfile

from tidegate.progress import Progress
from tidegate.spec.errors import TidegateError
from tidegate.spec.files import replacing

from . import speech
from .lexicon import Lexicon
from .near import Near, find

OWN = "keyword"         # kind of a word that is none of the near ones but a keyword itself
MANIFEST, README, SENTENCES, KEYWORDS = "near-words.json", "README.md", "_sentences_", "_keywords_"
_RANGES = (("near", 1, 500), ("other", 0, 3000), ("voices", 1, speech.MOST_VOICES), ("spoken", 0, 1000),
           ("least", 0, 2), ("sentences", 0, 6000))
_SECOND, _NOISE = speech.RATE, 0.0005       # samples, and the noise around a word as in the bundled clips


@dataclass(frozen=True)
class Wanted:
    """What to make: ``near`` words for each of the ``keywords`` and ``other`` ones (as many in all, if None), each by
    ``voices``; ``sentences`` minutes of continuous speech.

    ``least``: of the near words, those at this distance or more: what is nearer takes from the recall of the keywords.
    ``spoken``: clips of each keyword itself, so that a model does not learn that synthetic voices say no keyword.
    ``flat``: one folder per voice, and each clip in the middle of a second of faint noise, as people record words.
    """

    keywords: tuple[str, ...]
    near: int = 30
    other: int | None = None
    voices: int = 14
    spoken: int = 0
    least: float = 0.0
    sentences: float = 0.0
    seed: int = 0
    flat: bool = False

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise TidegateError(f"--{name} must be {low} to {high}, not {value}")
        if self.flat and self.spoken:
            raise TidegateError("--flat makes recordings of other words, --spoken of keywords; leave one of them out")


@dataclass(frozen=True)
class Made:
    """``words`` folders with ``clips`` of words that are no keywords, ``spoken`` clips of keywords, ``sentences`` of
    ``minutes`` together; ``too_near``: words that ``least`` left out."""

    folder: Path
    words: int
    clips: int
    spoken: int
    too_near: int
    sentences: int
    minutes: float


def make(wanted: Wanted, directory: str | Path, lexicon: Lexicon,
         progress: Progress = lambda done, total: None) -> Made:
    """Write the folder; TidegateError if it holds something else, no program speaks, or the disk is full.

    ``progress(done, total)``: called after each word, and after each sentence, with the share that is done.
    """
    words = find(wanted.keywords, lexicon, near=wanted.near, other=wanted.other, seed=wanted.seed)
    use = speech.programs()
    found = len(words)
    words = [near for near in words if not near.keyword or near.distance >= wanted.least]
    kept = len(words)
    if wanted.spoken:
        words += [Near(keyword, OWN, keyword) for keyword in wanted.keywords]
    folder = Path(directory)
    settings = {**asdict(wanted), "programs": {p: speech.program_version(p) for p in use}}
    try:
        _begin(folder, settings, words)
        with tempfile.TemporaryDirectory() as scratch:
            clips = {True: 0, False: 0}         # of keywords, of the others
            for i, near in enumerate(words):
                clips[near.kind == OWN] += _word(near, wanted, use, folder, Path(scratch))
                progress(i + 1, len(words))
            spoken = {keyword: lexicon.pronounce(keyword) for keyword in wanted.keywords}
            texts = lexicon.without(lexicon.sentences, spoken, homophones=False)
            sentences, seconds = _sentences(texts, wanted, use, folder / SENTENCES, Path(scratch), progress)
        readme = _readme(settings, words, sum(clips.values()), sentences, seconds / 60)
        with replacing(folder / README) as part:
            part.write_text(readme, encoding="utf-8")
    except OSError as error:
        raise TidegateError(f"cannot write to '{folder}' ({error.strerror}); choose another folder") from None
    except soundfile.SoundFileError as error:
        raise TidegateError(f"cannot write to '{folder}' ({error}); is the disk full?") from None
    return Made(folder, kept, clips[False], clips[True], found - kept, sentences, seconds / 60)


def _begin(folder: Path, settings: dict, words: Sequence[Near]) -> None:
    """The manifest, before anything is spoken; a folder with another one, or with something else, is refused."""
    content = {"note": "Generated speech: no recording of a person.", **settings,
               "words": [{k: v for k, v in {"folder": n.folder, **asdict(n)}.items() if v} for n in words]}
    text = json.dumps(content, indent=1) + "\n"
    manifest = folder / MANIFEST
    if manifest.is_file():
        if manifest.read_text(encoding="utf-8", errors="replace") != text:
            raise TidegateError(f"'{folder}' holds near words made with other settings or programs; choose another "
                                "folder, or remove it")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TidegateError(f"'{folder}' is there and holds something else; choose a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(manifest) as part:
        part.write_text(text, encoding="utf-8")


def _word(near: Near, wanted: Wanted, use: tuple[str, ...], folder: Path, scratch: Path) -> int:
    random = Random(f"{wanted.seed} {near.folder}")
    paths = set()
    for voice in speech.cast(use, wanted.spoken if near.kind == OWN else wanted.voices, random):
        how = speech.manner(voice, random)
        path = (folder / KEYWORDS if near.kind == OWN else folder) / near.folder / voice.speaker / f"{how}.flac"
        if wanted.flat:
            path = folder / voice.speaker / f"{near.folder}_{how}.flac"
        paths.add(path)
        _write(near.text, voice, how, path, scratch, near.phones, _SECOND if wanted.flat else 0)
    return len(paths)


def _sentences(texts: Sequence[str], wanted: Wanted, use: tuple[str, ...], folder: Path, scratch: Path,
               progress: Progress) -> tuple[int, float]:
    """At least so many minutes: the sentences in turn, each turn in another order and other voices → (sentences, s)."""
    random, seconds, count, goal = Random(f"{wanted.seed} sentences"), 0.0, 0, wanted.sentences * 60
    if goal and not texts:
        raise TidegateError("each of the bundled sentences holds one of the keywords; leave out --sentences")
    while seconds < goal:
        for number in random.sample(range(len(texts)), len(texts)):
            if seconds >= goal:
                break
            voice = random.choice(speech.voices(use[:1] if random.random() < 0.75 else use[-1:]))
            how = speech.manner(voice, random)
            path = folder / voice.speaker / f"{number:03d}_{how}.flac"
            seconds += _write(texts[number], voice, how, path, scratch)
            count += 1
            progress(int(min(seconds, goal)), int(goal))
    return count, seconds


def _write(text: str, voice: speech.Voice, how: speech.Manner, path: Path, scratch: Path, phones: tuple = (),
           least: int = 0) -> float:
    """Seconds of the clip, of ``least`` samples or more; nothing is spoken where the file is there."""
    if path.is_file():
        return soundfile.info(path).duration
    samples = speech.say(text, voice, how, scratch, phones)
    if len(samples) < least:
        around = np.random.default_rng(zlib.crc32(path.name.encode())).normal(0, _NOISE, least).astype(np.float32)
        start = (least - len(samples)) // 2
        around[start : start + len(samples)] += samples
        samples = around
    path.parent.mkdir(parents=True, exist_ok=True)
    flac = io.BytesIO()                 # libsndfile would pass over a disk that is full
    soundfile.write(flac, np.clip(samples, -1, 1), speech.RATE, "PCM_16", format="FLAC")
    with replacing(path) as part:
        part.write_bytes(flac.getbuffer())
    return len(samples) / speech.RATE


def _readme(settings: dict, words: Sequence[Near], clips: int, sentences: int, minutes: float) -> str:
    spoken = f"  {sentences} sentences, {minutes:.1f} minutes, in `{SENTENCES}`." if sentences else ""
    near = {k: [n.text for n in words if n.keyword == k and n.kind != OWN] for k in settings["keywords"]}
    layout = "One folder per voice" if settings["flat"] else "A word's folder has one folder per voice"
    lines = [
        f"# Words that sound like {', '.join(settings['keywords'])}", "",
        "Generated speech: no recording of a person is in here.  It is to train a model to reject such words, and no "
        "test set.", *(["", f"The keywords themselves are spoken, too: {settings['spoken']} clips of each, in "
                       f"`{KEYWORDS}`."] if settings["spoken"] else []), "",
        f"{clips} clips of {len(words)} words, phrases and parts of words.{spoken}  16 kHz, mono, FLAC; seed "
        f"{settings['seed']}.  {layout}.", "", "Made with:", "",
        *(f"- {name} {version}" for name, version in settings["programs"].items()),
        "- pronunciations: CMU Pronouncing Dictionary, Carnegie Mellon University (BSD licence)",
        "- frequencies of words: pyspellchecker (MIT licence)", "",
        "The programs' licences (espeak-ng: GPL 3 or later; flite and its voices: like BSD) are about the programs and "
        "do not claim what they speak.", "",
        *(f"- near to **{k}**: {', '.join(texts)}" for k, texts in near.items()),
        f"- near to none: {', '.join(n.text for n in words if not n.keyword)}"]
    return "\n".join(lines) + "\n"
