"""A model card in Markdown from what a model file says of itself: ``python -m tidegate.train.card MODEL > CARD.md``."""

import sys
from pathlib import Path

from tidegate.host.figures import ratio_text
from tidegate.spec.errors import TidegateError
from tidegate.spec.model import Model, read_model


def card(model: Model, name: str, size: int) -> str:
    """Markdown; ``size``: bytes of the model file.  TidegateError if the model was not trained with a recipe."""
    if "recipe" not in model.card:
        raise TidegateError(f"the model '{name}' has no training card; only models from `tidegate train` have one")
    recipe, clips, net = model.card["recipe"], model.card["clips"], model.network
    frontend = recipe["frontend"]
    figures = [model.card[part] for part in ("test", "validation") if part in model.card]
    lines = [
        f"# {name}", "", recipe["about"], "", "| | |", "|---|---|",
        f"| classes | {', '.join(model.labels)} |",
        f"| features | {net.features} log-mel bands, {frontend['low_hz']:g}-{frontend['high_hz']:g} Hz, window "
        f"{frontend['window_ms']:g} ms, hop {frontend['hop_ms']:g} ms, {frontend['sample_rate']} samples/s |",
        f"| network | delta-GRU {' + '.join(str(x.size) for x in net.gru)}, int8 weights, {net.dense_weights} weights "
        f"a dense frame |",
        f"| thresholds Θ | {', '.join(f'{t}/256' for t in net.thresholds)} (features, then each layer) |",
        f"| file | {size / 1000:.1f} kB, digest `{model.digest[:16]}` |",
        "", "## Figures", "",
        "Golden model, decision at a clip's last frame; integers, so the same on any board.", "",
        "| part | clips | accuracy | fetch reduction | temporal sparsity | occupancy per signal |",
        "|---|---|---|---|---|---|",
        *(f"| {f['part']} | {f['utterances']} | {f['accuracy']:.2%} | {ratio_text(f['fetch_reduction'], 2)} | "
          f"{f['temporal_sparsity']:.2%} | {', '.join(f'{o:.3f}' for o in f['occupancy'])} |" for f in figures),
        "", f"Recall by class ({figures[0]['part']}): "
        + ", ".join(f"{label} {r:.1%}" for label, r in figures[0]["recall"].items() if r is not None) + ".",
        "", "## Training", "",
        f"- Clips: {clips['train']} to train, {clips['validation']} to validate, {clips['test']} to test; "
        f"{model.card['skipped']} unreadable ones skipped.",
        f"- Seed {recipe['seed']}; best epoch by validation: {model.card['epoch']} of {recipe['epochs']}.",
        f"- Command: `tidegate train DATA --recipe {recipe['name']} --out {name}.tidegate`, recipe in `{name}.json`.",
        f"- Data: {recipe['attribution']}", "", "## Not good for", "", *(f"- {x}" for x in recipe["limits"]), "",
    ]
    return "\n".join(lines)


def main() -> int:
    if len(sys.argv) != 2:
        print("use: python -m tidegate.train.card MODEL", file=sys.stderr)
        return 2
    path = Path(sys.argv[1])
    try:
        print(card(read_model(path), path.stem, path.stat().st_size), end="")
    except TidegateError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
