"""The work of `review`: a person's decision, on record."""

from flows.decision import Action, Desk, decide
from flows.pipeline.stage import Job, Outcome
from flows.stage_settings import Reviewing


def work(job: Job, config: Reviewing) -> Outcome:
    action: Action = "approve" if config.decision == "approve" else "reject"
    decision = decide(Desk.of(job.settings, job.store), config.model, action, who=config.reviewer, why=config.reason)
    return Outcome({}, decision.document())
