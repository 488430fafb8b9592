"""The work of `deploy`: a version that a review approved, onto its target."""

from flows.deployment import release_of
from flows.pipeline.session import current
from flows.pipeline.stage import Job, Outcome
from flows.stage_settings import Deploying
from infra.registry import Registry
from infra.targets.local import Target
from infra.targets.rollout import Limits
from llm.events import Noted


def work(job: Job, config: Deploying) -> Outcome:
    version = Registry(job.settings.tracking_uri).version(config.model)
    release = release_of(job.store, version, require_golden=config.rollout.require_golden)
    target = Target(
        job.settings,
        config.target,
        limits=Limits(config.rollout.start_seconds, config.rollout.drain_seconds),
        observe=lambda step: job.observe(Noted(step)),
    )
    why = config.reason.strip() or "no reason given"
    rolled = target.deploy(release, who=job.settings.user, why=why, wait=current().wait, again=config.again)
    return Outcome({}, rolled.document())
