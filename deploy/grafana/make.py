"""Makes errandry.json, the Grafana dashboard, from panels.toml; prints it, or writes it with --write.

python deploy/grafana/make.py --write
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).with_name("errandry.json")
_PANELS = Path(__file__).with_name("panels.toml")
_COLUMNS = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> dict[str, Any]:
    """The whole dashboard, ready to be imported."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in tomllib.loads(_PANELS.read_text(encoding="utf-8"))["rows"]:
        panels.append({"id": len(panels) + 1, "type": "row", "title": row["title"], "collapsed": False, "panels": []})
        panels[-1]["gridPos"] = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        top, left, height = top + 1, 0, 0
        for panel in row["panels"]:
            wide, high = panel.get("width", 8), panel.get("height", 8)
            if left + wide > _COLUMNS:
                top, left, height = top + height, 0, 0
            place = {"x": left, "y": top, "w": wide, "h": high}
            panels.append(_drawn(panel) | {"id": len(panels) + 1, "gridPos": place})
            left, height = left + wide, max(height, high)
        top += height
    return {
        "uid": "errandry",
        "title": "Errandry",
        "description": "Runs, pools, models, workers and gateways of one store.",
        "tags": ["errandry"],
        "schemaVersion": 38,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _variables()},
        "annotations": {"list": []},
        "links": [],
        "panels": panels,
    }


def _variables() -> list[dict[str, Any]]:
    common = {"type": "query", "datasource": _SOURCE, "refresh": 2, "sort": 1, "hide": 0}
    job = "label_values(errandry_store_up, job)"
    pool = 'label_values(errandry_tool_workers{job=~"$job"}, pool)'
    every = {"includeAll": True, "multi": True, "allValue": ".+", "current": {"text": ["All"], "value": ["$__all"]}}
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0},
        {"name": "job", "label": "Store", **common, "definition": job, "query": {"query": job, "refId": "job"}},
        {
            "name": "pool",
            "label": "Pool",
            **common,
            **every,
            "definition": pool,
            "query": {"query": pool, "refId": "p"},
        },
    ]


def _drawn(panel: dict[str, Any]) -> dict[str, Any]:
    kind = panel.get("kind", "timeseries")
    steps: list[dict[str, Any]] = [{"color": "red" if "green_from" in panel else "green", "value": None}]
    for color in ("green", "red"):
        if f"{color}_from" in panel:
            steps.append({"color": color, "value": panel[f"{color}_from"]})
    thresholds = {"mode": "absolute", "steps": steps}
    defaults: dict[str, Any] = {"unit": panel.get("unit", "short"), "min": 0, "thresholds": thresholds}
    options: dict[str, Any] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    if kind == "timeseries":
        stacked = panel.get("stacked", False)
        stacking = {"mode": "normal" if stacked else "none", "group": "A"}
        defaults |= {"color": {"mode": "palette-classic"}}
        defaults |= {"custom": {"fillOpacity": 25 if stacked else 0, "stacking": stacking, "showPoints": "never"}}
        legend = {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]}
        options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    targets = [
        {"refId": chr(ord("A") + place), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
        for place, (query, legend) in enumerate(panel["queries"])
    ]
    drawn = {"type": kind, "title": panel["title"], "description": panel["description"], "datasource": _SOURCE}
    return drawn | {"fieldConfig": {"defaults": defaults, "overrides": []}, "options": options, "targets": targets}


def text() -> str:
    """The file as it is to be."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        DASHBOARD.write_text(text(), encoding="utf-8")
    else:
        sys.stdout.write(text())
