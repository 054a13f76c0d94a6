"""From a recipe to a zygote that serves: with the pool's tools loaded where that can be, tried out in any case.

It never hands out a zygote whose wall was not tried, and never one that hides less than what has to be hidden now.
"""

from __future__ import annotations

import logging

from workers.sandbox.generation import Recipe, Zygote, ZygoteBrokenError
from workers.sandbox.probe import probe, refusal
from workers.sandbox.visible import Covering, View

_log = logging.getLogger(__name__)


class Starter:
    """Starts the zygotes of one pool, one after the other."""

    def __init__(self, recipe: Recipe, view: View) -> None:
        self._recipe = recipe
        self._view = view
        self._covering: Covering | None = None
        self._cold = ""
        self._told = False

    def tell(self) -> None:
        """Say once, in the worker's log, why tools are loaded by each call; nothing where they are not.

        Asked for when the tools were read: where they cannot be read at all, the worker's refusal says why.
        """
        if self._cold and not self._told:
            self._told = True
            _log.warning("tools are loaded anew for each call, which is slow: %s", self._cold)

    def is_stale(self) -> bool:
        """Whether files that tools must not see have come or gone since the last start."""
        return self._covering is not None and self._covering.changed()

    def start(self) -> Zygote:
        """A zygote whose wall was tried out; raises `SandboxUnavailableError` in the machine's own words."""
        covering = Covering(self._view)
        try:
            zygote = self._loaded()
        except ZygoteBrokenError as error:
            raise refusal(str(error), self._recipe.launcher.words) from error
        try:
            probe(zygote.order, self._recipe.level)
        except ZygoteBrokenError as error:
            zygote.close()
            raise refusal(str(error), self._recipe.launcher.words) from error
        except BaseException:
            zygote.close()
            raise
        self._covering = covering
        return zygote

    def _loaded(self) -> Zygote:
        """With the tools loaded, or without if they cannot be loaded where forks are made from."""
        if not self._cold:
            try:
                zygote = Zygote(self._recipe)
            except ZygoteBrokenError as error:
                # Whether the tools or the wall are to blame shows when it is tried without them.
                zygote = Zygote(self._recipe, cold=str(error))
                self._cold = str(error)
            if not zygote.cold:
                return zygote
            if not self._cold:
                zygote.close()
                self._cold = zygote.cold
            if zygote.lives():
                return zygote
        return Zygote(self._recipe, cold=self._cold)
