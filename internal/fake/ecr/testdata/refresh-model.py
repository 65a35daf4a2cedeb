#!/usr/bin/env python3
"""Cuts the operations this fake knows out of the ECR service model that botocore carries, without its documentation.

Run it in this directory with botocore installed (pip install botocore); it rewrites ecr-2015-09-21.json.
"""
import gzip
import json
import os

import botocore

OPERATIONS = [
    "BatchDeleteImage",
    "BatchGetImage",
    "DescribeImages",
    "DescribeRepositories",
    "GetAuthorizationToken",
    "GetLifecyclePolicy",
    "ListImages",
    "PutImage",
]
TEXT = {"documentation", "documentationUrl", "deprecatedMessage"}


def load():
    path = os.path.join(os.path.dirname(botocore.__file__), "data", "ecr", "2015-09-21", "service-2.json")
    if os.path.exists(path):
        return json.load(open(path, encoding="utf-8"))
    return json.load(gzip.open(path + ".gz"))


def strip(value):
    if isinstance(value, dict):
        # A member may itself be called "documentation"; that one is a dict.
        return {k: strip(v) for k, v in value.items() if not (k in TEXT and isinstance(v, str))}
    if isinstance(value, list):
        return [strip(v) for v in value]
    return value


def main():
    model = strip(load())
    operations = {name: model["operations"][name] for name in OPERATIONS}
    shapes = {}

    def collect(value):
        if isinstance(value, dict):
            name = value.get("shape")
            if isinstance(name, str) and name not in shapes:
                shapes[name] = model["shapes"][name]
                collect(shapes[name])
            for v in value.values():
                collect(v)
        elif isinstance(value, list):
            for v in value:
                collect(v)

    collect(operations)
    out = {
        "notice": "Part of the Amazon ECR service model of botocore " + botocore.__version__ +
                  ", without documentation. Copyright Amazon.com, Inc. or its affiliates. Apache License 2.0; see NOTICE.",
        "metadata": model["metadata"],
        "operations": operations,
        "shapes": shapes,
    }
    with open("ecr-2015-09-21.json", "w", encoding="utf-8") as f:
        json.dump(out, f, indent=1, sort_keys=True)
        f.write("\n")


main()
