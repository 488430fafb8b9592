"""What a change of a target would do, step by step, with the commands it would run. Starts nothing and changes nothing."""

import shlex
from dataclasses import dataclass

from infra.store.liveness import is_alive
from infra.targets import haproxy
from infra.targets.local import Target
from infra.targets.record import Release
from infra.targets.server import serving


@dataclass(frozen=True)
class Step:
    """One step in words, and its commands: a shell's, or the runtime socket's."""

    what: str
    commands: tuple[str, ...] = ()


def steps(target: Target, action: str, release: Release) -> list[Step]:
    """The steps of a `deploy` or `rollback` to this version, from where the target stands now."""
    known = target.record()
    server = known.server
    works = server is not None and is_alive(server.process)
    if action == "deploy" and release.same(known.release) and works and target.serves() == release.package:
        return [Step(f"nothing: {release.model} serves on {known.url} already")]
    new = next(slot for slot in haproxy.SLOTS if slot != known.active)
    argv = shlex.join(serving(release, 0, target.limits.drain_seconds)).replace("--port 0", "--port PORT")
    found = [Step(f"check every file of package {release.package}", (f"sha256 of {release.folder}",))]
    if known.rollout:
        found.insert(0, Step(f"finish or clear away the interrupted {known.rollout.action} of {known.rollout.release.model}"))
    if known.proxy is None or not is_alive(known.proxy):
        where = f"port {known.port}" if known.port else "the first free port from 8080 on"
        found.append(Step(f"start HAProxy on {where}", (shlex.join(haproxy.command(str(target.folder / "haproxy.cfg"))),)))
    beside = f"beside {known.release.model}" if known.release and works else "in the free slot"
    found += [
        Step(f"start {release.model} {beside}, on a free port", (argv,)),
        Step("wait for /health, and for /version to name this very package"),
        Step(f"ask for its golden answers ({len(release.golden)}), and stop here unless each is as it was at the evaluation"),
    ]
    switch = haproxy.point(new, 0)
    switch[0] = switch[0].replace("port 0", "port PORT")
    if known.active:
        switch += haproxy.drain(known.active)
    found += [
        Step("switch over: the new server gets requests, the old one no more", tuple(switch)),
        Step(f"write the {action} into the ledger"),
    ]
    if known.active and server and works:
        end = (f"kill -TERM {server.process.pid}", *haproxy.retire(known.active))
        found.append(Step("wait until the old server has ended its requests, then end it", end))
    return found
