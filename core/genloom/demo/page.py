"""The page of the demo: one HTML file beside the pictures, no scripts from elsewhere."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from genloom.errors import OutputError

if TYPE_CHECKING:
    from genloom.demo import Chapter, Pair

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #6a7078; --paper: #fbfaf8;
  --line: #dedbd5; --accent: #b4552d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e6e3; --soft: #9aa0a8; --paper: #16181b;
  --line: #33363b; --accent: #e08a5f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 3rem 1.25rem 5rem; max-width: 68rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 2.4rem; margin: 0; letter-spacing: -0.02em; }
h2 { font-size: 1.4rem; margin: 0 0 .3rem; }
header p, section > p { max-width: 46rem; margin: .4rem 0 1rem; color: var(--soft); }
section { margin-top: 3.5rem; border-top: 1px solid var(--line); padding-top: 1.5rem; }
code { font: 14px/1.4 ui-monospace, monospace; padding: .2rem .5rem; border-radius: 4px;
  background: color-mix(in srgb, var(--line) 45%, transparent); }
img { max-width: 100%; height: auto; display: block; border-radius: 4px; }
.pixels { image-rendering: pixelated; }
.photos { columns: 2 26rem; column-gap: 1.5rem; }
figure { margin: 0 0 1.5rem; break-inside: avoid; }
a { color: inherit; }
figcaption { font-size: .9rem; color: var(--soft); padding-top: .4rem; }
figcaption b { color: var(--accent); font-weight: 600; }
.pair { position: relative; overflow: hidden; border-radius: 4px; --at: 50%; }
.pair img { width: 100%; border-radius: 0; }
.pair .after { position: absolute; inset: 0; clip-path: inset(0 0 0 var(--at)); }
.pair::after { content: ""; position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px;
  margin-left: -1px; background: #fff; box-shadow: 0 0 4px #0008; pointer-events: none; }
.pair input { position: absolute; inset: 0; width: 100%; height: 100%; opacity: 0; margin: 0;
  cursor: ew-resize; }
.pair input:focus-visible { outline: 3px solid var(--accent); opacity: .25; }
.tag { position: absolute; bottom: .5rem; padding: .1rem .5rem; border-radius: 3px;
  background: #000a; color: #fff; font-size: .75rem; pointer-events: none; }
.tag.l { left: .5rem; } .tag.r { right: .5rem; }
.sheet { border: 1px solid var(--line); }
footer { margin-top: 4rem; color: var(--soft); font-size: .9rem; }
"""


_MARK = '<meta name="generator" content="genloom demo">'
"""By this line the demo knows a page of its own."""


def refuse_foreign(page: Path, photographs: Sequence[Path]) -> None:
    """Refuse to write where files lie that the demo did not write.

    Raises:
        OutputError: naming the first of them.
    """
    hint = "Give the demo another folder with -o"
    if os.path.lexists(page):
        if not (page.is_file() and _MARK in page.read_text(encoding="utf-8", errors="replace")):
            raise OutputError("this is not a page of the demo", where=str(page), hint=hint)
        return
    for photograph in photographs:
        copy = _copy_of(photograph, page)
        if os.path.lexists(copy) and not (
            copy.is_file() and filecmp.cmp(photograph, copy, shallow=False)
        ):
            raise OutputError("the demo did not write this file", where=str(copy), hint=hint)


def _copy_of(photograph: Path, page: Path) -> Path:
    return page.parent / "clean" / photograph.name


def _put(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, so that it is known again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    beside.write_bytes(data)
    beside.replace(path)


def copy_clean(page: Path, photographs: Sequence[Path]) -> None:
    """Put the photographs beside the page, in the folder `clean`."""
    for photograph in photographs:
        _put(_copy_of(photograph, page), photograph.read_bytes())


def write_page(page: Path, chapters: Sequence[Chapter], providers: Mapping[str, str]) -> None:
    """Write the page; every picture it shows lies below its folder."""
    body = "\n".join(_section(chapter, page.parent) for chapter in chapters)
    _put(page, _document(body, _time(chapters), providers).encode())


def _time(chapters: Sequence[Chapter]) -> str:
    seconds = [chapter.seconds for chapter in chapters if chapter.seconds is not None]
    return f", in {sum(seconds):.0f} seconds" if len(seconds) == len(chapters) else ""


def _document(body: str, time: str, providers: Mapping[str, str]) -> str:
    models = ", ".join(f"{escape(m)} on {escape(p)}" for m, p in sorted(providers.items()))
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
{_MARK}
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>genloom demo</title>
<style>{_STYLE}</style>
<header>
<h1>genloom</h1>
<p>Everything on this page was computed on this machine, offline{time}, by
models that genloom trained and exported itself: {models}. None of these pictures was trained
on.</p>
</header>
{body}
<footer>Your turn: <code>genloom run denoise YOUR_PHOTOS -o OUT</code>. The photographs are in the
public domain or under CC0; the clothes are test pictures of Fashion-MNIST (MIT licence).</footer>
</html>
"""


def _section(chapter: Chapter, base: Path) -> str:
    time = "" if chapter.seconds is None else f" &nbsp; {chapter.seconds:.1f} s"
    content = _pairs(chapter, base) if chapter.pairs else _sheets(chapter, base)
    return f"""<section>
<h2>{escape(chapter.title)}</h2>
<p>{escape(chapter.text)}</p>
<p><code>{escape(chapter.command)}</code>{time}</p>
{content}
</section>"""


def _pairs(chapter: Chapter, base: Path) -> str:
    figures = "\n".join(_figure(pair, chapter.labels, base) for pair in chapter.pairs)
    return f"<p>Drag across a picture.{_gain(chapter.pairs)}</p>\n" + (
        f'<div class="photos">\n{figures}\n</div>'
    )


def _gain(pairs: Sequence[Pair]) -> str:
    gains = [
        pair.after_psnr - pair.before_psnr
        for pair in pairs
        if pair.after_psnr is not None and pair.before_psnr is not None
    ]
    if not gains:
        return ""
    mean = sum(gains) / len(gains)
    return f" On average they come {mean:.1f} dB closer (PSNR against the true photograph)."


def _figure(pair: Pair, labels: tuple[str, str], base: Path) -> str:
    before, after = (_link(path, base) for path in (pair.before, pair.after))
    left, right, name = (escape(text) for text in (*labels, pair.name))
    return f"""<figure>
<div class="pair">
<img src="{before}" alt="{name}, {left}">
<img class="after" src="{after}" alt="{name}, {right}">
<span class="tag l">{left}</span><span class="tag r">{right}</span>
<input type="range" min="0" max="100" value="50" aria-label="Where {left} ends and {right} begins"
 oninput="this.parentNode.style.setProperty('--at', this.value + '%')">
</div>
<figcaption>{name}{_closeness(pair, base)}</figcaption>
</figure>"""


def _closeness(pair: Pair, base: Path) -> str:
    if pair.true is None:
        return ""
    return (
        f": {pair.before_psnr:.1f} dB → <b>{pair.after_psnr:.1f} dB</b> ·\n"
        f'<a href="{_link(pair.true, base)}">true</a>'
    )


def _sheets(chapter: Chapter, base: Path) -> str:
    return "\n".join(
        f'<img class="sheet pixels" src="{_link(path, base)}" alt="{escape(chapter.title)}">'
        for path in chapter.sheets
    )


def _link(path: Path, base: Path) -> str:
    from urllib.parse import quote

    return quote(path.relative_to(base).as_posix())
