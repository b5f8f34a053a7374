"""A self-contained HTML page with the narrative, tables and figures of all notebooks, and a page of explorers that
needs no kernel.
"""

import html
import json
import re
import time
from pathlib import Path
from typing import Any

from sstlib import paths, weights
from sstlib.explorers import pages
from sstlib.paths import write_whole
from sstlib.paths.digests import sha256
from sstlib.provenance import code, software
from sstlib.reproduction import found
from sstlib.reproduction.formulas import formula
from sstlib.reproduction.task import Outcome, Task, read_record

SIZE = "@size@"  # placeholder of the page's own size
MIMES = ["text/html", "image/svg+xml", "image/png", "image/jpeg", "text/markdown", "text/plain"]
# Fields of a record that a section shows
SHOWN = {"parameters": dict, "commit": str, "finished": str, "seconds": int | float}
STALE = "what it depends on has changed since: run it again"
TEMPLATE = """{%- extends 'basic/index.html.j2' -%}
{% block input_group %}<details class="code"><summary>Code</summary>{{ super() }}</details>{% endblock %}"""


def write(tasks: list[Task], outcomes: list[Outcome]) -> Path:
    """Writes results/report/index.html from the executed copies of the notebooks and the tables.

    Args:
        tasks: A task for every notebook of the report, in order.
        outcomes: Of the tasks that were just run; a failed one shows its error, not an older result.
    """
    failed = {outcome.name: outcome.error for outcome in outcomes if outcome.status == "failed"}
    sections = [_section(task, failed.get(task.name, "")) for task in tasks]
    record = _record()
    write_whole(paths.REPORT / "explorer.html", pages.explorer_page(record))
    page = _page(sections + _tables(), record)
    return write_whole(paths.REPORT / "index.html", page.replace(SIZE, f"{len(page.encode()) / 1e6:.1f} MB"))


def _record() -> dict[str, Any] | None:
    """The recorded attention of a release, kept in results/executed as long as code and weights do not change."""
    if pages.RECORDED not in weights.released():
        return None
    path, of = paths.EXECUTED / "recorded-attention.json", f"{code()} {sha256(weights.find(pages.RECORDED))}"
    recorded = read_record(path)
    if recorded.get("of") != of:
        recorded = {"of": of, "record": pages.released_record()}
        write_whole(path, json.dumps(recorded))
    return recorded["record"]


def _section(task: Task, error: str) -> dict[str, str]:
    """Title, state, body and provenance of a notebook's part of the page."""
    import nbformat

    record = read_record(task.record) if task.output.is_file() else {}
    if not all(isinstance(record.get(key), kind) for key, kind in SHOWN.items()):
        record = {}  # damaged: its task is not done either
    state = "failed" if error else "missing" if not record else "done" if task.done() else "stale"
    shown = task.output if state in ("done", "stale") else paths.NOTEBOOKS / f"{task.name}.ipynb"
    notebook = nbformat.read(shown, as_version=4)
    title, _ = heading(notebook)
    if state in ("done", "stale"):
        body = body_of(notebook, task.name)
    else:
        body = f"<h1>{html.escape(title)}</h1>" + (f"<pre class='failure'>{html.escape(error)}</pre>" if error else "")
    facts = f"{html.escape(_facts(state, record))}; <a href='../../notebooks/{task.name}.ipynb'>notebook</a>"
    return {"name": task.name, "title": title, "state": state, "body": body, "facts": facts}


def heading(notebook: Any) -> tuple[str, str]:
    """The notebook's title and its question: the first sentence of the opening cell that ends in a question mark."""
    opening = next((cell.source for cell in notebook.cells if cell.cell_type == "markdown"), "")
    title = re.match(r"#\s+(.+)", opening)
    text = " ".join(opening.lstrip("# ").split())
    question = re.search(r"[^.:!?]*\?", text)
    return (title[1].strip() if title else ""), (question[0].strip() if question else "")


def _facts(state: str, record: dict[str, Any]) -> str:
    """One line on the origin of a section."""
    if state not in ("done", "stale"):
        return {"failed": "failed", "missing": "not executed yet"}[state]
    given = ", ".join(f"{name} = {value!r}" for name, value in record["parameters"].items()) or "default parameters"
    when = record["finished"].replace("T", " ").replace("Z", " UTC")
    line = f"executed {when} in {record['seconds']:.0f} s at commit {record['commit']} with {given}"
    return f"{line}; {STALE}" if state == "stale" else line


def body_of(notebook: Any, name: str) -> str:
    """The notebook as HTML: code folded, images embedded, formulas drawn, headings and links unique within the page,
    tables without row numbers and with dashes for missing values.
    """
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    exporter = HTMLExporter(template_name="basic", raw_template=TEMPLATE, exclude_input_prompt=True,
                            exclude_output_prompt=True,
                            config=Config({"NbConvertBase": {"display_data_priority": MIMES}}))
    exporter.register_filter("markdown2html", markdown_html)
    body, _ = exporter.from_notebook_node(notebook)
    body = re.sub(r'(<h\d[^>]*\bid=")([^"]*)"', rf'\g<1>{name}-\g<2>"', body)
    body = re.sub(r'\bid="cell-id=[^"]*"', "", body)
    body = re.sub(r'href="#([^"]*)"', rf'href="#{name}-\1"', body)
    body = re.sub(r"<table[^>]*class=\"dataframe\".*?</table>", lambda table: plain(table[0]), body, flags=re.DOTALL)
    return re.sub(r'href="(?:\./)?([\w-]+)\.ipynb(?:#[^"]*)?"', r'href="#\1"', body)


def plain(table: str) -> str:
    """A data frame's HTML with dashes for NaN, without an index that only numbers the rows, and with the name of any
    other index in the same row as the other headings.
    """
    table = re.sub(r"<td>(?:NaN|nan|None|&lt;NA&gt;)</td>", "<td>–</td>", table)
    head, _, body = table.partition("<tbody>")
    if index := re.fullmatch(r"(.*?<tr[^>]*>\s*<th>)(</th>.*?</tr>)\s*<tr>\s*<th>([^<]+)</th>\s*(?:<th></th>\s*)+</tr>"
                             r"(\s*</thead>\s*)", head, re.DOTALL):
        return "".join((index[1], index[3], index[2], index[4], "<tbody>", body))
    numbers = re.findall(r"<tr[^>]*>\s*<th>(.*?)</th>", body)
    if numbers != [str(row) for row in range(len(numbers))] or head.count("<tr") != 1:
        return table
    head = re.sub(r"(<tr[^>]*>\s*)<th>\s*</th>", r"\1", head, count=1)
    return head + "<tbody>" + re.sub(r"(<tr[^>]*>\s*)<th>.*?</th>", r"\1", body)


def markdown_html(source: str) -> str:
    """Markdown as HTML, with formulas as inline drawings instead of text for a script from the network."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return formula(body)

        def block_math(self, body: str) -> str:
            body, number = re.subn(r"\\tag\{(\d+)\}", "", body)[0], re.search(r"\\tag\{(\d+)\}", body)
            shown = f"<span class='number'>({number[1]})</span>" if number else ""
            return f"<p class='display'>{formula(body, display=True)}{shown}</p>"

        def latex_environment(self, name: str, body: str) -> str:
            return "".join(self.block_math(line.replace("&", "")) for line in body.split(r"\\") if line.strip())

    return MarkdownWithMath(renderer=Renderer(escape=False, exclude_anchor_links=True)).render(source)


def _tables() -> list[dict[str, str]]:
    """The tables in results/tables as one more section."""
    tables = sorted(paths.TABLES.glob("*.md"))
    if not tables:
        return []
    parts = [f"<details><summary>{html.escape(path.stem)}</summary>\n"
             f"<div class='output_html'>{markdown_html(path.read_text())}</div><p class='facts'>"
             f"<a href='../tables/{path.stem}.csv'>{path.stem}.csv</a></p></details>" for path in tables]
    body = "<h1>Tables</h1><p>Made from run records and published numbers alone; each opens.</p>" + "\n".join(parts)
    return [{"name": "tables", "title": "Tables: as files", "state": "", "facts": "", "body": body}]


def _page(sections: list[dict[str, str]], record: dict[str, Any] | None) -> str:
    made = software()
    libraries = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    facts = f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, commit {made['commit']}, {libraries}; {SIZE}"
    front = found.front({part["name"]: part["title"].partition(":")[0] for part in sections})
    first = "<li><a href='#found'><b>What was found</b></a></li>" if front else ""
    entries = [f"<li class='{part['state']}'><a href='#{part['name']}'>{_entry(part['title'])}</a></li>"
               for part in sections]
    contents = first + "\n".join(entries)
    body = "\n".join(f"<section id='{part['name']}'>\n{part['body']}\n<p class='facts'>{part['facts']}</p></section>"
                     for part in sections)
    front = f"<section id='found'>{front}</section>" if front else ""
    style = (Path(__file__).parent / "page.css").read_text()
    mounted = pages.mounted(record) if 'data-explorer="' in body else ""
    reference = " <a href='api/index.html'>API reference</a>." if (paths.REPORT / "api" / "index.html").exists() else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>SSTVOS: report</title>
<style>
{style}
</style>
</head>
<body>
<nav><p class="brand">SSTVOS</p><ol>
{contents}
</ol></nav>
<main>
<header><p class="kicker">Report</p>
<p class="title">Sparse Spatiotemporal Transformers for Video Object Segmentation</p>
<p class="facts">{html.escape(facts)}. To explore without a notebook: <a href="explorer.html">explorer.html</a>,
one file for any web server.{reference}</p></header>
{front}
{body}
</main>
{mounted}</body>
</html>
"""


def _entry(title: str) -> str:
    """A title in the contents: its name, and the question after the colon on a line of its own."""
    name, _, question = (html.escape(part.strip()) for part in title.partition(":"))
    return f"<b>{name}</b>" + (f"<span>{question[:1].upper()}{question[1:]}</span>" if question else "")
