# Copyright: (c) 2026, the amdgpu.fleet authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Draw docs/images/monitoring.png: panels of the dashboards with what Prometheus knew in a run of the scenario monitor.

    pip install matplotlib==3.11.2
    PYTHONPATH=.collections python tools/render_dashboard.py .cache/logs/monitor.json

The panels, their titles and units are those of the catalog; Grafana draws the same series.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

PICTURE = Path(__file__).resolve().parents[1] / "docs/images/monitoring.png"
# What tells most of a run of some minutes, in rows of three.
SHOWN = (
    "Tokens a second", "Time to the first token", "Requests",
    "Busy", "Power", "Errors that the GPUs counted",
    "Time without an answer", "Completion of the timer", "Gateway",
)  # fmt: skip
UNITS = {"s": "seconds", "watt": "W", "celsius": "°C", "percentunit": "share", "bytes": "bytes", "short": ""}
INK, PAPER, GRID = "#d8d9da", "#181b1f", "#2c3235"


def legend(form: str, metric: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: metric.get(found[1], ""), form).strip() or "value"


def moves(series: dict[str, Any]) -> bool:
    """Of eight GPUs that do the same, the line that differs is the one to see; a flat 0 is drawn once."""
    return len({value for _at, value in series["values"]}) > 1


def draw(axes: Any, title: str, panels: list[dict[str, Any]], end: float) -> None:
    axes.set_facecolor(PAPER)
    axes.set_title(title, color=INK, fontsize=10, loc="left")
    axes.tick_params(colors=INK, labelsize=7)
    axes.grid(color=GRID, linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_color(GRID)
    lines = [(panel["legend"], each) for panel in panels for each in panel["series"]]
    lines.sort(key=lambda line: not moves(line[1]))
    for form, each in lines[:6]:
        at = [(float(moment) - end) / 60 for moment, _value in each["values"]]
        values = [float(value) for _moment, value in each["values"]]
        axes.plot(at, values, linewidth=1.4, label=legend(form, each["metric"]))
    axes.set_ylabel(UNITS.get(panels[0]["unit"], panels[0]["unit"]), color=INK, fontsize=7)
    if lines:
        axes.legend(fontsize=6, facecolor=PAPER, edgecolor=GRID, labelcolor=INK, loc="upper left")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="what the scenario wrote")
    options = parser.parse_args()
    data = json.loads(options.data.read_text(encoding="utf-8"))
    figure, grid = plt.subplots(len(SHOWN) // 3, 3, figsize=(15, 9), facecolor="#111217")
    for axes, title in zip(grid.flat, SHOWN):
        panels = [each for each in data["panels"] if each["panel"] == title]
        # Dashboards share titles; the one with most to see.
        boards = {each["dashboard"] for each in panels}
        chosen = max(
            boards, key=lambda board: sum(len(p["series"]) for p in panels if p["dashboard"] == board)
        )
        draw(axes, title, [each for each in panels if each["dashboard"] == chosen], data["end"])
    alerts = sorted(
        {
            f"{each['metric']['alertname']} ({each['metric'].get('host', 'monitoring')})"
            for each in data["alerts"]
        }
    )
    figure.suptitle(
        "AMD GPU fleet: a run of the scenario monitor, minutes before its end", color=INK, fontsize=13
    )
    figure.text(0.01, 0.005, "Alerts that fired: " + ", ".join(alerts), color=INK, fontsize=7, wrap=True)
    figure.tight_layout(rect=(0, 0.03, 1, 0.98))
    figure.savefig(PICTURE, dpi=90, facecolor=figure.get_facecolor())


if __name__ == "__main__":
    main()
