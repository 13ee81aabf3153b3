"""Templates: every one can be read, a value that is missing is an error, and HTML is escaped where Markdown is not."""

from dataclasses import replace

import pytest
from jinja2 import DictLoader, UndefinedError

from tidegate import zoo
from tidegate.spec.errors import TidegateError
from tidegate.train.publish import pages
from tidegate.train.publish.card import card


@pytest.fixture
def templates(monkeypatch):
    """Templates of the test's own, as a dictionary from name to text."""
    texts = {}
    monkeypatch.setattr(pages._ENVIRONMENT, "loader", DictLoader(texts))
    return texts


def test_every_template_can_be_read():
    names = pages._ENVIRONMENT.list_templates()
    assert {"card.md.jinja", "model.html.jinja", "sweep.html.jinja", "report.css"} <= set(names)
    for name in names:
        pages._ENVIRONMENT.get_template(name)


def test_only_html_is_escaped(templates):
    text = "{{ x | joined_lines }}{% include 'part' ~ name %}"
    templates.update({name: text for name in ("a.html.jinja", "a.md.jinja")})
    templates.update({f"part{name}": "{{ x }}" for name in (".html.jinja", ".md.jinja")})
    assert pages.render_template("a.html.jinja", x="<b>", name=".html.jinja") == 2 * "&lt;b&gt;"
    assert pages.render_template("a.md.jinja", x="<b>", name=".md.jinja") == 2 * "<b>"


def test_a_value_that_is_missing_is_an_error(templates):
    templates["a.md.jinja"] = "{{ x.y }}"
    for values in ({}, {"x": {}}):
        with pytest.raises(UndefinedError):
            pages.render_template("a.md.jinja", **values)


def test_numbers():
    assert pages.number(0.5, ".1%") == "50.0%" and pages.number(None, ".1%") == "-" == pages.seconds(None)
    assert pages.spread(0.984, 0.0031) == "98.40 ± 0.31 %" and pages.spread(0.984, None) == "98.40%"
    assert pages.spread(None, None) == "-" and pages.seconds(-0.081) == "-0.08 s"


def test_a_card_that_is_incomplete_is_told():
    model = zoo.load("digits")
    for lost in ("clips", "epoch"):
        rest = {name: value for name, value in model.card.items() if name != lost}
        with pytest.raises(TidegateError, match=f"card of the model 'mine' is incomplete .*'{lost}'"):
            card(replace(model, card=rest), "mine", 1)
    with pytest.raises(TidegateError, match="has no training card"):
        card(replace(model, card={}), "mine", 1)


def test_a_card_says_what_the_model_was_made_with():
    model = zoo.load("digits")
    assert "Made with" not in card(model, "digits", 1)          # it was trained before cards said so
    made = {"tidegate": "1.2", "torch": "3.4", "device": "CPU (x86_64)"}
    text = card(replace(model, card=model.card | {"made_with": made}), "digits", 1)
    assert "- Made with tidegate 1.2 and torch 3.4; device: CPU (x86_64).\n" in text
