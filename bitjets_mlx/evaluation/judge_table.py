"""The judges' scores of several systems, as text."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bitjets_mlx.evaluation import distill_mos, dnsmos, speaker_similarity
from bitjets_mlx.evaluation.intelligibility import recognizer
from bitjets_mlx.evaluation.judges import Summary
from bitjets_mlx.evaluation.packages import how_to_install


@dataclass(frozen=True)
class Measure:
    """A label, a summary's cell ("" for none), and how to install what is missing for it ("" for nothing)."""

    label: str
    cell: Callable[[Summary], str]
    install: str = ""


def measures() -> list[Measure]:
    """Every row, in order."""
    recognizes = "" if recognizer() else how_to_install("moonshine_voice")
    return [
        Measure("sentences", lambda row: str(row["sentences"])),
        Measure("Distill-MOS, 1 to 5", _score("distill_mos", 2), how_to_install(*distill_mos.NEEDS)),
        Measure("DNSMOS P.808, 1 to 5", _score("p808", 2), how_to_install(*dnsmos.NEEDS)),
        Measure(f"word errors, % ({recognizer() or 'no recognizer'})", _score("word_errors_percent", 1), recognizes),
        Measure("  added to the recordings', points", _added),
        Measure("character errors, %", _score("character_errors_percent", 1), recognizes),
        Measure("speaker similarity, cosine", _score("similarity", 3), how_to_install(*speaker_similarity.NEEDS)),
        Measure("final F0 of yes/no questions, semitones/s", _slope("yes_no")),
        Measure("  rising where the recording's rises", _followed),
        Measure("final F0 of other questions, semitones/s", _slope("other_question")),
        Measure("final F0 of statements, semitones/s", _slope("statement")),
    ]


def formatted(title: str, columns: Mapping[str, Summary]) -> str:
    """A row for each measure that a system has, a column for each; a judge that is missing says how to install it."""
    cells = [(measure.label, [measure.cell(row) for row in columns.values()]) for measure in measures()]
    rows = [(label, row) for label, row in cells if any(row)]
    first = max(len(title), *(len(label) for label, _ in rows))
    widths = [max(len(name), *(len(cells[i]) for _, cells in rows)) for i, name in enumerate(columns)]
    lines = [
        "  ".join([f"{label:<{first}}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))])
        for label, cells in ((title, list(columns)), *rows)
    ]
    return "\n".join([*(line.rstrip() for line in lines), *_notes(columns)])


def by_system(summaries: Mapping[str, Summary]) -> str:
    """Markdown: a row for each system, a column for each measure that one of them has; and what is not installed."""
    cells = {one.label.strip(): [one.cell(row) for row in summaries.values()] for one in measures()}
    columns = {"": list(summaries), **{label: column for label, column in cells.items() if any(column)}}
    rows = [list(columns), ["---"] * len(columns), *map(list, zip(*columns.values(), strict=True))]
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), *_notes(summaries)])


def _notes(summaries: Mapping[str, Summary]) -> list[str]:
    """How to install each judge that is missing."""
    return [
        f"{one.label}: not installed ({one.install})"
        for one in measures()
        if one.install and not any(map(one.cell, summaries.values()))
    ]


def _score(name: str, digits: int) -> Callable[[Summary], str]:
    def cell(row: Summary) -> str:
        if name not in row:
            return ""
        half = row.get(f"{name}_interval", math.nan)
        return f"{row[name]:.{digits}f}" + (f" ± {half:.{digits}f}" if math.isfinite(half) else "")

    return cell


def _slope(name: str) -> Callable[[Summary], str]:
    def cell(row: Summary) -> str:
        if f"{name}_ends" not in row:
            return ""
        return f"{row[f'{name}_slope']:+.1f} ({row[f'{name}_rising']} of {row[f'{name}_ends']} rise)"

    return cell


def _followed(row: Summary) -> str:
    return f"{row['yes_no_followed']} of {row['yes_no_asked']}" if "yes_no_asked" in row else ""


def _added(row: Summary) -> str:
    if "added_points" not in row:
        return ""
    return f"{row['added_points']:+.1f} ({row['added_points_low']:+.1f} to {row['added_points_high']:+.1f})"
