"""`mbo bench`: how fast each part is, with what it is measured against beside it.

Every run is seeded and warm, ends in a digest that is known, and reports the median and the spread of several. Ratios are of the
same records; absolute figures are worth what the machine is.
"""

from typing import Final

SUITES: Final = ("core", "mbp", "files", "live", "store", "serve", "dashboard", "scale")
"""What `mbo bench all` goes through, each a module with a function of its name that gives rows; `haul` is beside them."""
