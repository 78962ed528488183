"""HTML that stands by itself: elements, tables and the page around them, with nothing to load.

Belongs here: markup and its looks. Does not: what a page says (backtest_page.py), pictures (plots).
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import NewType

from ensemble_pipeline.pipeline.plots.svg import BAD, DARK, GOOD, GRID, INK, MUTED, PAPER, Drawing, printable

Html = NewType("Html", str)
"""Markup that is safe to stand in a page: words become it by `plain` only."""

_STYLE = """
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:1rem/1.5 system-ui,sans-serif;
 -webkit-text-size-adjust:100%}
main{max-width:1440px;margin:0 auto;padding:24px 20px 64px}
h1{font-size:1.8rem;margin:.2em 0}
h2{font-size:1.4rem;margin:2.6em 0 .5em;padding-top:.7em;border-top:2px solid var(--rule);overflow-wrap:anywhere}
h3{font-size:1.08rem;margin:1.9em 0 .4em}
p,ul{max-width:84ch;margin:.5em 0}
.told{font-size:1.08rem;padding-left:1.2em}
.told li{margin:.35em 0}
.note{color:var(--muted);font-size:.9rem}
dl{display:flex;flex-wrap:wrap;gap:10px 34px;margin:1em 0}
dt{color:var(--muted);font-size:.84rem}
dd{margin:0;font-weight:600;font-variant-numeric:tabular-nums}
a{color:var(--good)}
.wide{overflow-x:auto;margin:.6em 0}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:5px 12px;border-bottom:1px solid var(--rule);vertical-align:top;white-space:nowrap}
th{font-weight:600;vertical-align:bottom}
thead th{color:var(--muted);border-bottom:2px solid var(--rule);white-space:normal;min-width:5.2em}
th:first-child,td:first-child,.words{text-align:left}
tbody th{white-space:normal;min-width:11em;vertical-align:top;overflow-wrap:break-word}
td.words{min-width:12em}
.gain,.loss{font-weight:600;white-space:nowrap}
.gain{color:var(--good)}
.loss{color:var(--bad)}
.pictures{display:flex;flex-wrap:wrap;gap:14px}
figure{margin:.6em 0;max-width:100%;overflow-x:auto}
.pictures figure{margin:0}
.pictures svg{max-width:100%}
svg{display:block;height:auto;border:1px solid var(--rule);border-radius:7px}
@media print{html{font-size:11px}main{padding:0}.wide{overflow:visible}table{font-size:8.5px}
 th,td,thead th,tbody th,td.words{min-width:0;padding:2px 5px}figure svg{max-width:100%}
 figure,tr{break-inside:avoid}h2,h3{break-after:avoid}
 body,svg{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""


def plain(words: str) -> Html:
    """Words as they are, whatever they contain."""
    return Html(escape(printable(words)))


def tag(name: str, *content: Html, **attributes: str) -> Html:
    """An element; an attribute `class_` is written ``class``.

    >>> tag("p", plain("1 < 2"), class_="note")
    '<p class="note">1 &lt; 2</p>'
    """
    written = "".join(f' {key.rstrip("_")}="{escape(printable(value))}"' for key, value in attributes.items())
    return Html(f"<{name}{written}>{joined(content)}</{name}>")


def joined(parts: Iterable[Html]) -> Html:
    """Parts one after the other."""
    return Html("".join(parts))


def items(sentences: Iterable[str]) -> Html:
    """Sentences as a list."""
    return tag("ul", *(tag("li", plain(sentence)) for sentence in sentences), class_="told")


def table(columns: Sequence[str], rows: Iterable[Sequence[Html]], words: Sequence[int] = ()) -> Html:
    """A table that scrolls where it is wider than the page; the first cell of a row names it.

    Args:
        columns: Their names.
        rows: One cell a column.
        words: Columns that hold words and not numbers.
    """
    heads = [_cell("th", plain(name), index in words, scope="col") for index, name in enumerate(columns)]
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(_cell("td", cell, index in words) for index, cell in enumerate(row[1:], start=1)),
        )
        for row in rows
    ]
    return tag("div", tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *body)), class_="wide")


def figure(drawn: Drawing) -> Html:
    """A picture in the page itself, so that it follows the page's colours."""
    return tag("figure", Html(drawn.svg))


def page(title: str, body: Iterable[Html]) -> str:
    """The whole document."""
    head = joined(
        [
            Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'),
            Html('<meta name="color-scheme" content="light dark">'),
            tag("title", plain(title)),
            tag("style", Html(_colours() + _STYLE)),
        ]
    )
    return f"<!doctype html>\n{tag('html', tag('head', head), tag('body', tag('main', *body)), lang='en')}\n"


def _cell(name: str, content: Html, is_words: bool, **attributes: str) -> Html:
    if is_words:
        attributes["class_"] = "words"
    return tag(name, content, **attributes)


def _colours() -> str:
    """The palette of the pictures, for the page too; in the dark every colour of a picture becomes its dark one."""
    names = {"ink": INK, "muted": MUTED, "rule": GRID, "good": GOOD, "bad": BAD}
    light = "".join(f"--{name}:{colour};" for name, colour in names.items())
    dark = "".join(f"--{name}:{DARK[colour]};" for name, colour in names.items())
    drawn = "".join(f'svg[fill="{old}"],svg [fill="{old}"]{{fill:{new}}}' for old, new in DARK.items())
    lined = "".join(f'svg [stroke="{old}"]{{stroke:{new}}}' for old, new in DARK.items())
    back = f"--back:{PAPER};"
    return (
        f":root{{color-scheme:light dark;{back}{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{--back:#13181e;{dark}}}{drawn}{lined}}}"
    )
