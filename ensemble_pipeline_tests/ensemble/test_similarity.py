import unicodedata
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ensemble_pipeline.domain import Market, MarketStatus
from ensemble_pipeline.ensemble.similarity import similarity, twin_key
from ensemble_pipeline.replay.archive import read_archive
from ensemble_pipeline_tests.archives.test_played import folder_of
from ensemble_pipeline_tests.store.rows import NOW, market_of

ALIKE = 0.9
RULES = (
    "Resolves YES if official reports published before noon say so, and NO if they say otherwise or are not published."
)


def market(question: str, rules: str = RULES, **changes: Any) -> Market:
    """A market at Kalshi."""
    asked = market_of("FED-1", event="FED", category="Economics")
    return replace(asked, question=question, rules=rules, **changes)


def elsewhere(question: str, rules: str = RULES, **changes: Any) -> Market:
    """A market at another venue: another event and series, the same category and close."""
    asked = market_of("OTHER-1", event="OTHER", category="Economics")
    return replace(asked, venue="polymarket", question=question, rules=rules, **changes)


def likeness(question: str, other: str, rules: str = RULES, other_rules: str | None = None) -> float:
    return similarity(market(question, rules), elsewhere(other, rules if other_rules is None else other_rules))


OTHER_SUBJECT = [
    ("Will the Fed cut rates in March 2026?", "Will Democrats win the Senate race in Ohio in 2026?"),
    ("Will Democrats win the House in 2026?", "Will Democrats win the Senate in 2026?"),
    ("Will Ohio vote for the amendment in 2026?", "Will Iowa vote for the amendment in 2026?"),
    ("Will Trump nominate Warsh for the Fed?", "Will Trump nominate Hassett for the Fed?"),
    ("Will the president resign in 2026?", "Will the vice president resign in 2026?"),
    ("Will Norway win a gold medal on February 8?", "Will Norway win a medal on February 8?"),
    ("Will Norway win the gold medal in curling?", "Will Norway win the silver medal in curling?"),
    ("Will France win the men's World Cup?", "Will France win the women's World Cup?"),
    ("Will Smith win the primary in Texas?", "Will Smith win the general in Texas?"),
    ("Will Smith win the first round in Texas?", "Will Smith win the second round in Texas?"),
    ("Will Smith reach the final of the Open?", "Will Smith reach the semi-final of the Open?"),
    ("Will GDP grow in the first quarter of 2026?", "Will GDP grow in the last quarter of 2026?"),
    ("Will core CPI rise in March 2026?", "Will CPI rise in March 2026?"),
    ("Will the Dow close up in March 2026?", "Will the Nasdaq close up in March 2026?"),
    ("Will Paris be warmer than Rome on March 3?", "Will Paris be colder than Rome on March 3?"),
    ("Will North Korea test a missile in 2026?", "Will South Korea test a missile in 2026?"),
    ("Will West Virginia vote for the bill?", "Will Virginia vote for the bill?"),
    ("Will Trump's tariffs be struck down?", "Will Trump be struck down?"),
    ("Will Apple acquire a studio in 2026?", "Will Apple acquire a bank in 2026?"),
    ("Will the nominee be confirmed by the Senate?", "Will a nominee be confirmed by the Senate committee?"),
    ("Will C++ top the TIOBE index on March 3?", "Will C top the TIOBE index on March 3?"),
    ("Will GPT-5 be released on March 3?", "Will GPT-5-mini be released on March 3?"),
]

OPPOSITE = [
    ("Will the Lakers win on March 3?", "Will the Lakers lose on March 3?"),
    ("Will the high be above 60° on March 3?", "Will the high be below 60° on March 3?"),
    ("Will Musk step down before June 2026?", "Will Musk step down after June 2026?"),
    ("Will the bill get more than 60 votes?", "Will the bill get less than 60 votes?"),
    ("Will the bill get at least 60 votes?", "Will the bill get at most 60 votes?"),
    ("Will the minimum be under 50° on March 3?", "Will the maximum be under 50° on March 3?"),
    ("Will the Fed raise rates in March 2026?", "Will the Fed lower rates in March 2026?"),
    ("Will the bill pass in March 2026?", "Will the bill not pass in March 2026?"),
    ("Will the bill pass in March 2026?", "Will the bill fail to pass in March 2026?"),
    ("The bill will pass in March 2026", "The bill won't pass in March 2026"),
    ("The bill will pass in March 2026", "The bill won’t pass in March 2026"),
    ("The Fed can cut in March 2026", "The Fed can't cut in March 2026"),
    ("The Fed is going to cut in March 2026", "The Fed isn't going to cut in March 2026"),
    ("Will any Democrat vote for the bill?", "Will no Democrat vote for the bill?"),
    ("Will all of the justices agree in June?", "Will none of the justices agree in June?"),
    ("Will the deal be legal in June 2026?", "Will the deal be illegal in June 2026?"),
    ("Will the talks start with Iran in June?", "Will the talks start without Iran in June?"),
    ("Will unemployment rise in March 2026?", "Will employment rise in March 2026?"),
    ("Will oil be up in March 2026?", "Will oil be down in March 2026?"),
    ("Will Real Madrid beat Barcelona on March 3?", "Will Barcelona beat Real Madrid on March 3?"),
    ("Will Smith get more votes than Jones?", "Will Jones get more votes than Smith?"),
    ("Will gold go from 5000 to 4000 in March?", "Will gold go from 4000 to 5000 in March?"),
    ("Will Russia take land from Ukraine in 2026?", "Will Ukraine take land from Russia in 2026?"),
    ("Will the high be > 60 on March 3?", "Will the high be < 60 on March 3?"),
    ("Will the high be ≥ 60 on March 3?", "Will the high be ≤ 60 on March 3?"),
    ("Will the high be >= 60 on March 3?", "Will the high be > 60 on March 3?"),
    ("Will the high be = 60 on March 3?", "Will the high be > 60 on March 3?"),
    ("Will the low be +5 on March 3?", "Will the low be -5 on March 3?"),
    ("Will the low be 5 on March 3?", "Will the low be -5 on March 3?"),
    ("Will the low be 5 on March 3?", "Will the low be −5 on March 3?"),
    ("Will the low be 5 on March 3?", "Will the low be －5 on March 3?"),
    ("Will the change be +0.5% in March?", "Will the change be -0.5% in March?"),
]

OTHER_NUMBER = [
    ("Will the high be above 60° on March 3?", "Will the high be above 61° on March 3?"),
    ("Will Bitcoin close above 100,000 on March 3?", "Will Bitcoin close above 101,000 on March 3?"),
    ("Will Bitcoin close above 100,000 on March 3?", "Will Bitcoin close above 10,000 on March 3?"),
    ("Will Bitcoin close above 100,000 on March 3?", "Will Bitcoin close above 100 000 on March 3?"),
    ("Will the rate be 3.5% in March?", "Will the rate be 3.25% in March?"),
    ("Will the rate be 3.5% in March?", "Will the rate be 35% in March?"),
    ("Will the rate be 3.5% in March?", "Will the rate be 3-5% in March?"),
    ("Will the high be 60-65 on March 3?", "Will the high be 65-70 on March 3?"),
    ("Will the high be 60-65 on March 3?", "Will the high be 60 or 65 on March 3?"),
    ("Will the high be 60-65 on March 3?", "Will the high be 6065 on March 3?"),
    ("Will the Fed cut by 25 bps in March?", "Will the Fed cut by 50 bps in March?"),
    ("Will the Fed cut 2 times in 2026?", "Will the Fed cut 3 times in 2026?"),
    ("Will the Fed cut two times in 2026?", "Will the Fed cut three times in 2026?"),
    ("Will oil close above $5 on March 3?", "Will oil close above 5% on March 3?"),
    ("Will oil gain $5 on March 3?", "Will oil gain €5 on March 3?"),
    ("Will oil gain $5 on March 3?", "Will oil gain 5 on March 3?"),
    ("Will the high be 20°C on March 3?", "Will the high be 20°F on March 3?"),
    ("Will the deal exceed $5 million?", "Will the deal exceed $5 billion?"),
    ("Will the deal exceed $5M?", "Will the deal exceed $5B?"),
    ("Will 18+ states sue in 2026?", "Will 18 states sue in 2026?"),
    ("Will GDP grow in Q1 2026?", "Will GDP grow in Q2 2026?"),
    ("Will Windows 11 lose share in March?", "Will Windows 12 lose share in March?"),
    ("Will the 1st Circuit uphold the ban?", "Will the 2nd Circuit uphold the ban?"),
    ("Will the 10-year yield fall in March?", "Will the 30-year yield fall in March?"),
]

OTHER_TIME = [
    ("Will it rain in Boston on March 3?", "Will it rain in Boston on March 4?"),
    ("Will it rain in Boston on March 3?", "Will it rain in Boston on May 3?"),
    ("Will it rain in Boston on Mar 3?", "Will it rain in Boston on May 3?"),
    ("Will it rain in Boston in June?", "Will it rain in Boston in July?"),
    ("Will it rain in Boston on 3/4?", "Will it rain in Boston on 4/3?"),
    ("Will the Fed cut by June 2026?", "Will the Fed cut by June 2027?"),
    ("Will the Fed cut by June 2026?", "Will the Fed cut in June 2026?"),
    ("Will the Fed cut by June?", "Will the Fed cut by June 2026?"),
    ("Will it rain in Boston at 10 am?", "Will it rain in Boston at 11 am?"),
    ("Will it rain in Boston at 10 am?", "Will it rain in Boston at 10 pm?"),
    ("Will it rain in Boston by 10:30?", "Will it rain in Boston by 10:45?"),
    ("Will it rain at 10 am EST?", "Will it rain at 10 am PST?"),
    ("Will it rain on Monday?", "Will it rain on Tuesday?"),
    ("Will it rain today?", "Will it rain tomorrow?"),
    ("Will the Fed cut this year?", "Will the Fed cut next year?"),
    ("Will the Fed cut since June?", "Will the Fed cut until June?"),
]

DIFFERENT = OTHER_SUBJECT + OPPOSITE + OTHER_NUMBER + OTHER_TIME


@pytest.mark.parametrize(("question", "other"), DIFFERENT)
def test_questions_that_differ_in_meaning_are_not_alike(question: str, other: str) -> None:
    assert likeness(question, other) == 0
    assert likeness(other, question) == 0


@pytest.mark.parametrize(("question", "other"), DIFFERENT)
def test_what_differs_in_the_rules_alone_is_not_alike(question: str, other: str) -> None:
    rules, other_rules = (f"{RULES} The statement is: {it}" for it in (question, other))
    assert likeness("Will it happen?", "Will it happen?", rules, other_rules) == 0


@pytest.mark.parametrize("question", sorted({text for pair in DIFFERENT for text in pair}))
def test_each_of_these_questions_is_like_itself_in_another_series(question: str) -> None:
    assert likeness(question, question) == 1


BEFORE_JUNE = "before the end of June 2026?"


@pytest.mark.parametrize(
    ("question", "other"),
    [
        ("Will CPI rise by more than .5% in March?", "Will CPI rise by more than 5% in March?"),
        ("Will the Fed cut by .25 in March?", "Will the Fed cut by 25 in March?"),
        ("Will the low be below –5° on March 3?", "Will the low be below 5° on March 3?"),
        ("Will the low be below ‑5° on March 3?", "Will the low be below 5° on March 3?"),
        ("Will the low be below —5° on March 3?", "Will the low be below 5° on March 3?"),
        ("Will earnings be above (0.50) in March?", "Will earnings be above 0.50 in March?"),
        ("Will snow exceed 6' on March 3?", 'Will snow exceed 6" on March 3?'),
        ("Will snow exceed 6′ on March 3?", "Will snow exceed 6″ on March 3?"),
        ("Will the stock close above 50¢?", "Will the stock close above 50?"),
        ("Will the price exceed ₹500 on March 3?", "Will the price exceed ₩500 on March 3?"),
        ("Will C# top the TIOBE index on March 3?", "Will C top the TIOBE index on March 3?"),
        ("Will the index be ⩾ 60 on March 3?", "Will the index be ⩽ 60 on March 3?"),
        ("Will the index be ≧ 60 on March 3?", "Will the index be ≦ 60 on March 3?"),
        ("Will the count != 60 on March 3?", "Will the count = 60 on March 3?"),
        ("Will the Nasdaq end ▲1% on March 3?", "Will the Nasdaq end ▼1% on March 3?"),
        ("Will oil move by ±5% on March 3?", "Will oil move by 5% on March 3?"),
        ("Will 🇺🇸 beat 🇨🇦 on March 3?", "Will 🇨🇦 beat 🇺🇸 on March 3?"),
        ("क्या कि जीतेगा", "क्या की जीतेगा"),
        ("Will it be announced before 11:30?", "Will it be announced before 11/30?"),
        ("Will the rate be 2½% in March?", "Will the rate be 21/2% in March?"),
        ("Will output exceed 10⁶ in March?", "Will output exceed 106 in March?"),
        (f"Will BHP earn over A$5 billion {BEFORE_JUNE}", f"Will BHP earn over $5 billion {BEFORE_JUNE}"),
        (f"Will hepatitis A cases rise {BEFORE_JUNE}", f"Will hepatitis cases rise {BEFORE_JUNE}"),
        (f"Will Moody's rate the bond A {BEFORE_JUNE}", f"Will Moody's rate the bond {BEFORE_JUNE}"),
        (f"Will a few senators switch {BEFORE_JUNE}", f"Will few senators switch {BEFORE_JUNE}"),
        (f"Will Polymarket be fined {BEFORE_JUNE}", f"Will Kalshi be fined {BEFORE_JUNE}"),
        (f"Will the US housing market fall {BEFORE_JUNE}", f"Will US housing fall {BEFORE_JUNE}"),
        (f"Will UAW strike be resolved {BEFORE_JUNE}", f"Will UAW strike {BEFORE_JUNE}"),
        (f"Will the UN pass a resolution on it {BEFORE_JUNE}", f"Will the UN pass on it {BEFORE_JUNE}"),
        (f"Will Israel be hit {BEFORE_JUNE}", f"Will Israel hit {BEFORE_JUNE}"),
        (f"Will Ukraine be cut off {BEFORE_JUNE}", f"Will Ukraine cut off {BEFORE_JUNE}"),
        (f"Will Will Smith win an award {BEFORE_JUNE}", f"Will Smith win an award {BEFORE_JUNE}"),
        (f"Will Congress pass on the bill {BEFORE_JUNE}", f"Will Congress pass the bill {BEFORE_JUNE}"),
        (f"Will Jones be voted in {BEFORE_JUNE}", f"Will Jones be voted on {BEFORE_JUNE}"),
    ],
)  # fmt: skip
def test_questions_that_differ_in_little_that_carries_meaning_are_not_alike(question: str, other: str) -> None:
    assert likeness(question, other) == 0


def test_rules_about_another_venue_are_not_alike() -> None:
    rules = "If Polymarket lists the token before noon of the third of March, YES; in every other case, NO."
    assert likeness("Will it be listed?", "Will it be listed?", rules, rules.replace("Polymarket", "Kalshi")) == 0


@pytest.mark.parametrize(
    ("rules", "other"),
    [
        ("Resolves YES if the rate is above 3.5%, else NO.", "Resolves NO if the rate is above 3.5%, else YES."),
        ("Resolves YES if the rate is above 3.5%.", "Resolves NO if the rate is above 3.5%."),
        ("Resolves YES if the rate is above 3.5%.", "Resolves YES if the rate is above 3.25%."),
        ("Resolves YES if the rate is above 3.5%.", "Resolves YES if the rate is not above 3.5%."),
        ("Resolves YES if the rate is above 3.5%.", "Resolves YES unless the rate is above 3.5%."),
        ("Resolves YES if the rate is above 3.5% on March 3.", "Resolves YES if the rate is above 3.5% on March 4."),
        ("Resolves YES if the Fed or the ECB cuts.", "Resolves YES if the Fed and the ECB cut."),
        ("Resolves YES if the Fed reports it.", "Resolves YES if the press reports it."),
        ("Resolves YES if the Fed cuts.", "Resolves YES if the Fed cuts. Ties resolve NO."),
        ("Resolves YES if the Fed cuts.", ""),
    ],
)
def test_same_question_under_rules_that_differ_in_meaning_is_not_alike(rules: str, other: str) -> None:
    assert likeness("Will the rate be cut?", "Will the rate be cut?", rules, other) == 0


SAID = "Will the Fed cut rates by 25 bps before March 2026?"


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": "kalshi:FED"},
        {"series": "FED"},
        {"category": "Politics"},
        {"closes_at": NOW + timedelta(days=10, hours=2)},
        {"closes_at": NOW + timedelta(days=10, hours=-2)},
        {"closes_at": NOW + timedelta(days=10, hours=1, microseconds=1)},
        {"closes_at": NOW + timedelta(days=375)},
    ],
)
def test_same_words_of_one_event_or_series_another_category_or_close_are_not_alike(changes: dict[str, Any]) -> None:
    assert similarity(market(SAID), elsewhere(SAID)) == 1
    assert similarity(market(SAID), elsewhere(SAID, **changes)) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"closes_at": NOW + timedelta(days=10, hours=1)},
        {"closes_at": NOW + timedelta(days=10, hours=-1)},
        {"status": MarketStatus.PAUSED},
        {"opened_at": NOW - timedelta(days=400)},
    ],
)
def test_same_words_that_close_within_the_hour_are_alike_whatever_their_state(changes: dict[str, Any]) -> None:
    assert similarity(market(SAID), elsewhere(SAID, **changes)) == 1


def test_question_that_moved_into_the_rules_is_not_alike() -> None:
    assert likeness("Will the Fed cut rates?", "Will the Fed cut", "in March?", "rates in March?") == 0


LONG = (
    "This market resolves to YES if the Federal Open Market Committee lowers the upper bound of the target range for "
    "the federal funds rate by 25 basis points or more at any meeting that ends before December 31, 2026, according to "
    "the statement published by the Federal Reserve. Otherwise it resolves to NO."
)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Will the Fed cut RATES in March 2026?", "Will the fed cut rates in march 2026?"),
        ("Will the Fed cut rates in March 2026?", "Will the Fed cut rates in March 2026"),
        ("Will the Fed, in March 2026, cut rates?", "Will the Fed in March 2026 cut rates?"),
        ("Will it rain in Boston on Dec. 3?", "Will it rain in Boston on December 3?"),
        ("Will it rain in Boston on Sept 3?", "Will it rain in Boston on Sep. 3?"),
        ("Will Bitcoin close above 100,000?", "Will Bitcoin close above 100000?"),
        ("Will Bitcoin close above 1,234,567.5?", "Will Bitcoin close above 1234567.5?"),
        ("Will the Fed's chair resign?", "Will the Fed’s chair resign?"),
        ("Will the rate be 5 percent in March?", "Will the rate be 5% in March?"),
        ("Will the  rate\tbe 5% in\nMarch?", "Will the rate be 5% in March?"),
        ("Will Beyoncé win?", unicodedata.normalize("NFD", "Will Beyoncé win?")),
        (
            "Will the Federal Reserve announce a cut of the federal funds rate before December 31, 2026?",
            "Will Federal Reserve announce a cut of the federal funds rate before December 31, 2026?",
        ),
    ],
)
def test_same_meaning_written_otherwise_is_alike(text: str, other: str) -> None:
    assert likeness(text, other) >= ALIKE
    assert likeness(SAID, SAID, f"{LONG} {text}", f"{LONG} {other}") >= ALIKE


@pytest.mark.parametrize(
    "other",
    [
        LONG.replace("This market resolves", "This Polymarket market resolves"),
        LONG.replace("This market resolves", "The market resolves"),
        LONG.replace("This market resolves", "The contract resolves"),
        LONG.replace("This market resolves", "This contract will resolve"),
    ],
)
def test_rules_that_name_venue_and_resolution_otherwise_are_alike(other: str) -> None:
    assert ALIKE <= likeness(SAID, SAID, LONG, other) < 1


def test_short_texts_that_differ_in_empty_words_are_less_alike_than_long_ones() -> None:
    short = likeness("Will the Fed cut?", "Fed cut?")
    assert 0 < short < ALIKE
    # of question and rules the one that is less alike counts
    assert likeness("Will the Fed cut?", "Fed cut?", LONG) == short
    assert likeness(SAID, SAID, "The Fed cuts.", "Fed cuts.") == pytest.approx(4 / 5)


# what `similarity` may pass over; every other word of these questions carries meaning
EMPTY = frozenset({"a", "an", "the", "will", "be", "is", "are", "does", "do", "on", "in", "that", "this"})
REALISTIC = [
    text.split()
    for text in (
        "Will the Fed cut rates by more than 25 bps at the March 2026 meeting?",
        "Will the high temperature in New York be above 61° on March 3, 2026?",
        "Will Bitcoin close above $100,000 before December 31, 2026?",
        "Will Democrats win at least 51 seats of the Senate in the 2026 election?",
        "Will Real Madrid not beat Barcelona by 2 or more goals on April 12?",
        "Will core CPI rise less than 0.3% from February to March 2026?",
        "Will the vice president resign or be removed after June 1, 2026?",
        "Will no more than 60 countries sign the treaty without the United States?",
    )
]
MEANT = [(words, place) for words in REALISTIC for place, word in enumerate(words) if word.lower() not in EMPTY]
PLACES = st.sampled_from(MEANT)
COUNTED = st.sampled_from([(words, place) for words, place in MEANT if any(it.isdigit() for it in words[place])])
NUMBERS = st.integers(0, 10**9).map(str) | st.decimals(0, 1000, places=2).map(str) | st.integers(-99, -1).map(str)
MEANINGFUL = st.sampled_from(sorted({w for words in REALISTIC for w in words if w.lower() not in EMPTY})) | NUMBERS


def bare(word: str) -> str:
    return word.casefold().strip("?,.").replace(",", "")


@given(PLACES, MEANINGFUL, st.booleans())
def test_replacing_any_one_word_or_number_leaves_nothing_alike(
    found: tuple[list[str], int], word: str, is_in_rules: bool
) -> None:
    words, place = found
    assume(bare(word) != bare(words[place]))
    _assert_unlike(words, [*words[:place], word, *words[place + 1 :]], is_in_rules=is_in_rules)


@given(COUNTED, NUMBERS)
def test_replacing_any_number_by_another_leaves_nothing_alike(found: tuple[list[str], int], number: str) -> None:
    words, place = found
    assume(number != bare(words[place]))
    _assert_unlike(words, [*words[:place], number, *words[place + 1 :]], is_in_rules=False)


@given(PLACES, MEANINGFUL, st.booleans())
def test_inserting_any_one_word_or_number_leaves_nothing_alike(
    found: tuple[list[str], int], word: str, is_in_rules: bool
) -> None:
    words, place = found
    _assert_unlike(words, [*words[:place], word, *words[place:]], is_in_rules=is_in_rules)


@given(PLACES, st.booleans())
def test_deleting_any_one_word_or_number_leaves_nothing_alike(found: tuple[list[str], int], is_in_rules: bool) -> None:
    words, place = found
    _assert_unlike(words, [*words[:place], *words[place + 1 :]], is_in_rules=is_in_rules)


@given(st.sampled_from(REALISTIC), st.data())
def test_swapping_any_two_words_leaves_nothing_alike(words: list[str], data: st.DataObject) -> None:
    places = [place for place, word in enumerate(words) if word.lower() not in EMPTY]
    one, two = data.draw(st.lists(st.sampled_from(places), min_size=2, max_size=2, unique=True))
    assume(bare(words[one]) != bare(words[two]))
    swapped = list(words)
    swapped[one], swapped[two] = words[two], words[one]
    _assert_unlike(words, swapped, is_in_rules=False)


def _assert_unlike(words: list[str], others: list[str], *, is_in_rules: bool) -> None:
    text, other = " ".join(words), " ".join(others)
    if is_in_rules:
        assert likeness(SAID, SAID, text, other) == 0
    else:
        assert likeness(text, other) == 0


@given(st.sampled_from([words for words in REALISTIC if "the" in words]), st.data())
def test_leaving_out_an_article_leaves_the_key(words: list[str], data: st.DataObject) -> None:
    place = data.draw(st.sampled_from([place for place, word in enumerate(words) if word == "the"]))
    other = " ".join([*words[:place], *words[place + 1 :]])
    assert twin_key(market(" ".join(words))) == twin_key(market(other))
    assert 0 < likeness(" ".join(words), other) < 1


# everything there is, lone surrogates too, and often what makes trouble: controls, overrides, marks, signs, digits
TROUBLE = "\x00\x1f\x7f\u200b\u202e\u2066\ud800\udfff\ufeff\ufdfa\u0301\u0338İßǅ½²①٣-−+.,'’%$<>="
UNICODE = st.text(st.characters(min_codepoint=0, max_codepoint=0x10FFFF) | st.sampled_from(TROUBLE), max_size=60)


@given(UNICODE, UNICODE, UNICODE, UNICODE)
@example("\ud800", "\udfff", "\u202e", "")
@example("will the", "the will", "", "resolves")
def test_any_text_has_a_likeness_in_bounds_and_is_like_itself(
    question: str, rules: str, other: str, other_rules: str
) -> None:
    one, two = market(question, rules), elsewhere(other, other_rules)
    assert 0 <= similarity(one, two) <= 1
    assert similarity(one, one) == similarity(one, replace(two, question=question, rules=rules)) == 1
    assert (similarity(one, two) == 0) <= (question != other or rules != other_rules)
    if similarity(one, two) > 0:
        assert twin_key(one) == twin_key(two)


@given(UNICODE, UNICODE)
def test_key_of_any_text_is_a_sha_256_and_knows_the_category(question: str, category: str) -> None:
    assume(category != "Economics")
    key = twin_key(market(question))
    assert len(bytes.fromhex(key)) == 32
    assert key != twin_key(market(question, category=category))


VARIANTS = [*(" ".join(words) for words in REALISTIC), *(text for pair in DIFFERENT for text in pair)]
VARIANTS += [text.replace(" the ", " ") for text in VARIANTS]


@given(st.sampled_from(VARIANTS), st.sampled_from(VARIANTS))
@example("Will the Fed cut rates in March 2026?", "Will Fed cut rates in March 2026?")
def test_likeness_is_the_same_seen_from_either_market(question: str, other: str) -> None:
    one, two = market(question), elsewhere(other)
    assert similarity(one, two) == similarity(two, one)


@pytest.mark.parametrize(
    ("text", "other"),
    [("the in do an", "do in an the"), ("on rate the cut a the a june", "a be rate a on in cut be be a june")],
)
def test_likeness_is_the_same_seen_from_either_market_whatever_the_order_of_empty_words(text: str, other: str) -> None:
    assert likeness(text, other) == likeness(other, text)


def test_key_is_the_same_in_every_process() -> None:
    # printf 'fed\x1fcut\x1frates\x1fby\x1f25\x1fbps\x1fbefore\x1fmarch\x1f2026\x1f\x1fyes\x1fif\x1fso\x1f\x1fEconomics'
    # | sha256sum
    known = "5961d275f1d8495e78310c6f23d4048fd6233266d1122ce57e0b4708c7e92a25"
    assert twin_key(market(SAID, "Resolves YES if so.")) == known
    assert twin_key(elsewhere(SAID, "Resolves YES if so.")) == known


MEGABYTE = 2**20


@pytest.mark.parametrize("piece", ["yes ", "1,234 ", "9", "a'", "-", "\u202e", "\ud800", "\x00", "ﬁ½", "ẞ.5"])
def test_a_megabyte_of_anything_has_a_key(piece: str) -> None:
    text = piece * (MEGABYTE // len(piece))
    key = twin_key(market(text))
    assert key == twin_key(market(text))
    assert similarity(market(text), elsewhere(text + " Fed")) == 0


@pytest.mark.parametrize(
    ("text", "is_compared"),
    [
        ("yes " * 5_000, True),
        ("yes " * 5_000 + ".", False),
        (" ".join(f"{'the ' * (number % 100 == 0)}{number}" for number in range(3_000)), True),
        ("9" * 20_001, False),
        ("e" + "\u0300" * 8, True),
        # in whatever order they come, so that nobody has to put thousands of them in one
        ("a" + "\u0300\u0316" * 5_000, False),
        ("e" + "\u0300" * 9, False),
    ],
)
def test_text_too_long_for_anybody_to_read_has_no_twin(text: str, *, is_compared: bool) -> None:
    assert similarity(market(SAID, text), elsewhere(SAID, text)) == float(is_compared)
    assert similarity(market(text), elsewhere(text)) == float(is_compared)


ARCHIVES = ("forecastbench_markets", "forecastbench_llm_2025", "metaculus_q2_2025", "polymarket_live_2025")


def twins_of(archive: str) -> list[tuple[Market, Market]]:
    """All pairs of an archive's questions that share a key where rules and category are the same."""
    by_key: dict[str, list[Market]] = defaultdict(list)
    for row in read_archive(folder_of(archive)).questions:
        asked = market(row.question, "", market_id=row.question_id, closes_at=row.closes_at)
        asked = replace(asked, event_id=row.event_id or row.question_id, series=row.source)
        by_key[twin_key(asked)].append(asked)
    return [pair for found in by_key.values() for pair in combinations(found, 2)]


@pytest.mark.parametrize("archive", ARCHIVES)
def test_real_questions_of_one_key_differ_in_nothing_but_case_and_the_mark_at_the_end(archive: str) -> None:
    for one, two in twins_of(archive):
        assert one.question.rstrip("?.").casefold() == two.question.rstrip("?.").casefold()


def test_real_questions_of_one_key_are_those_that_were_looked_at() -> None:
    pairs = {one.question.rstrip("?"): (one, two) for one, two in twins_of("forecastbench_markets")}
    # each asked at Manifold and at Polymarket, in the same words
    assert {text: similarity(one, two) for text, (one, two) in pairs.items()} == {
        "Khamenei out as Supreme Leader of Iran in 2026": 0,
        "US strikes Iran by June 30, 2026": 1,
        "Will 2026 be the hottest year on record": 0,
        "Will France win the 2026 FIFA World Cup": 0,
        "Will JD Vance win the 2028 US Presidential Election": 0,
    }
    one, two = pairs["US strikes Iran by June 30, 2026"]
    assert {one.closes_at, two.closes_at} == {
        datetime(2026, 6, 29, 23, 59, tzinfo=UTC),
        datetime(2026, 6, 30, tzinfo=UTC),
    }
