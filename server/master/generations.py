"""The generations of code: which serves, which is on its way, and what becomes of each.

There are two at most. One that comes has to show a worker that is ready before it takes the other's
place; until then it can be given up, and what serves is untouched.
"""

from __future__ import annotations

import math

from pretune.server.clock import Clock
from pretune.server.config.config import Config
from pretune.server.master import forking, worker_count
from pretune.server.master.child import Generation, Worker
from pretune.server.master.children import Children
from pretune.server.process.log import Log

STALE = 5.0  # s; code that has not booted after so long gives way to a newer reload


class Generations:
    """The first is on its way from the beginning."""

    def __init__(self, config: Config, children: Children, log: Log) -> None:
        self.coming: Generation | None = Generation(1, config)  # no worker of it was ready yet
        self.serving: Generation | None = None
        self._children = children
        self._log = log
        self._unforkable = 0.0  # until when no fork is tried again

    @property
    def current(self) -> Generation:
        """The generation that gets new workers."""
        generation = self.coming or self.serving
        assert generation is not None
        return generation

    # -- the succession

    def begin(self, generation: Generation) -> None:
        """Have it come; an earlier one that was only coming is given up for it."""
        self.abandon_coming()
        self.coming = generation

    def reload(self, config: Config) -> None:
        """Have the code that lies there now come, with this configuration."""
        self.begin(Generation(self.current.number + 1, config, reloaded=True))

    def abandon_coming(self) -> None:
        """Give up what is on its way, if anything is."""
        generation, self.coming = self.coming, None
        if generation is None:
            return
        for each in self._children:
            if each.generation is generation:
                patience = generation.config.settings.graceful_timeout
                self._children.order_to_leave(each, "stop", "retire", patience)
        if generation.zygote is not None:
            generation.zygote.stop()

    def prove(self, generation: Generation) -> bool:
        """Note that its first worker is ready; whether it has taken the place of what served."""
        generation.proven = True
        if generation is not self.coming:
            return False
        before, self.serving, self.coming = self.serving, generation, None
        if before is not None and before.zygote is not None:
            before.zygote.stop()
        return True

    def revive(self, served: float) -> None:
        """If what serves has lost its zygote, have the same code come from a new one.

        Its workers serve on until new ones are ready. ``served``: s the zygote had lived.
        """
        serving = self.serving
        if serving is None or serving.zygote is None or self.coming is not None:
            return
        if serving.zygote.gone and not serving.zygote.stopping:
            self.load_again(served)

    def load_again(self, served: float) -> None:
        """Have the same code come from a new zygote: the current one's is gone."""
        before, now, living = self.current, Clock.monotonic(), self.count_living()
        backoff = before.backoff = before.backoff.died(served, now, others=living)
        self._log.error(f"the app is loaded again: {backoff.plan(living, now)}")
        self.begin(Generation(before.number + 1, before.config, backoff=backoff))

    def may_reload(self, now: float) -> bool:
        """Return whether a reload may begin: one under way goes first, unless it fails."""
        if self.coming is None:
            return True
        if self.serving is None:
            return False  # the first workers are still coming
        if not self.coming.begun:
            return True  # it waits for its turn after a crash
        mine = [each for each in self._children if each.generation is self.coming]
        return bool(mine) and now > mine[0].born + STALE

    # -- their workers

    def spawn(self, count: int, now: float) -> bool:
        """Fork so many workers of the current one, or its zygote first; whether it was time to."""
        generation = self.current
        if now < max(generation.backoff.not_before, self._unforkable):
            return False
        try:
            if not generation.begun:
                self._children.start_zygote(generation)
            if generation.zygote is None or generation.zygote.loaded:
                for _ in range(count):
                    self._children.spawn(generation)
        except (OSError, OverflowError) as error:
            self._unforkable = now + 1.0
            why = forking.explain(error)
            self._log.error(f"no process can be forked, trying again in 1 s: {why}")
        return True

    def next_attempt(self, now: float) -> float:
        """When a worker could next be forked that could not be so far, monotonic s."""
        times = [self.current.backoff.not_before, self._unforkable]
        # Another may wait for one that leaves to be gone.
        times += [w.ordered_at + worker_count.GONE_SOON for w in self._children if w.ordered]
        return min((each for each in times if each > now), default=math.inf)

    def recyclable(self) -> list[Worker]:
        """Workers that could be recycled."""
        current = self.current
        return [each for each in self._children if each.serving and each.generation is current]

    def count_living(self) -> int:
        """Count the workers that serve or will."""
        return sum(each.ordered is None for each in self._children)

    def posts(self, now: float) -> list[worker_count.Post]:
        """The workers as ``worker_count`` sees them."""
        current = self.current
        return [
            worker_count.Post(
                each.ticket,
                each.generation is current,
                each.ready,
                None if each.ordered is None else now - each.ordered_at,
                each.asks_at if each.asks is not None else None,
            )
            for each in self._children
        ]
