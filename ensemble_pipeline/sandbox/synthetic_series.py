"""Kinds of events in synthetic worlds: the texts their questions and rules are made from. Nothing here is drawn."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Series:
    """A kind of event; its texts take ``{place}``, ``{level}`` and ``{day}``, and its levels lie `stride` apart."""

    ticker: str
    category: str
    title: str
    label: str
    question: str
    rules: str
    start: int
    stride: int


PLACES = (
    "Northport",
    "Lakeside",
    "Meridia",
    "Harborview",
    "Eastmoor",
    "Silverton",
    "Westbrook",
    "Highfield",
    "Marlow",
    "Stonebridge",
    "Ashford",
    "Calder",
)

SERIES: tuple[Series, ...] = (
    Series(
        "SYNTEMP",
        "Climate and Weather",
        "High temperature in {place} on {day}",
        "above {level}°F",
        "Will the high temperature in {place} exceed {level}°F on {day}?",
        "Resolves YES if the {place} weather station reports a daily high above {level}°F for {day}.",
        58,
        4,
    ),
    Series(
        "SYNRAIN",
        "Climate and Weather",
        "Rain in {place} in the week ending {day}",
        "more than {level} mm",
        "Will {place} record more than {level} mm of rain in the week ending {day}?",
        "Resolves YES if the {place} gauge totals more than {level} mm over the seven days ending {day}.",
        10,
        8,
    ),
    Series(
        "SYNJOBS",
        "Economics",
        "New jobless claims in {place} in the report of {day}",
        "above {level},000",
        "Will new jobless claims in {place} be above {level},000 in the report of {day}?",
        "Resolves YES if the labour office of {place} reports more than {level},000 new claims on {day}.",
        205,
        10,
    ),
    Series(
        "SYNINDEX",
        "Economics",
        "Close of the {place} 100 index on {day}",
        "above {level}",
        "Will the {place} 100 index close above {level} on {day}?",
        "Resolves YES if the official close of the {place} 100 on {day} is above {level}.",
        4950,
        50,
    ),
    Series(
        "SYNFILM",
        "Entertainment",
        "Worldwide gross of 'Return to {place}' by {day}",
        "more than ${level} million",
        "Will the film 'Return to {place}' have earned more than ${level} million by {day}?",
        "Resolves YES if the distributor reports a worldwide gross above ${level} million at the end of {day}.",
        80,
        15,
    ),
    Series(
        "SYNPOLL",
        "Politics",
        "Approval of the mayor of {place} in the average of {day}",
        "above {level}%",
        "Will the approval of the mayor of {place} be above {level}% in the average of {day}?",
        "Resolves YES if the {place} polling average published on {day} shows approval above {level}%.",
        41,
        2,
    ),
    Series(
        "SYNVOTE",
        "Politics",
        "Members of the {place} assembly backing the budget by {day}",
        "at least {level}",
        "Will at least {level} members of the {place} assembly back the budget by {day}?",
        "Resolves YES if the roll call published by {day} records {level} or more votes in favour.",
        226,
        6,
    ),
    Series(
        "SYNLAUNCH",
        "Science and Technology",
        "Launches completed by the {place} space port by {day}",
        "at least {level}",
        "Will the {place} space port have completed at least {level} launches by {day}?",
        "Resolves YES if the space port's log lists {level} or more successful launches at the end of {day}.",
        11,
        1,
    ),
    Series(
        "SYNHOOPS",
        "Sports",
        "Points of the {place} Gulls in their game of {day}",
        "more than {level}",
        "Will the {place} Gulls score more than {level} points in their game of {day}?",
        "Resolves YES if the final box score of the game of {day} shows more than {level} points, overtime included.",
        104,
        5,
    ),
    Series(
        "SYNGOALS",
        "Sports",
        "Goals in the {place} league on the matchday of {day}",
        "more than {level}",
        "Will the {place} league see more than {level} goals on the matchday of {day}?",
        "Resolves YES if the league's official report counts more than {level} goals on the matchday of {day}.",
        22,
        3,
    ),
)
