"""The report as a document: what it says, and what hostile evidence cannot make of it."""

from __future__ import annotations

import base64
import copy
import hashlib
import itertools
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import IntegrityError, canonical_json
from wardline.evidence import text
from wardline.evidence.report import render_report, stylesheet

VECTORS = Path(__file__).parents[2] / "vectors"
OUTCOMES = ["pass", "fail", "inconclusive"]
ATTACK = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'{{ 7 * 7 }}</style></title>--><svg onload=alert(1)>"


def evidence(name: str = "pass") -> dict:
    return json.loads((VECTORS / f"evidence_{name}.json").read_bytes())


def page(value: dict) -> str:
    return render_report(value).decode()


class Document(HTMLParser):
    """Tags, and text by the tags around it."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self.open and data.strip():
            self.texts.append((self.open[-1], " ".join(data.split())))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(data for tag, data in self.texts if tag not in {"style", "title", "desc"})


# --- a closed page ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OUTCOMES)
def test_the_policy_of_the_page_allows_its_stylesheet_and_nothing_else(name):
    source = page(evidence(name))
    (style,) = re.findall(r"<style>(.*?)</style>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = [one["content"] for one in Document(source).of("meta") if "http-equiv" in one]
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert source.index("Content-Security-Policy") < source.index("<style>")
    assert style == stylesheet()


@pytest.mark.parametrize("name", OUTCOMES)
def test_the_page_has_no_scripts_no_inline_styles_and_loads_nothing(name):
    source = page(evidence(name))
    document = Document(source)
    assert document.open == []
    allowed = {"html", "head", "meta", "title", "style", "body", "a", "header", "footer", "nav", "main", "section"}
    allowed |= {"div", "span", "p", "h1", "h2", "h3", "ul", "ol", "li", "dl", "dt", "dd", "bdi", "b", "strong", "code"}
    allowed |= {"pre", "br", "time", "figure", "figcaption", "details", "summary", "table", "caption", "thead"}
    allowed |= {"tbody", "tr", "th", "td"}
    allowed |= {"svg", "desc", "defs", "pattern", "rect", "path", "circle", "line", "text"}
    assert {tag for tag, _ in document.tags} <= allowed
    for _, attributes in document.tags:
        assert not [key for key in attributes if key.startswith("on") or key in {"style", "src", "srcset", "action"}]
        assert attributes.get("href", "#").startswith("#")
    assert not re.search(r"(?i)(https?:)?//[a-z]", source)
    assert not re.search(r"(?i)@import|expression\(|url\((?!#)", stylesheet())


@pytest.mark.parametrize("name", OUTCOMES)
def test_the_same_evidence_gives_the_same_bytes(name):
    value = evidence(name)
    turned = json.loads(json.dumps(value, sort_keys=True), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert list(turned) != list(value)
    assert render_report(value) == render_report(turned) == render_report(json.loads(canonical_json(value)))


def test_evidence_is_not_changed_by_rendering():
    value = evidence()
    before = copy.deepcopy(value)
    render_report(value)
    assert value == before


# --- what it says -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "word"), [("pass", "Pass"), ("fail", "Fail"), ("inconclusive", "Inconclusive")])
def test_the_verdict_comes_first_in_a_word(name, word):
    document = Document(page(evidence(name)))
    assert [tag for tag, _ in document.tags].count("h1") == 1
    shown = [data for _, data in document.texts]
    heading = shown.index(word)
    assert heading < shown.index("What was promised, and what was measured")
    assert evidence(name)["verdict"]["summary"] in shown[heading:]
    (header,) = document.of("header")
    assert header["class"] == f"top {name}"


def test_sections_stand_in_the_order_of_the_questions_of_a_reader():
    source = page(evidence("fail"))
    places = [
        source.index(f'id="{name}"') for name in ("waivers-title", "promises", "rules", "limits", "data", "verify")
    ]
    assert places == sorted(places)
    assert source.index('id="verify"') < source.index('id="reproduce"')


def test_epsilon_is_explained_in_plain_words():
    words = Document(page(evidence())).words
    assert "will be right at most 95.3 % of the time" in words
    assert "ε ≤ 3" in words
    assert "ε ≥ 0.6" in words
    assert "the same attack found 5.2 (it had to exceed 3)" in words


def test_an_unreliable_measurement_never_looks_like_a_pass():
    value = evidence("inconclusive")
    source = page(value)
    start, end = source.index('id="promises"'), source.index("words of the specialist")
    row = source[start:end]
    assert 'class="badge pass"' not in row
    assert row.count('class="badge inconclusive"') == 2
    assert 'class="amount inconclusive"' in row
    assert 'class="tile inconclusive"' in source
    assert "Not shown either way." in row
    words = Document(source).words
    assert "This is not a pass." in words
    assert "too few rows kept apart to measure 1 % false alarms" in words


def test_a_measurement_without_control_does_not_count_for_a_claim():
    value = evidence("inconclusive")
    value["measurements"][-1]["control"] = None
    row = page(value).split('id="promises"')[1].split("words of the specialist")[0]
    assert 'class="badge pass"' not in row
    assert "No control was made, so finding nothing would prove nothing." in row


def test_a_claim_that_nobody_measured_is_inconclusive():
    value = evidence("inconclusive")
    value["measurements"] = [one for one in value["measurements"] if one["id"] != "audit.epsilon"]
    row = page(value).split('id="promises"')[1].split("words of the specialist")[0]
    assert "Nothing was measured about this promise." in row
    assert 'class="badge pass"' not in row


def test_a_breach_counts_even_where_the_control_failed():
    value = evidence("fail")
    value["measurements"][-1]["control"]["passed"] = False
    row = page(value).split('id="promises"')[1].split("words of the specialist")[0]
    assert 'class="badge fail"' in row
    assert "Contradicted: the promise is broken." in row


def test_waivers_are_shown_with_who_why_and_until():
    value = evidence()
    value["rules"][1] |= {
        "outcome": "fail",
        "waiver": {"who": "A. Person <a@example.org>", "why": "pilot only", "until": "2026-12-31"},
    }
    document = Document(page(value))
    assert "Pass, with a waiver" in [data for _, data in document.texts]
    assert "every rule of the policy held." not in document.words
    waivers = [one for one in document.of("p") if one.get("class") == "waiver"]
    assert len(waivers) == 2  # above everything else, and at its rule
    assert "Waived by A. Person <a@example.org> until 2026-12-31 , because: pilot only" in document.words
    assert "color: var(--fail)" in re.search(r"\.waiver \{(.*?)\}", stylesheet())[1]


def test_an_expired_waiver_is_called_expired():
    value = evidence("fail")
    value["rules"][1]["waiver"]["until"] = "2026-11-20"
    assert "Waiver expired, it does not count:" in Document(page(value)).words
    value["rules"][1]["waiver"]["until"] = "2026-11-21"
    assert "Waiver expired" not in Document(page(value)).words


@pytest.mark.parametrize("name", OUTCOMES)
def test_the_limits_are_always_there(name):
    words = Document(page(evidence(name))).words
    assert "come from the data without noise and are not covered by the guarantee" in words
    assert "Treat the report as internal" in words
    assert "never entered the training" in words
    assert "columns are assumed to be public" in words
    assert "Reconstruction of rows" in words
    assert "wardline verify FOLDER --key KEY.pub" in words


def test_a_person_with_several_rows_is_warned_only_where_rows_are_protected():
    value = evidence()
    assert "People with several rows" in page(value)
    value["dataset"]["unit"] = {"column": "patient_id", "max_rows": 8}
    source = page(value)
    assert "People with several rows" not in source
    assert "whether a person is in the data" in source


def test_digests_versions_and_seeds_are_there():
    value = evidence()
    words = Document(page(value)).words
    for digest in (value["policy_sha256"], value["dataset"]["sha256"], *(one["sha256"] for one in value["stages"])):
        assert digest in words
    assert hashlib.sha256(canonical_json(value)).hexdigest() in words
    assert "2.13.0" in words
    assert "none, on purpose" in words


def test_structure_for_screen_readers():
    document = Document(page(evidence("fail")))
    assert document.of("html") == [{"lang": "en-GB", "dir": "ltr"}]
    for landmark in ("header", "nav", "main", "footer"):
        assert len(document.of(landmark)) == 1
    ids = [attributes["id"] for _, attributes in document.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in document.tags:
        for key in ("aria-labelledby", "aria-describedby"):
            assert set((attributes.get(key) or "").split()) <= set(ids)
        if (attributes.get("href") or "").startswith("#"):
            assert attributes["href"][1:] in ids
    assert all(one.get("scope") in {"col", "row"} for one in document.of("th"))
    levels = [int(tag[1]) for tag, _ in document.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    first = next(attributes for tag, attributes in document.tags if tag == "a")
    assert first["class"] == "skip"


# --- hostile evidence ---------------------------------------------------------------------------------

FREE = {"project", "purpose", "summary", "source", "title", "message", "code", "who", "why", "subject", "reason"}
FREE |= {"statement", "adversary", "reference", "method", "description", "python", "platform", "sha256", "refused"}
FREE |= {"classes", "assumptions", "packages", "policy_sha256", "stages", "steps", "detail", "accountant"}


def poison(value: object, payload: str, key: str = "") -> object:
    """Replace each text that the evidence may choose freely."""
    if isinstance(value, dict):
        loose = key in {"packages", "detail", "parameters"}
        return {
            (payload if loose else name): poison(item, payload, key if loose else name) for name, item in value.items()
        }
    if isinstance(value, list):
        return [poison(item, payload, key) for item in value]
    return payload if isinstance(value, str) and value and key in FREE else value


@pytest.mark.parametrize("name", OUTCOMES)
def test_markup_in_values_stays_text(name):
    harmless = Document(page(evidence(name)))
    value = poison(evidence(name), ATTACK)
    assert json.dumps(value).count("onerror") > 40
    source = page(value)
    document = Document(source)
    assert {tag for tag, _ in document.tags} <= {tag for tag, _ in harmless.tags}
    assert not [key for _, attributes in document.tags for key in attributes if key.startswith("on")]
    assert "<script" not in source
    assert "{{ 7 * 7 }}" in document.words  # shown, not computed
    assert "<script>alert(1)</script>" in document.words
    assert [one["content"] for one in document.of("meta") if "http-equiv" in one] == [
        one["content"] for one in harmless.of("meta") if "http-equiv" in one
    ]


def test_attacks_on_the_unprotected_twin_succeed():
    """Without escaping, the same values would become elements: the test above can fail."""
    assert "script" in {tag for tag, _ in Document(f"<p><b>{ATTACK.split('<img')[0]}</b></p>").tags}


def test_text_that_deceives_is_written_out():
    value = evidence()
    value["project"] = "report\u202efdp.exe\u2066\u200b\x00\x1b[31m\u2028"
    source = page(value)
    for character in "\u202e\u2066\u200b\x00\x1b\u2028":
        assert character not in source
        assert f"[U+{ord(character):04X}]" in source


def test_towers_of_marks_are_cut():
    value = evidence()
    value["project"] = "Z" + "\u0301" * 500 + "o"
    assert "\u0301" * 5 not in page(value)
    assert "Z\u0301\u0301\u0301\u0301o" in page(value)


def test_endless_text_is_cut_and_counted():
    value = evidence()
    value["purpose"] = "w" * 10_000
    value["project"] = "p" * 10_000
    source = page(value)
    assert "w" * 1501 not in source
    assert "8,500 more characters in the evidence file" in source
    assert "p" * 81 not in source.split('id="data"')[0]


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=200))
def test_any_text_gives_a_well_formed_page(payload):
    assert Document(page(poison(evidence("fail"), payload or "x"))).open == []


def test_text_that_utf8_cannot_hold_gives_no_report():
    value = evidence()
    value["project"] = "\ud800"
    with pytest.raises(IntegrityError):
        render_report(value)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("verdict", "outcome"), "passed"),
        (("verdict", "outcome"), 'pass" onclick="x'),
        (("rules", 0, "outcome"), "PASS"),
        (("schema",), "wardline.evidence/2"),
        (("rules",), []),
        (("created",), "yesterday"),
        (("dataset", "rows"), "many"),
        (("dataset", "rows"), True),
        (("claims", 0, "value"), "3"),
        (("measurements", 0, "trials"), "<b>"),
        (("measurements", 0, "interval", "low"), 2.0),
        (("measurements", 0, "control"), {}),
        (("measurements", 2, "details", "roc", "tpr"), [0.5]),
        (("measurements", 2, "details", "roc"), "M0 0"),
        (("claims", 0, "parameters", "delta"), "small"),
    ],
)
def test_evidence_that_is_malformed_gives_no_report(path, wrong):
    value = evidence()
    *way, last = path
    place = value
    for step in way:
        place = place[step]
    place[last] = wrong
    with pytest.raises(IntegrityError):
        render_report(value)


@pytest.mark.parametrize("part", sorted(evidence()))
def test_evidence_that_lacks_a_part_gives_no_report(part):
    value = evidence()
    del value[part]
    with pytest.raises(IntegrityError) as caught:
        render_report(value)
    assert caught.value.where == f"/{part}"


def test_a_verdict_better_than_its_rules_gives_no_report():
    value = evidence()
    value["rules"][0]["outcome"] = "fail"
    with pytest.raises(IntegrityError):
        render_report(value)


def test_numbers_that_are_not_finite_give_no_report():
    value = evidence()
    value["seconds"] = math.nan
    with pytest.raises(ValueError, match="finite"):
        render_report(value)


@pytest.mark.parametrize("extreme", [1e300, 5e-324, 1e-9, 0.0])
def test_extreme_numbers_are_shown_or_refused(extreme):
    value = evidence("inconclusive")
    value["claims"][0]["value"] = extreme
    value["ledger"] |= {"epsilon": extreme, "delta": extreme}
    value["seconds"] = extreme
    try:
        source = page(value)
    except IntegrityError:
        return
    assert not re.search(r"\b(inf|nan)\b", source.split("</style>")[1])


# --- wording ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epsilon", "delta", "upper", "expected"),
    [
        (0.0, 0.0, True, "50.0\u00a0%"),
        (3.0, 0.0, True, "95.3\u00a0%"),  # e^3 / (1 + e^3) = 0.95257
        (3.0, 0.0, False, "95.2\u00a0%"),
        (1.0, 1e-5, True, "73.2\u00a0%"),  # 0.73106
        (3.0, 0.5, True, "97.7\u00a0%"),  # (e^3 + 0.5) / (1 + e^3) = 0.97628
        (10.0, 0.0, True, "99.996\u00a0%"),  # never rounded to certainty while it is not
        (50.0, 0.0, True, "100\u00a0%"),
        (1e308, 0.0, True, "100\u00a0%"),
    ],
)
def test_sureness(epsilon, delta, upper, expected):
    assert text.sureness(epsilon, delta, upper=upper) == expected


@given(st.floats(min_value=0, max_value=12), st.floats(min_value=0, max_value=0.1))
def test_sureness_is_never_understated(epsilon, delta):
    exact = 100 * (math.exp(epsilon) + delta) / (1 + math.exp(epsilon))
    assert float(text.sureness(epsilon, delta).split("\u00a0")[0]) >= exact - 1e-6
    assert float(text.sureness(epsilon, delta, upper=False).split("\u00a0")[0]) <= exact + 1e-6


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (32561, "32,561"),
        (-1.5, "\u22121.5"),
        (0.912, "0.912"),
        (1230.4, "1,230"),
        (1e-5, "10\u207b\u2075"),
        (2.5e-5, "2.5\u00a0×\u00a010\u207b\u2075"),
        (1e20, "10\u00b2\u2070"),
    ],
)
def test_numbers(value, expected):
    assert text.number(value) == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.8461, "84.6\u00a0%"), (0.01, "1\u00a0%"), (0.00123, "0.12\u00a0%"), (0.0, "0\u00a0%"), (1.0, "100\u00a0%")],
)
def test_percentages(share, expected):
    assert text.percent(share) == expected


def test_the_date_does_not_depend_on_the_place():
    assert text.moment("2026-11-21T04:00:00Z") == "21 November 2026, 04:00 UTC"
    assert text.moment("2026-11-21T04:00:00+05:00") == "20 November 2026, 23:00 UTC"


# --- contrast -----------------------------------------------------------------------------------------

TEXT_PAIRS = [
    *((one, ground) for one in ("ink", "soft", "link") for ground in ("page", "card")),
    *((one, ground) for one in ("ink", "soft") for ground in ("fail-wash", "doubt-wash")),
    ("ink", "wash"),
    ("pass", "pass-wash"),
    ("fail", "fail-wash"),
    ("fail", "card"),
    ("fail", "page"),
    ("card", "fail"),
    ("doubt", "doubt-wash"),
    ("doubt", "page"),
    ("doubt", "card"),
    ("top-ink", "top-pass"),
    ("top-ink", "top-fail"),
    ("top-doubt-ink", "top-doubt"),
]
SHAPE_PAIRS = [(one, "card") for one in ("released", "unprotected", "over", "chance", "frame", "doubt", "ink")]


def colours(mode: str) -> dict[str, str]:
    """The colours of a mode: those of light, overridden by the mode's own."""
    style = stylesheet()
    blocks = {
        "light": re.search(r":root \{(.*?)\}", style, re.DOTALL),
        "dark": re.search(r"prefers-color-scheme: dark\) \{\s*:root \{(.*?)\}", style, re.DOTALL),
        "print": re.search(r"@media print \{\s*:root \{(.*?)\}", style, re.DOTALL),
    }
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks["light"][1]))
    return found | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[mode][1]))


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_of_known_pairs():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # the well-known grey that just fails


@pytest.mark.parametrize("mode", ["light", "dark", "print"])
@pytest.mark.parametrize(("fore", "back"), TEXT_PAIRS)
def test_text_has_contrast(mode, fore, back):
    palette = colours(mode)
    assert contrast(palette[fore], palette[back]) >= 4.5


@pytest.mark.parametrize("mode", ["light", "dark", "print"])
@pytest.mark.parametrize(("fore", "back"), SHAPE_PAIRS)
def test_shapes_have_contrast(mode, fore, back):
    palette = colours(mode)
    assert contrast(palette[fore], palette[back]) >= 3


def test_every_text_colour_of_the_stylesheet_is_held_to_account():
    used = set(re.findall(r"(?<![\w-])color: var\(--([\w-]+)\)", stylesheet()))
    used |= set(re.findall(r"\.chart (?:text|\.tick|\.minor)[^{]*\{ fill: var\(--([\w-]+)\)", stylesheet()))
    assert used
    assert used <= {fore for fore, _ in TEXT_PAIRS}
    grounds = set(re.findall(r"background(?:-color)?: var\(--([\w-]+)\)", stylesheet())) - {"line"}
    assert grounds <= {back for _, back in TEXT_PAIRS}


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_series_differ_for_colour_blind_readers_in_lightness_or_blue(mode):
    """Deuteranopes keep the blue-yellow axis: one series has far more blue than red, the other far less."""
    palette = colours(mode)
    released, unprotected = palette["released"], palette["unprotected"]
    assert int(released[5:7], 16) - int(released[1:3], 16) > 60
    assert int(unprotected[1:3], 16) - int(unprotected[5:7], 16) > 60
