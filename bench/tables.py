"""The report as Markdown, and its place in a file between two markers."""

from __future__ import annotations

from typing import Any

BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"


def number(value: float | None) -> str:
    """Three significant digits, with separators instead of exponents."""
    if value is None:
        return ""
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}" if value >= 0.01 else f"{value:.1e}"


def best(row: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """The fastest entry of a kind, by its ratio where genkern ran beside it."""
    entries = [entry for entry in row["entries"] if entry["kind"] == kind]
    return min(entries, key=lambda entry: entry["ratio"] or entry["us"], default=None)


def named(entry: dict[str, Any] | None) -> str:
    """Backend and threads."""
    if entry is None:
        return "none here"
    return f"{entry['backend']} ({entry['threads']})"


def line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def least_squares_table(report: dict[str, Any]) -> list[str]:
    """Minimum-norm solves; microseconds a problem."""
    lines = [
        line(
            "n x d", "best stable peer (threads)", "peer, us", "genkern, us", "ratio", "target", "of DGEMM rate",
            "normal equations, us", "float32 gain", "error: peer", "genkern",
        ),
        line("---", "---", *["---:"] * 9),
    ]  # fmt: skip
    for row in report["rows"]:
        if row["family"] != "least_squares":
            continue
        ours, single, peer, shortcut = (best(row, kind) for kind in ("ours", "single", "stable", "unstable"))
        rate = row["flops"] / ours["us"] / 1e3 / report["gemm"]["float64"] if ours else None
        lines.append(
            line(
                row["size"].replace("x", " x "),
                named(peer),
                number(peer and peer["us"]),
                number(ours and ours["us"]),
                f"**{number(peer['ratio'])}**" if peer and peer["ratio"] else "",
                str(row["target"]),
                f"{rate:.0%}" if rate else "",
                number(shortcut and shortcut["us"]),
                number(ours["us"] / single["us"]) if ours and single else "",
                f"{peer['error']:.0e}" if peer else "",
                f"{ours['error']:.0e}" if ours else "",
            )
        )
    return lines


def family_table(report: dict[str, Any], family: str) -> list[str]:
    """Any other family: each setting with our best backend and the best peer."""
    lines = [
        line(family.replace("_", " "), "best peer (threads)", "peer, us", "genkern (threads)", "genkern, us", "ratio"),
        line("---", "---", "---:", "---", "---:", "---:"),
    ]
    for row in report["rows"]:
        if row["family"] == family:
            ours, peer = best(row, "ours"), best(row, "stable")
            lines.append(
                line(
                    row["size"],
                    named(peer),
                    number(peer and peer["us"]),
                    named(ours),
                    number(ours and ours["us"]),
                    f"**{number(peer['ratio'])}**" if peer and peer["ratio"] else "",
                )
            )
    return lines


def markdown(report: dict[str, Any]) -> str:
    """All tables, and what they were measured on."""
    names = list(dict.fromkeys(row["family"] for row in report["rows"]))
    parts = []
    for family in names:
        lines = least_squares_table(report) if family == "least_squares" else family_table(report, family)
        parts.append("\n".join(lines))
    machine, threads = report["machine"], report["threads"]
    listing = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    merged = "".join(
        "; measured beside genkern in an environment of their own: "
        + ", ".join(f"{name} {version}" for name, version in other.items())
        for other in report.get("merged", [])
    )
    parts.append(
        f"{machine['cpu']}, {threads} threads, {machine['isa']}; DGEMM {report['gemm']['float64']:.0f} and SGEMM "
        f"{report['gemm']['float32']:.0f} GF/s; {listing}{merged}; {report['date']}, commit {report['commit']}. "
        f"Medians of {report['repeats']} interleaved turns, each peer at the better of 1 and {threads} threads. "
        "Errors are forward, against solutions refined in extended precision."
    )
    return "\n\n".join(parts) + "\n"


def replace_block(text: str, table: str, markers: tuple[str, str] = (BEGIN, END)) -> str:
    """`text` with `table` between the markers, which must be there."""
    begin, end = markers
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"no {begin} ... {end} block in the file to update")
    return f"{before}{begin}\n\n{table}\n{end}{after}"
