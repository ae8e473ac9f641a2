"""The parts of a report page: one HTML file without scripts and network, with its pictures inside. Whatever comes
from a recording is escaped."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.2rem}
h2{font-size:1.2rem;margin-top:2.4rem;border-top:1px solid #ddd;padding-top:1rem}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;display:block;overflow-x:auto}
th,td{padding:.25rem .8rem .25rem 0;text-align:left;border-bottom:1px solid #eee;white-space:nowrap}
td.text{white-space:pre-wrap;overflow-wrap:anywhere;min-width:14rem}
img{max-width:100%;height:auto}p.note{color:#444}strong{font-weight:650}
ul.first{font-size:1.05rem;padding-left:1.2rem}
"""


def page(title: str, parts: Iterable[str]) -> str:
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def heading(title: str, below: str) -> str:
    return f"<h1>{escape(title)}</h1>\n{note(below)}"


def note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def bullets(items: Iterable[str]) -> str:
    return '<ul class="first">' + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def section(title: str, body: str, below: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{note(below)}\n{body}"


def image(title: str, png: bytes) -> str:
    return f'<img alt="{escape(title)}" src="data:image/png;base64,{b64encode(png).decode()}">'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, running: int | None = None) -> str:
    """`running` is the column of running text, whose cells are wrapped."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="text">{escape(cell)}</td>' if column == running else f"<td>{escape(cell)}</td>"
            for column, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
