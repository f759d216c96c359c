"""Verification: every rule how often it was checked and held, every exception classified, and fills as witnesses of priority."""

from __future__ import annotations

from mbo.verification.checker import Checker, verify
from mbo.verification.report import Fills, Finding, Outcome, Power, Report
from mbo.verification.rules import CLASSES, RULES, WRONG_RULES, Rule

__all__ = [
    "CLASSES", "RULES", "WRONG_RULES", "Checker", "Fills", "Finding", "Outcome", "Power", "Report", "Rule", "verify",
]  # fmt: skip
