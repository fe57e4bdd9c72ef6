"""Whether a line is a document of CloudWatch's embedded metric format, and which metrics it makes.

The rules are those of the specification, its musts:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
from functools import cache
from typing import Any

import botocore.session
from jsonschema import Draft202012Validator

_NAME = {"type": "string", "minLength": 1, "maxLength": 255}
LARGEST = 256 * 1024
"""Bytes of a document: the older of the two limits in the specification's history, 256 KB and 1 MB."""


@cache
def _schema() -> Draft202012Validator:
    """The part of the specification that a schema can say; units are those of CloudWatch's own model in botocore."""
    units: Any = botocore.session.get_session().get_service_model("cloudwatch").shape_for("StandardUnit")
    metric = {
        "type": "object",
        "required": ["Name"],
        "additionalProperties": False,
        "properties": {
            "Name": _NAME,
            "Unit": {"enum": units.enum},
            "StorageResolution": {"enum": [1, 60]},
        },
    }
    directive = {
        "type": "object",
        "required": ["Namespace", "Dimensions", "Metrics"],
        "additionalProperties": False,
        "properties": {
            "Namespace": _NAME,
            "Dimensions": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "array", "maxItems": 9, "uniqueItems": True, "items": _NAME},
            },
            "Metrics": {"type": "array", "minItems": 1, "maxItems": 100, "items": metric},
        },
    }
    metadata = {
        "type": "object",
        "required": ["Timestamp", "CloudWatchMetrics"],
        "properties": {
            "Timestamp": {"type": "integer", "minimum": 0},
            "CloudWatchMetrics": {"type": "array", "minItems": 1, "items": directive},
        },
    }
    return Draft202012Validator({"type": "object", "required": ["_aws"], "properties": {"_aws": metadata}})


def faults(line: str) -> list[str]:
    """What CloudWatch would refuse in a line; empty for a document that it accepts."""
    found = [] if len(line.encode()) <= LARGEST else [f"{len(line.encode())} bytes"]
    document = json.loads(line)
    found += [error.message for error in _schema().iter_errors(document)]
    return found or _missing_targets(document)


def metrics(document: dict[str, Any]) -> set[tuple[str, str, tuple[tuple[str, str], ...]]]:
    """Namespace, name and dimensions of each metric of a document."""
    return {
        (directive["Namespace"], metric["Name"], tuple(sorted((key, document[key]) for key in keys)))
        for directive in document["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
        for keys in directive["Dimensions"]
    }


def _missing_targets(document: dict[str, Any]) -> list[str]:
    """Names in the metadata are members of the root: of a metric numbers or a number, of a dimension a string."""
    found = []
    for directive in document["_aws"]["CloudWatchMetrics"]:
        for key in {key for keys in directive["Dimensions"] for key in keys}:
            if not isinstance(document.get(key), str) or not 1 <= len(document[key]) <= 1024:
                found.append(f"the dimension {key} is {document.get(key)!r}")
        for metric in directive["Metrics"]:
            target = document.get(metric["Name"])
            values = target if isinstance(target, list) else [target]
            numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
            if not values or numbers != values or len(values) > 100:
                found.append(f"the metric {metric['Name']} is {target!r}")
    return found
