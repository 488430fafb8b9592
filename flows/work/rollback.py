"""The work of `rollback`."""

from flows.pipeline.session import current
from flows.pipeline.stage import Job, Outcome
from flows.stage_settings import RollingBack
from infra.targets.local import Target
from llm.events import Noted


def work(job: Job, config: RollingBack) -> Outcome:
    target = Target(job.settings, config.target, observe=lambda step: job.observe(Noted(step)))
    why = config.reason.strip() or "no reason given"
    return Outcome({}, target.rollback(who=job.settings.user, why=why, wait=current().wait).document())
