"""A static page of a batch's pictures and failures. No script, and every text is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from urllib.parse import quote

from studio.batch.job import Result
from studio.batch.sheet import BadRow

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Batch</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem; }
ul.pictures { list-style: none; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(12rem, 1fr)); }
img { width: 100%; height: auto; display: block; }
p, dd { overflow-wrap: anywhere; white-space: pre-wrap; margin: .3rem 0; }
small { opacity: .8; }
</style>
</head>
<body>
"""


def index_page(results: Sequence[Result], bad: Sequence[BadRow]) -> str:
    """The page: pictures in the order of the batch, then what failed and why."""
    done = [result for result in results if result.path is not None]
    failed = [result for result in results if result.error]
    count = f"{len(done)} pictures, {len(failed) + len(bad)} failed"
    parts = [_HEAD, f"<h1>Batch</h1>\n<p>{count}</p>\n"]
    if done:
        parts += ['<ul class="pictures">\n', *map(_picture, done), "</ul>\n"]
    if failed or bad:
        parts += ["<h2>Failed</h2>\n<dl>\n", *_failures(failed, bad), "</dl>\n"]
    return "".join([*parts, "</body>\n</html>\n"])


def _picture(result: Result) -> str:
    request, name = result.job.request, result.job.name
    size = f'width="{request.width}" height="{request.height}"'
    about = (
        f"{result.job.index}: seed {request.seed}, {request.steps} steps of {request.sampler}, "
        f"{request.width}x{request.height}, {request.model}"
    )
    href = quote(name)
    return (
        f'<li><a href="{href}"><img src="{href}" alt="{escape(request.prompt)}" {size} '
        f'loading="lazy"></a><p>{escape(request.prompt)}</p>'
        f"<small>{escape(about)}</small></li>\n"
    )


def _failures(failed: Sequence[Result], bad: Sequence[BadRow]) -> Iterator[str]:
    for result in failed:
        where = f"Picture {result.job.index}, line {result.job.row.line}"
        yield _failure(where, result.job.request.prompt, [result.error])
    for row in bad:
        yield _failure(f"Row {row.index}", row.text, [str(problem) for problem in row.problems])


def _failure(where: str, text: str, errors: Sequence[str]) -> str:
    reasons = "".join(f"<dd>{escape(error)}</dd>" for error in errors)
    return f"<dt>{escape(where)}: {escape(text)}</dt>{reasons}\n"
