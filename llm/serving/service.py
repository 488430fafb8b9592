"""A package behind an engine, and the truth about its health."""

from dataclasses import dataclass, field
from queue import SimpleQueue

from infra.store.errors import SlipwayError
from llm.serving.engine import Delivery, Engine, Failed
from llm.serving.package import Package
from llm.serving.work import Event


@dataclass
class Service:
    """`ready` turns true when a real work has come through."""

    package: Package
    engine: Engine
    ready: bool = field(default=False, init=False)

    def probe(self) -> None:
        """Sends the smallest real work through the queue. Raises what the model raised."""
        deliveries: SimpleQueue[Delivery] = SimpleQueue()
        self.engine.submit(self.package.probe(), deliveries.put)
        while isinstance(delivery := deliveries.get(), Event):
            pass
        if isinstance(delivery, Failed):
            raise delivery.error
        self.ready = True

    def sickness(self) -> SlipwayError | None:
        """Why no request should be sent here; None when it is well. A model that broke once is not trusted again."""
        if self.engine.broken:
            return self.engine.broken
        if self.engine.draining:
            return SlipwayError("the server is ending")
        return None if self.ready else SlipwayError("the model has not answered yet")
