"""One page over all cases of a folder, for a browser without a connection: pictures, volumes, warnings, errors."""

import html
import math
import os
import statistics
from pathlib import Path
from string import Template
from urllib.parse import quote

from ...core.files import atomic_write
from ...core.terminology import INTENDED_USE
from . import PAGE
from .table import OUTLIER_Z, RANGE, TABLE, Row, counted
from .thumbnail import FOLDER as THUMBNAILS
from .thumbnail import SUFFIX

# The policy keeps the browser from fetching anything but pictures beside the page, whatever a name may hold.
_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self' file:;
 style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width">
<title>Liver volumes</title>
<style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #1a1a1a; background: #fff; }
table { border-collapse: collapse; width: 100%; }
th { position: sticky; top: 0; background: #fff; text-align: left; border-bottom: 2px solid #555; padding: 0.3rem; }
td { border-bottom: 1px solid #ccc; padding: 0.4rem; vertical-align: top; overflow-wrap: anywhere; }
td:nth-child(2) { min-width: 16rem; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th button { font: inherit; font-weight: bold; background: none; border: 0; padding: 0; cursor: pointer; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
img { height: 9rem; max-width: 24rem; object-fit: contain; background: #000; }
.error { color: #a40000; } .outlier { font-weight: bold; color: #7a4a00; } .path { color: #555; font-size: 0.85em; }
.note { color: #555; }
ul { margin: 0; padding-left: 1.1rem; }
</style>
</head>
<body>
<h1>Liver volumes</h1>
<p id="summary">$summary</p>
<p>Cases with an error come first, then those whose volume lies farthest from the others, and at the end cases that are
not among the inputs of the last command: z is the modified z-score of
its logarithm, and beyond $outlier it is called an outlier, which may be a wrong mask or an unusual liver: look at it.
The range is what the uncertain border allows; masks that were edited by hand have none.
The same figures stand in <a href="$table">$table</a>. $intended_use</p>
<table>
<thead><tr>
<th scope="col">Slices</th>
<th scope="col"><button type="button">Case</button></th>
<th scope="col"><button type="button">Volume [mL]</button></th>
<th scope="col"><button type="button">Range [mL]</button></th>
<th scope="col"><button type="button">z</button></th>
<th scope="col"><button type="button">Errors, warnings and notes</button></th>
</tr></thead>
<tbody>
$rows
</tbody>
</table>
<script>
"use strict";
const body = document.querySelector("tbody");
const heads = [...document.querySelectorAll("th")];
const collator = new Intl.Collator("en", { numeric: true });
function compare(a, b, descending) {
  if (a === "" || b === "") return (a === "") - (b === "");  // what has no value stays last
  const order = isNaN(a) || isNaN(b) ? collator.compare(a, b) : a - b;
  return descending ? -order : order;
}
function sortBy(column) {
  const descending = heads[column].getAttribute("aria-sort") === "ascending";
  heads.forEach(head => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
  const value = row => row.cells[column].dataset.value;
  body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b), descending)));
}
heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => sortBy(column)));
</script>
</body>
</html>
""")


def write_page(folder: Path, rows: list[Row]) -> None:
    """Raises OSError with a sentence."""
    text = _PAGE.substitute(
        summary=_text(summary(rows)),
        outlier=OUTLIER_Z,
        table=TABLE,
        intended_use=_text(INTENDED_USE),
        rows="\n".join(_row(row, folder) for row in sorted(rows, key=_rank)),
    )
    with atomic_write(folder / PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8")


def summary(rows: list[Row]) -> str:
    """The cases of the last command in one line, and how many others there are."""
    named = [row for row in rows if not row["earlier"]]
    volumes = [row["volume_ml"] for row in named if row["volume_ml"]]
    counts = {
        "with an error": sum(bool(row["error"]) for row in named),
        "without a liver": sum(row["volume_ml"] == 0 for row in named),
        "called an outlier": sum(_is_outlier(row) for row in named),
        "with warnings": sum(bool(row["warnings"]) for row in named),
        "edited by hand": sum(row["edited"] for row in named),
    }
    parts = [counted(len(named), "case", "cases"), *(f"{count} {name}" for name, count in counts.items() if count)]
    if volumes:
        parts.append(f"median volume {statistics.median(volumes):.0f} mL, {min(volumes):.0f} to {max(volumes):.0f} mL")
    if others := len(rows) - len(named):
        parts.append(f"{others} more not among the inputs of the last command")
    return "; ".join(parts) + "."


def _rank(row: Row) -> tuple[bool, bool, float, str]:
    """Errors first, then masks without a liver, then the most unusual volumes; cases of earlier commands at the end."""
    empty = row["volume_ml"] == 0
    return row["earlier"], not row["error"], -math.inf if empty else -abs(row["volume_z"] or 0), row["id"].casefold()


def _is_outlier(row: Row) -> bool:
    return abs(row["volume_z"] or 0) > OUTLIER_Z


def _row(row: Row, folder: Path) -> str:
    volume, score = row["volume_ml"], row["volume_z"]
    low, high = (row[name] for name in RANGE)
    ends = "" if low is None else f"{_number(low, 0)} to {_number(high, 0)}"
    mark = ' <span class="outlier">outlier</span>' if _is_outlier(row) else ""
    remarks = [f'<li class="error">{_text(row["error"])}</li>'] if row["error"] else []
    remarks += [f"<li>{_text(warning)}</li>" for warning in row["warnings"]]
    remarks += [f'<li class="note">{_text(note)}</li>' for note in row["notes"]]
    name = f"<bdi>{_text(row['id'])}</bdi>"
    linked = f'<a href="{_link(row["output"])}">{name}</a>' if row["output"] else name
    return (
        f"<tr><td>{_picture(row, folder)}</td>"
        f'<td data-value="{_text(row["id"])}">{linked}<br><bdi class="path">{_text(row["input"])}</bdi></td>'
        f'<td class="number" data-value="{_number(volume, 2)}">{_number(volume, 0)}</td>'
        f'<td class="number" data-value="{_number(low, 2)}">{ends}</td>'
        f'<td class="number" data-value="{_number(score, 2)}">{_number(score, 1)}{mark}</td>'
        f'<td data-value="{_text(" ".join([row["error"], *row["warnings"], *row["notes"]]).strip())}">'
        f"<ul>{''.join(remarks)}</ul></td></tr>"
    )


def _picture(row: Row, folder: Path) -> str:
    picture = f"{row['output']}{SUFFIX}"
    if not row["output"] or row["edited"] or not (folder / THUMBNAILS / picture).is_file():
        return ""
    label = f"Axial and coronal slice of {row['id']} with the outline of the liver"
    return f'<img loading="lazy" src="{_link(f"{THUMBNAILS}/{picture}")}" alt="{_text(label)}">'


def _link(name: str) -> str:
    return f"./{quote(os.fsencode(name))}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _text(text: str) -> str:
    """For HTML; characters that cannot be shown, as in names of files that are no text, become question marks."""
    shown = "".join(character if character.isprintable() or character == " " else " " for character in text)
    return html.escape(shown.encode("utf-8", "replace").decode("utf-8"))
