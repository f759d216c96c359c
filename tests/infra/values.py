"""What an account has, for the tests: the values of a root's variables."""

from __future__ import annotations

import json
from pathlib import Path

ACCOUNT = "123456789012"
REGION = "eu-west-1"
VALUES = {
    "account_id": ACCOUNT,
    "region": REGION,
    "zones": [f"{REGION}a", f"{REGION}b"],
    "image": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/mbo@sha256:{'a' * 64}",
    "allowed_cidrs": ["203.0.113.0/24"],
    "certificate_arn": f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/none",
    "api_host": "api.example.com",
    "dashboard_host": "books.example.com",
    "access_logs_bucket": "access-logs",
    "store": "https://mbo@clickhouse.example.com:8443/mbo",
    "store_cidrs": ["10.60.0.0/24"],
    "api_keys_secret_arn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:mbo/api-keys-AbCdEf",
    "gateway_key_secret_arn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:mbo/gateway-key-AbCdEf",
    "store_password_secret_arn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:mbo/store-password-AbCdEf",
    "secrets_kms_key_arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555",
}


def write(root: Path, **changed: str) -> None:
    """Write them where Terraform finds them."""
    (root / "terraform.tfvars.json").write_text(json.dumps(VALUES | changed))
