# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/ has for Prometheus and Grafana: one list of panels, alerts that lead to what to do, and nothing that nobody tells."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs/monitoring"
GUIDE = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
PANELS = yaml.safe_load((DOCS / "panels.yml").read_text(encoding="utf-8"))
RULES = yaml.safe_load((DOCS / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
# Who tells a metric: nginx's log, the host, nginx itself; and for backups, a program of the user's.
TOLD = "".join(
    (ROOT / path).read_text(encoding="utf-8")
    for path in (
        "roles/registry_metrics/files/requests.mtail",
        "roles/registry_metrics/files/collect.py",
        "roles/registry_proxy/files/metrics.js",
    )
)
WIDTH, HEIGHT, COLUMNS = 12, 8, 2


def panel(number: int, about: dict[str, Any]) -> dict[str, Any]:
    """Make a panel of Grafana."""
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": about["title"],
        "datasource": source,
        "gridPos": {"x": number % COLUMNS * WIDTH, "y": number // COLUMNS * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": about["unit"], "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": source, "expr": query, "legendFormat": legend}
            for i, (query, legend) in enumerate(about["queries"].items())
        ],
    }


def dashboard() -> dict[str, Any]:
    """Make the dashboard of Grafana that has all panels."""
    every = {"query": 'label_values(up{job="registry"}, instance)', "refId": "instances"}
    return {
        "title": "Registry",
        "uid": "drydock-registry",
        "schemaVersion": 38,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                {
                    "name": "instance",
                    "label": "Host",
                    "type": "query",
                    "datasource": {"type": "prometheus", "uid": "${source}"},
                    "query": every,
                    "refresh": 2,
                    "includeAll": True,
                    "multi": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": [panel(number, about) for number, about in enumerate(PANELS)],
    }


def test_the_dashboard_is_that_of_the_panels() -> None:
    """After a change of the panels, tests/unit/docs/write_dashboard writes it again."""
    assert json.loads((DOCS / "dashboard.json").read_text(encoding="utf-8")) == dashboard()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_leads_to_what_to_do(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook_url"].rpartition("/")[2].partition("#")
    assert (page, anchor) == ("monitoring.md", rule["alert"].lower())
    assert f"\n### {rule['alert']}\n" in GUIDE


def test_every_metric_that_is_asked_for_is_told_and_explained() -> None:
    asked = " ".join([rule["expr"] for rule in RULES] + [query for about in PANELS for query in about["queries"]])
    names = {re.sub("_bucket$", "", name) for name in re.findall(r"drydock_\w+", asked)}
    assert {name for name in names if name not in TOLD} == {"drydock_backup_seconds"}
    told = set(
        re.findall(
            r"\bdrydock_\w+(?:_total|_seconds|_bytes|_up|_running|_well|stored|_inodes|_connections|_in_flight)\b", TOLD
        )
    )
    assert {name for name in names | told if f"`{name}`" not in GUIDE} == set()
