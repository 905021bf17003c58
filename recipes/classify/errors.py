"""Three failures of a field report, each of which trains, or dies in a page of text, elsewhere.

Refusal (exit 1)
+-- StrayClass       a folder that a tool left behind would be one more class
+-- CountMismatch    places that say how many classes there are do not agree
+-- WeightsMisfit    weights of another network
"""

from __future__ import annotations

from camagent.errors import Refusal


class StrayClass(Refusal):
    """Whoever counts folders, as torchvision's ImageFolder does, counts this one."""

    code = "STRAY_CLASS"


class CountMismatch(Refusal):
    """The number of classes was set in one place and not in another."""

    code = "CLASS_COUNT_MISMATCH"


class WeightsMisfit(Refusal):
    """A layer's weights have another shape than the network's."""

    code = "WEIGHTS_MISFIT"
