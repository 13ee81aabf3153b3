"""Descriptions of sweeps: what they expand to, and that a mistake is one line that names the field."""

import json

import pytest

from tidegate.spec.errors import TidegateError
from tidegate.train.errors import DataError
from tidegate.train.recipe import Recipe
from tidegate.train.study import plan as plans
from tidegate.train.study.plan import compact, make_plan, read_plan, sweep_names, thresholds_at


@pytest.fixture
def base(recipe):
    return {"name": "s", "recipe": json.loads(json.dumps(recipe.to_dict()))}


def test_every_combination_in_the_order_of_the_description(base):
    plan = make_plan(base | {
        "vary": {"gru": [[8], [16]], "augmentation.context": [0, 0.5], "seed": [1, 2]},
        "variants": [{"label": "dense", "set": {"thresholds": [0, 0]}}, {"label": "delta", "set": {}}]})
    points = plan.points(("", "ann"))
    assert len(points) == len({p.key for p in points}) == 2 * 2 * 2 * 2 * 2
    assert [(p.label, p.recipe.gru, p.recipe.augmentation.context, p.recipe.seed, p.speaker) for p in points[:3]] == [
        ("dense", (8,), 0, 1, ""), ("dense", (8,), 0, 1, "ann"), ("dense", (8,), 0, 2, "")]
    last = points[-1]
    assert last.varied == {"gru": "16", "augmentation.context": "0.5", "seed": "2"}
    assert {p.recipe.thresholds for p in points if p.label == "dense"} == {(0, 0)}
    assert {p.recipe.thresholds for p in points if p.label == "delta"} == {(64, 32)}
    assert last.recipe == Recipe.from_dict(base["recipe"] | {"gru": [16], "seed": 2, "augmentation": base["recipe"][
        "augmentation"] | {"context": 0.5}})
    assert str(last) == "delta gru=16 augmentation.context=0.5 seed=2 without ann"


def test_a_key_changes_with_recipe_speaker_label_and_version_and_with_nothing_else(base, monkeypatch):
    def key(speaker="", label="a", **changes):
        d = base | {"variants": [{"label": label, "set": {}}], "recipe": base["recipe"] | changes}
        return make_plan(d).points((speaker,))[0].key

    assert key() == key()
    assert len({key(), key(seed=9), key("ann"), key(label="b")}) == 4
    assert key() == key(name="other", about="x", attribution="y", limits=["z"])
    assert make_plan(base | {"theta": [2], "about": "x"}).points()[0].key == make_plan(base).points()[0].key
    assert key() == key(about="other prose", attribution="of another", limits=["none"])
    before = key()
    monkeypatch.setattr("tidegate.train.study.plan.version", lambda package: "99")
    assert key() != before


def test_a_description_as_run_stands_alone(base, recipe, tmp_path):
    recipe.write(tmp_path / "r.json")
    d = base | {"recipe": "r.json", "data": "tones", "vary": {"seed": [1]}, "theta": [1, [3, 4]], "speakers": ["ann"],
                "variants": [{"label": "a", "set": {"epochs": 2}}]}
    (tmp_path / "s.json").write_text(json.dumps(d))
    plan = read_plan(tmp_path / "s.json")
    (tmp_path / "r.json").unlink()
    again = make_plan(json.loads(json.dumps(plan.to_dict())))
    assert again == plan and again.points() == plan.points()
    assert plan.recipe == base["recipe"] and plan.theta == (1, (3, 4)) and plan.speakers == ("ann",)


def test_a_shipped_model_is_a_recipe():
    assert make_plan({"name": "s", "recipe": "digits"}).points()[0].recipe.name == "digits"


def test_a_sweep_that_ships_goes_by_its_name(base, tmp_path, monkeypatch):
    (tmp_path / "mine.json").write_text(json.dumps(base))
    monkeypatch.setattr(plans, "_SHIPPED", tmp_path)
    assert sweep_names() == ("mine",) and read_plan("mine") == make_plan(base)
    with pytest.raises(DataError, match="no sweep 'other'; there are mine"):
        read_plan("other")


def test_thresholds_at_a_setting():
    assert thresholds_at((5, 6), (64, 32)) == (5, 6)
    assert thresholds_at(1, (64, 33)) == (64, 33)
    assert thresholds_at(0.5, (64, 33)) == (32, 17)       # half up
    assert thresholds_at(1e9, (64, 0)) == (plans.THETA_MAX, 0)


def test_values_as_text():
    assert compact([64, 0.5]) == "64 0.5" and compact("a b") == "a b" and compact(None) == "null"
    assert "\n" not in compact("a\nb") and compact({"a": [1]}) == '{"a":[1]}'


@pytest.mark.parametrize("changes, message", [
    ({"names": "x"}, "no field 'names'"),
    ({"name": "a/b"}, "name must be letters, digits"),
    ({"about": 3}, "about must be a valid string, not 3"),
    ({"recipe": 3}, "recipe must be a shipped model's name, a file or an object; 3 is wrong"),
    ({"recipe": "none"}, "no recipe 'none'"),
    ({"recipe": "none.json"}, "no recipe '.*none.json'"),
    ({"recipe": {"epoch": 3}}, "'recipe': recipe 's': there is no field 'epoch'; known are name"),
    ({"recipe": {"thresholds": [1]}}, "'recipe': .*need 2 thresholds"),
    ({"vary": ["seed"]}, "vary must be an object"),
    ({"vary": {"seed": 3}}, "vary.seed must be a valid array, not 3"),
    ({"vary": {"seed": []}}, "vary.seed must have at least 1 item, not 0"),
    ({"vary": {"sead": [3]}}, "no recipe at 'sead=3': .*no field 'sead'; known are name"),
    ({"vary": {"augmentation.contxt": [3]}}, "no field 'augmentation.contxt'; known are gain"),
    ({"vary": {"seed.x": [3]}}, "no field 'seed.x'"),
    ({"vary": {"seed": [1.5]}}, "no recipe at 'seed=1.5': .*seed must be a valid integer, not 1.5"),
    ({"vary": {"seed": [True]}}, "seed must be a valid integer, not true"),
    ({"vary": {"gru": [16]}}, "gru must be a valid array, not 16"),
    ({"vary": {"augmentation": [{"gain": "x"}]}}, 'augmentation.gain must be a valid number, not "x"'),
    ({"vary": {"epochs": [2, 0]}}, "no recipe at 'epochs=0': .*greater than or equal to 1, not 0"),
    ({"vary": {"gru": [[16, 16]]}}, "no recipe at 'gru=16 16': .*need 3 thresholds"),
    ({"vary": {"seed": [1, 1]}}, "'seed=1' is there twice"),
    ({"variants": {}}, "variants must be a list"),
    ({"variants": [{"label": "a"}]}, "variants(.set is missing| must be a list)"),
    ({"variants": [{"label": 3, "set": {}}]}, "variants must be a list .*; 3 is wrong"),
    ({"variants": [{"label": "a", "set": {}, "x": 1}]}, "variants must be a list"),
    ({"variants": [{"label": "a\n", "set": {}}]}, "variants must be a list"),
    ({"variants": [{"label": "", "set": {}}]}, "variants must be a list"),
    ({"variants": [{"label": "a", "set": {}}] * 2}, "label 'a' is there twice"),
    ({"variants": [{"label": "a", "set": {"sead": 1}}]}, "no recipe at 'a sead=1': .*no field 'sead'"),
    ({"variants": [{"label": "a", "set": {"seed": 1}}], "vary": {"seed": [1]}}, "'seed' is in 'vary' and in"),
    ({"theta": 1}, "theta must be a list of factors of 0 or more .*; 1 is wrong"),
    ({"theta": [-1]}, "theta must be .*; -1 is wrong"),
    ({"theta": ["x"]}, 'theta must be .*; "x" is wrong'),
    ({"theta": [[0.5, 1]]}, r"theta must be .*; \[0.5, 1\] is wrong"),
    ({"theta": [[1]]}, r"'theta' has \[1\], but a network with 1 layers has 2 signals"),
    ({"theta": []}, "theta must be a list"),
    ({"theta": [float("inf")]}, "theta must be .*; Infinity is wrong"),
    ({"margins": [True]}, "margins must be a list of leads of 0 or more, or null for the whole clip; true is wrong"),
    ({"margins": [2, 2.0]}, "margins has one of .* twice"),
    ({"speakers": "all"}, 'speakers must be "each" or a list of names; "all" is wrong'),
    ({"speakers": [""]}, "speakers must be"),
])
def test_a_mistake_names_its_field(base, changes, message):
    with pytest.raises(TidegateError, match=message) as error:
        make_plan(base | changes).points()
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_sweep(tmp_path):
    with pytest.raises(DataError, match=r"no sweep '.*none\.json'"):
        read_plan(tmp_path / "none.json")
    for text, message in (("{", "must be JSON"), ("[]", "JSON object"), ("{}", "sweep 'x': recipe is missing")):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(DataError, match=message):
            read_plan(tmp_path / "x.json")
