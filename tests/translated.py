"""A template as CloudFormation gets it: by AWS's own translator of SAM."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

Resources = Mapping[str, Any]


def translated(path: Path) -> Resources:
    """The resources that CloudFormation gets from SAM for a template."""
    template = yaml_parse(path.read_text())
    for resource in template["Resources"].values():
        for name in ("CodeUri", "ContentUri"):
            if name in resource.get("Properties", {}):
                resource["Properties"][name] = "s3://bucket/uploaded"
    session = boto3.Session(region_name="eu-central-1")
    found: Resources = Translator({}, Parser(), boto_session=session).translate(template, {})["Resources"]
    return found
