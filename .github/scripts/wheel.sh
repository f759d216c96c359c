#!/usr/bin/env bash
# Build the wheel and its bill of materials into dist/, and see that a tag is v and the version of that wheel: wheel.sh TAG
set -euo pipefail
tag=${1:?wheel.sh TAG}

make venv .tools/audit/installed
.venv/bin/python docker/release/wheel.py dist
.tools/audit/bin/python docker/release/sbom.py package dist/mbo.cdx.json
wheels=(dist/*.whl)
if [ "${wheels[*]}" != "dist/mbo_books-${tag#v}-py3-none-any.whl" ] || [ "$tag" = "${tag#v}" ]; then
    echo "the tag $tag does not fit ${wheels[*]}" >&2
    exit 1
fi
