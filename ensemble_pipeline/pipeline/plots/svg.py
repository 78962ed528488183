"""Small pictures as SVG text, wrapped so that Dagster's UI shows them.

Belongs here: elements, text that fits, scales, colours, the way into the UI. Does not: what a picture shows (the other
modules of plots).

The UI keeps Markdown images with a data URI and strips `<svg>` and `<img>`; from 1,000 characters on, Markdown stands
behind a link that opens a dialog. An image cannot inherit the theme, so that each picture brings a light background;
without width and height in pixels the UI shows it 0 pixels wide.
"""

import math
import unicodedata
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

import dagster as dg

PAPER, INK, MUTED, GRID, NULL = "#fbfbf9", "#1f2933", "#5b6875", "#dde1e5", "#dce3ea"
GOOD, BAD, UNDECIDED = "#1f6fb2", "#c2570c", "#74808b"
"""Blue and orange, which readers who confuse red and green tell apart; always beside a shape, a side or a word."""
LINES = ("#0072b2", "#b8500a", "#008a64", "#b0508a", "#a07400", INK)
"""For lines side by side, told apart by all kinds of colour vision; more than six differ by their dashes."""
DARK = {
    PAPER: "#1c2229",
    INK: "#e6eaee",
    MUTED: "#a3afba",
    GRID: "#38414b",
    NULL: "#33414f",
    GOOD: "#62aeea",
    BAD: "#f0883e",
    UNDECIDED: "#8b98a5",
    LINES[0]: "#4ba6e0",
    LINES[1]: "#e8853a",
    LINES[2]: "#35b890",
    LINES[3]: "#d884b8",
    LINES[4]: "#d0a52e",
}
"""What each colour becomes on a dark page that holds the drawing itself, not its image."""

MARGIN = 14
FONT_SIZE = 11
LINE_HEIGHT = 15
_CHARACTER_SHARE = 0.58  # of the font size: mean width of a character in DejaVu Sans, the widest of the usual fonts


def no_data() -> dg.MarkdownMetadataValue:
    """What stands in place of a picture that would be empty."""
    return dg.MetadataValue.md("no data yet")


@dataclass(frozen=True, slots=True)
class Drawing:
    """A finished picture: what it says, for readers who cannot see it, and the `<svg>` element."""

    title: str
    svg: str


def drawing(width: float, height: float, title: str, parts: Iterable[str]) -> Drawing:
    """A finished picture.

    Args:
        width: Pixels; in a window of 1,400 the UI's dialog shows some 1,080 of them without scrolling.
        height: Pixels.
        title: What the picture says, for readers who cannot see it; own words only, since Markdown reads it too.
        parts: Elements, the lowest first.
    """
    paper = element("rect", width=width, height=height, rx=6, fill=PAPER)
    svg = element(
        "svg",
        "".join([element("title", escape(title)), paper, *parts]),
        xmlns="http://www.w3.org/2000/svg",
        width=width,
        height=height,
        # a page may then show it smaller than it is
        viewBox=f"0 0 {_attribute(width)} {_attribute(height)}",
        role="img",
        font_family="system-ui,sans-serif",
        font_size=FONT_SIZE,
        fill=INK,
    )
    return Drawing(title, svg)


def shown(drawn: Drawing) -> dg.MarkdownMetadataValue:
    """A picture as metadata that the UI shows."""
    return dg.MetadataValue.md(f"![{drawn.title}](data:image/svg+xml;base64,{b64encode(drawn.svg.encode()).decode()})")


def picture(width: float, height: float, title: str, parts: Iterable[str]) -> dg.MarkdownMetadataValue:
    """A `drawing` as metadata that the UI shows."""
    return shown(drawing(width, height, title, parts))


def element(name: str, content: str = "", **attributes: str | float) -> str:
    """One SVG element.

    Args:
        name: Of the element.
        content: What stands in it, escaped already.
        **attributes: Underscores in their names become hyphens; numbers must be finite.

    >>> element("line", x1=0, x2=12.5, stroke_width=2)
    '<line x1="0" x2="12.5" stroke-width="2"/>'
    """
    written = "".join(f' {key.replace("_", "-")}="{_attribute(value)}"' for key, value in attributes.items())
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def text(x: float, y: float, words: str, **attributes: str | float) -> str:
    """Words that start at x, or end or have their middle there with `text_anchor`; y is the line they stand on."""
    return element("text", escape(printable(words)), x=x, y=y, **attributes)


def paragraph(y: float, width: float, words: str) -> tuple[str, float]:
    """Muted lines of text that fit into a picture of this width, and the y below them."""
    lines = [""]
    for word in words.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if text_width(longer) <= width - 2 * MARGIN else [*lines, word]
    drawn = [text(MARGIN, y + index * LINE_HEIGHT, line, fill=MUTED) for index, line in enumerate(lines)]
    return "".join(drawn), y + len(lines) * LINE_HEIGHT


def heading(words: str) -> str:
    """The words above a picture, on the line 24 pixels below its edge."""
    return text(MARGIN, 24, words, font_size=14, font_weight="bold")


def fit(words: str, width: float) -> str:
    """Words that fit into a width; of longer ones the middle is left out, since names differ at either end.

    >>> fit("deepseek-deepseek-r1-free+zero-shot", 160)
    'deepseek-dee…ee+zero-shot'
    """
    kept = printable(words)
    if text_width(kept) <= width:
        return kept
    at_most = min(len(kept) // 2, math.ceil(width) + 1)  # no character is narrower than a pixel
    head, tail = kept[:at_most], kept[-at_most:] if at_most else kept
    while head + tail and text_width(f"{head}…{tail}") > width:
        head, tail = (head[:-1], tail) if len(head) > len(tail) else (head, tail[1:])
    return f"{head}…{tail}"


def printable(words: str) -> str:
    """Words without the control characters that XML forbids and without line breaks."""
    return "".join(character if character.isprintable() else " " for character in words)


def text_width(words: str, font_size: float = FONT_SIZE) -> float:
    """About how many pixels words take; Chinese, Japanese and Korean characters are one font size wide."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in words)
    return font_size * (_CHARACTER_SHARE * (len(words) - wide) + wide)


def signed(value: float, decimals: int) -> str:
    """A number with its sign; what rounds to zero has none.

    >>> signed(-0.0204, 2), signed(0.5, 1), signed(-0.001, 2)
    ('−0.02', '+0.5', '0.00')
    """
    digits = f"{abs(value):.{decimals}f}"
    return digits if float(digits) == 0 else ("−" if value < 0 else "+") + digits


def ticks(limit: float) -> list[tuple[float, str]]:
    """Round numbers from -limit to limit, one to three on either side of zero, with their labels; limit > 0.

    >>> ticks(0.05)
    [(-0.04, '−0.04'), (-0.02, '−0.02'), (0.0, '0.00'), (0.02, '+0.02'), (0.04, '+0.04')]
    """
    digits = math.floor(math.log10(limit))
    leading = limit / 10.0**digits
    share = next((share for share, below in ((0.5, 1.75), (1, 4), (2, 8)) if leading < below), 5)
    step, decimals = share * 10.0**digits, max(0, (share < 1) - digits)
    count = math.floor(limit / step + 1e-9)
    return [(index * step, signed(index * step, decimals)) for index in range(-count, count + 1)]


def _attribute(value: str | float) -> str:
    return escape(value) if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
