#!/usr/bin/env bash
# Push an archive as it is to the registry of the repository and sign its digest, by the workflow's own identity: push.sh ARCHIVE TAG
#
# REGISTRY_TOKEN lets in; name and digest go to GITHUB_OUTPUT.
set -euo pipefail
archive=${1:?push.sh ARCHIVE TAG} tag=${2:?push.sh ARCHIVE TAG}
name=ghcr.io/${GITHUB_REPOSITORY,,}

docker login ghcr.io --username "$GITHUB_ACTOR" --password-stdin <<<"$REGISTRY_TOKEN"
skopeo copy --all --preserve-digests --digestfile digest "oci-archive:$archive" "docker://$name:$tag"
digest=$(<digest)
[[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || {
    echo "skopeo says that the digest is '$digest'" >&2
    exit 1
}
cosign sign --yes "$name@$digest"
printf 'name=%s\ndigest=%s\n' "$name" "$digest" >>"$GITHUB_OUTPUT"
