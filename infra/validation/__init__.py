"""Data validation: suites of expectations that Great Expectations judges by two small tables, a profile and a sample of rows."""

from infra.validation.drift import drift
from infra.validation.gate import Expected, validate
from infra.validation.masking import excerpt, mask
from infra.validation.own import Own, expectation, gx_expectation
from infra.validation.report import Judgement, NotJudged, Report, summary
from infra.validation.suites import DEFAULTS, KINDS, Kind
from infra.validation.waivers import Waiver
from infra.validation.written import Subject, document_of, write_report

__all__ = [
    "DEFAULTS",
    "KINDS",
    "Expected",
    "Judgement",
    "Kind",
    "NotJudged",
    "Own",
    "Report",
    "Subject",
    "Waiver",
    "document_of",
    "drift",
    "excerpt",
    "expectation",
    "gx_expectation",
    "mask",
    "summary",
    "validate",
    "write_report",
]
