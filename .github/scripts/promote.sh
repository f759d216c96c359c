#!/usr/bin/env bash
# Bring an image that a release signed into an environment: promote.sh dev|staging|prod sha256:DIGEST
#
# The environment's variables say where: REPOSITORY, its own in ECR; BACKEND and TFVARS, what Terraform's backend and root need.
set -euo pipefail
environment=${1:?promote.sh ENVIRONMENT DIGEST} digest=${2:?promote.sh ENVIRONMENT DIGEST}

fail() {
    echo "promote: $*" >&2
    exit 1
}

case $environment in
dev | staging | prod) ;;
*) fail "there is no environment $environment" ;;
esac
[[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || fail "'$digest' is no digest: an image is named by sha256: and 64 digits"
for name in REPOSITORY BACKEND TFVARS; do
    [ -n "${!name:-}" ] || fail "the environment $environment has no variable ${name/#REPOSITORY/ECR_REPOSITORY}"
done

# GitHub asks for approval only where the environment says so: one that was made without would let everything through.
if [ "$environment" != dev ]; then
    rules=$(gh api "repos/$GITHUB_REPOSITORY/environments/$environment" --jq '.protection_rules[].type')
    grep -qx required_reviewers <<<"$rules" || fail "nobody has to approve $environment: give the environment required reviewers"
fi

released=ghcr.io/${GITHUB_REPOSITORY,,}
signed() {
    cosign verify "$1@$digest" --certificate-oidc-issuer https://token.actions.githubusercontent.com \
        --certificate-identity-regexp "^https://github\.com/$GITHUB_REPOSITORY/\.github/workflows/release\.yml@refs/tags/v" >/dev/null
}
docker login ghcr.io --username "$GITHUB_ACTOR" --password-stdin <<<"$GH_TOKEN"
signed "$released" || fail "no release signed $digest"
aws ecr get-login-password | docker login "${REPOSITORY%%/*}" --username AWS --password-stdin
if ! signed "$REPOSITORY"; then # else it was here before
    cosign copy "$released@$digest" "$REPOSITORY:${digest#sha256:}"
    signed "$REPOSITORY" || fail "$REPOSITORY did not get $digest as it was signed"
fi

root=docker/terraform/$environment
printf '%s\n' "$BACKEND" >"$root/backend.hcl"
printf '%s\n' "$TFVARS" >"$root/terraform.tfvars"
terraform -chdir="$root" init -input=false -backend-config=backend.hcl
terraform -chdir="$root" plan -input=false -out=plan -var="image=$REPOSITORY@$digest"
terraform -chdir="$root" apply -input=false plan
aws ecs wait services-stable --cluster "mbo-$environment" --services gateway api dashboard
