"""Makes spatial-service.json, which Grafana reads, of panels.yaml, which people do: `python k8s/dashboards/render.py`.

What Grafana wants a hundred times over (ids, places, data sources, the labels that pick a service) is said once here.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
SOURCE = HERE / "panels.yaml"
RENDERED = HERE / "spatial-service.json"

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# What `$scope` stands for in panels.yaml: the values picked at the top of the dashboard.
SCOPE = 'namespace=~"$namespace",job=~"$job",instance=~"$instance"'
ACROSS = 24
# Their widths and heights, on a grid of 24 columns.
SIZES = {"stat": (4, 4), "timeseries": (8, 8), "table": (24, 6)}
COLOURS = ("green", "yellow", "red")

Json = dict[str, Any]


def dashboard(source: Json) -> Json:
    """The whole dashboard, of what panels.yaml says."""
    return {
        "uid": "spatial-service",
        "title": "spatial-service",
        "description": source["description"],
        "tags": ["spatial-service", "grpc", "postgis"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,  # one crosshair through all panels
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "annotations": {"list": [_annotation(each) for each in source["annotations"]]},
        "templating": {"list": [_datasource(), *(_variable(each) for each in source["variables"])]},
        "panels": list(_placed(source["rows"])),
    }


def _placed(rows: list[Json]) -> Iterator[Json]:
    """Rows and panels with their ids and places: from left to right, as many as there is room for."""
    number = top = 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row["title"],
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": ACROSS, "h": 1},
        }
        left, top, below = 0, top + 1, top + 1
        for panel in row["panels"]:
            width, height = panel.get("size") or SIZES[panel.get("kind", "timeseries")]
            if left + width > ACROSS:
                left, top = 0, below
            number += 1
            yield _panel(panel) | {"id": number, "gridPos": {"x": left, "y": top, "w": width, "h": height}}
            left, below = left + width, max(below, top + height)
        top = below


def _panel(panel: Json) -> Json:
    kind = panel.get("kind", "timeseries")
    return {
        "type": kind,
        "title": panel["title"],
        "description": panel["description"].strip(),
        "datasource": DATASOURCE,
        "targets": [_target(number, query, kind) for number, query in enumerate(panel["queries"])],
        "fieldConfig": {"defaults": _defaults(panel, kind), "overrides": _overrides(panel)},
        "options": _OPTIONS[kind],
    }


def _target(number: int, query: Json, kind: str) -> Json:
    return {
        "refId": _letter(number),
        "datasource": DATASOURCE,
        "expr": " ".join(query["expr"].split()).replace("$scope", SCOPE),
        "legendFormat": query.get("legend", "__auto"),
        "instant": kind != "timeseries",
        "range": kind == "timeseries",
        "format": "table" if kind == "table" else "time_series",
    }


def _defaults(panel: Json, kind: str) -> Json:
    limits = panel.get("thresholds", [])
    colours = COLOURS[: len(limits) + 1]
    if panel.get("falling"):
        colours = ("red", "green") if len(limits) == 1 else colours[::-1]
    steps = [{"color": colour, "value": value} for colour, value in zip(colours, [None, *limits], strict=True)]
    defaults: Json = {
        "unit": panel["unit"],
        "min": panel.get("min", 0),
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "thresholds" if kind == "stat" else "palette-classic"},
    }
    if "max" in panel:
        defaults["max"] = panel["max"]
    if kind == "timeseries":
        stacked = {"mode": "normal", "group": "A"} if panel.get("stacked") else {"mode": "none", "group": "A"}
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 30 if panel.get("stacked") else 8,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": stacked,
            "thresholdsStyle": {"mode": "dashed" if limits else "off"},
        }
    return defaults


def _overrides(panel: Json) -> list[Json]:
    """Lines that are limits rather than measurements are dashed, and fill nothing."""
    dashed = [
        {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}},
        {"id": "custom.fillOpacity", "value": 0},
        {"id": "custom.stacking", "value": {"mode": "none", "group": "A"}},
    ]
    return [
        {"matcher": {"id": "byFrameRefID", "options": _letter(number)}, "properties": dashed}
        for number, query in enumerate(panel["queries"])
        if query.get("limit")
    ]


def _letter(number: int) -> str:
    return chr(ord("A") + number)


_OPTIONS: dict[str, Json] = {
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background",
        "graphMode": "area",
        "textMode": "auto",
    },
    "timeseries": {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
}


def _datasource() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}}


def _variable(variable: Json) -> Json:
    """Several values or all. All is `.*`, so that series without the label, as outside Kubernetes, are meant too."""
    return {
        "name": variable["name"],
        "label": variable["label"],
        "type": "query",
        "datasource": DATASOURCE,
        "definition": variable["query"],
        "query": {"query": variable["query"], "refId": "variable"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _annotation(annotation: Json) -> Json:
    return {
        "name": annotation["name"],
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "blue",
        "expr": annotation["expr"].replace("$scope", SCOPE),
        "titleFormat": annotation["title"],
        "textFormat": annotation["text"],
        "useValueForTime": True,
    }


def text() -> str:
    return json.dumps(dashboard(yaml.safe_load(SOURCE.read_text())), indent=2) + "\n"


if __name__ == "__main__":
    RENDERED.write_text(text())
