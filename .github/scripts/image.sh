#!/usr/bin/env bash
# Build the image into an OCI archive, with a bill of materials and BuildKit's provenance in it: image.sh ARCHIVE
set -euo pipefail
archive=${1:?image.sh ARCHIVE}

docker buildx create --use --driver docker-container >/dev/null # Docker's own builder keeps no attestations
docker buildx build --file docker/Dockerfile --sbom=true --provenance=mode=max --output "type=oci,dest=$archive" .
