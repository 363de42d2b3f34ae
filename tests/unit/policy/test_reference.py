"""The reference cannot drift from the schema, and the JSON Schema says what the models say."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from wardline.policy import RECIPES, Policy, json_schema, parse_policy, reference_markdown
from wardline.policy.catalogue import PLACES, key_of

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def validator():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def values(text: str) -> object:
    """The file by another reader: what an editor that knows the JSON Schema would see."""
    yaml = YAML(typ="safe", pure=True)
    return json.loads(json.dumps(yaml.load(text), default=str))


def test_the_page_is_the_generated_one():
    page = (ROOT / "docs" / "reference" / "policy.md").read_text(encoding="utf-8")
    assert page == reference_markdown(), "regenerate docs/reference/policy.md with wardline.policy.reference_markdown()"


def test_the_page_names_every_key():
    page = reference_markdown()
    for model in PLACES.values():
        for name, field in model.model_fields.items():
            assert f"| `{key_of(name, field)}` |" in page


@pytest.mark.parametrize("model", PLACES.values(), ids=lambda model: model.__name__)
def test_every_field_is_described_with_an_example_that_is_valid(model):
    assert model.__doc__
    for name, field in model.model_fields.items():
        assert field.description, f"{model.__name__}.{name}"
        assert not field.description.endswith("."), f"{model.__name__}.{name}"
        assert field.examples, f"{model.__name__}.{name}"


@pytest.mark.parametrize("name", RECIPES)
def test_the_json_schema_takes_the_recipes(validator, name):
    validator.validate(values(RECIPES[name]))
    validator.validate(parse_policy(RECIPES[name].encode()).policy.to_json())


def test_the_json_schema_takes_the_good_policy(validator, good):
    validator.validate(values(good))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("epsilon: 3", "epsilon: 0"),
        ("epsilon: 3", "epsilon: '3'"),
        ("epsilon: 3", "epsilon: null"),
        ("epsilon: 3", "epsilon: true"),
        ("delta: 1e-5", "delta: 1"),
        ("holdout: 0.25", "holdot: 0.25"),
        ("unit: row", "unit: rows"),
        ("hidden: [64]", "hidden: []"),
        ("kind: mlp", "kind: mpl"),
        ("{kind: mlp, hidden: [64]}", "{hidden: [64]}"),
        ("rule: claims-hold", "rule: claim-holds"),
        ("schema: 1", "schema: 2"),
        ("project: adult-income", "project: a b"),
    ],
)
def test_the_json_schema_refuses_what_the_loader_refuses(validator, good, refused, old, new):
    refused(old, new)
    assert not validator.is_valid(values(good.replace(old, new)))


def test_the_json_schema_is_fresh_each_time():
    json_schema()["properties"].clear()
    assert set(json_schema()["properties"]) == {key_of(name, field) for name, field in Policy.model_fields.items()}


def test_no_null_is_left_in_the_json_schema():
    assert '"null"' not in json.dumps(json_schema())
    assert "null" not in json.dumps(json_schema()["$defs"])
