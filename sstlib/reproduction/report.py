"""One HTML page with the narrative, tables and figures of all notebooks, which needs nothing but itself to be read."""

import html
import re
import time
from pathlib import Path
from typing import Any

from sstlib import paths
from sstlib.paths import atomic_write
from sstlib.reproduction.formulas import formula
from sstlib.reproduction.notebooks import provenance
from sstlib.reproduction.task import Outcome, Task, read_record

MIMES = ["text/html", "image/svg+xml", "image/png", "image/jpeg", "text/markdown", "text/plain"]
# What a section says of its record
SHOWN = {"parameters": dict, "commit": str, "finished": str, "seconds": int | float}
STALE = "what it depends on has changed since: run it again"


def write(tasks: list[Task], outcomes: list[Outcome]) -> Path:
    """Writes results/report/index.html from the executed copies of the notebooks and the tables.

    Args:
        tasks: A task for every notebook that belongs into the report, in its order.
        outcomes: How those went that were asked for just now; a failed one shows its error, not an older result.
    """
    failed = {outcome.name: outcome.error for outcome in outcomes if outcome.status == "failed"}
    sections = [_section(task, failed.get(task.name, "")) for task in tasks]
    target = paths.REPORT / "index.html"
    with atomic_write(target) as file:
        file.write(_page(sections + _tables()).encode())
    return target


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
    asked = re.search(r"[^.:!?]*\?", text)
    return (title[1].strip() if title else ""), (asked[0].strip() if asked else "")


def _facts(state: str, record: dict[str, Any]) -> str:
    """One line on where a section comes from."""
    if state not in ("done", "stale"):
        return {"failed": "failed", "missing": "not executed yet"}[state]
    given = ", ".join(f"{name} = {value!r}" for name, value in record["parameters"].items()) or "default parameters"
    when = record["finished"].replace("T", " ").replace("Z", " UTC")
    line = f"executed {when} in {record['seconds']:.0f} s at commit {record['commit']} with {given}"
    return f"{line}; {STALE}" if state == "stale" else line


def body_of(notebook: Any, name: str) -> str:
    """The notebook as HTML without its code: images embedded, formulas drawn, headings and links unique to the page."""
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    exporter = HTMLExporter(template_name="basic", exclude_input=True, exclude_output_prompt=True,
                            config=Config({"NbConvertBase": {"display_data_priority": MIMES}}))
    exporter.register_filter("markdown2html", markdown_html)
    body, _ = exporter.from_notebook_node(notebook)
    body = re.sub(r'(<h\d[^>]*\bid=")([^"]*)"', rf'\1{name}-\2"', body)
    body = re.sub(r'\bid="cell-id=[^"]*"', "", body)
    body = re.sub(r'href="#([^"]*)"', rf'href="#{name}-\1"', body)
    return re.sub(r'href="(?:\./)?([\w-]+)\.ipynb(?:#[^"]*)?"', r'href="#\1"', body)


def markdown_html(source: str) -> str:
    """Markdown as HTML, with formulas as inline drawings instead of text for a script from the network."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return formula(body)

        def block_math(self, body: str) -> str:
            return f"<p class='display'>{formula(body, display=True)}</p>"

        def latex_environment(self, name: str, body: str) -> str:
            return "".join(self.block_math(line.replace("&", "")) for line in body.split(r"\\") if line.strip())

    return MarkdownWithMath(renderer=Renderer(escape=False, exclude_anchor_links=True)).render(source)


def _tables() -> list[dict[str, str]]:
    """The tables in results/tables as one more section."""
    tables = sorted(paths.TABLES.glob("*.md"))
    if not tables:
        return []
    parts = [f"<h3>{html.escape(path.stem)}</h3>\n<div class='output_html'>{markdown_html(path.read_text())}</div>"
             f"<p class='facts'><a href='../tables/{path.stem}.csv'>{path.stem}.csv</a></p>" for path in tables]
    body = "<h1>Tables</h1><p>Made from run records and published numbers alone.</p>" + "\n".join(parts)
    return [{"name": "tables", "title": "Tables: as files", "state": "", "facts": "", "body": body}]


def _page(sections: list[dict[str, str]]) -> str:
    made = provenance()
    libraries = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    facts = f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, commit {made['commit']}, {libraries}"
    contents = "\n".join(f"<li class='{part['state']}'><a href='#{part['name']}'>{_entry(part['title'])}</a></li>"
                         for part in sections)
    body = "\n".join(f"<section id='{part['name']}'>\n{part['body']}\n<p class='facts'>{part['facts']}</p></section>"
                     for part in sections)
    style = (Path(__file__).parent / "page.css").read_text()
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
<p class="facts">{html.escape(facts)}</p></header>
{body}
</main>
</body>
</html>
"""


def _entry(title: str) -> str:
    """A title in the contents: its name, and the question after the colon on a line of its own."""
    name, _, question = (html.escape(part.strip()) for part in title.partition(":"))
    return f"<b>{name}</b>" + (f"<span>{question[:1].upper()}{question[1:]}</span>" if question else "")
