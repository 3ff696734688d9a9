"""Shares of a mix that nobody has named: equal, within what each kind of page may be of all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from pretune.loadtests.workload import Endpoint

# An endpoint, its share still a weight, and what it is: SITE where one route answers many pages.
PAGE, SITE, DOWNLOAD = "page", "site", "download"
Offered = tuple[Endpoint, str]


def share(offered: Sequence[Offered]) -> tuple[Endpoint, ...]:
    """Shares by weight, within what each kind of page may be of all."""
    parts = _divide(offered)
    weights = _weigh(offered)
    return tuple(
        replace(each, share=parts[kind] * each.share / weights[kind]) for each, kind in offered
    )


def _weigh(offered: Sequence[Offered]) -> dict[str, float]:
    """The weight of each kind, of those that there are."""
    weights: dict[str, float] = defaultdict(float)
    for each, kind in offered:
        weights[kind] += each.share
    return weights


def _divide(offered: Sequence[Offered]) -> dict[str, float]:
    """The part of each kind in the mix: by weight, but where there are pages no more than half for
    downloads, and of the pages no less than half for those of the site.

    An application of one site has its pages behind one route, and beside it many for editing,
    searching and settings, which few visitors ask for.
    """
    weights = _weigh(offered)
    downloads, site, pages = (weights.get(kind, 0.0) for kind in (DOWNLOAD, SITE, PAGE))
    whole = downloads + site + pages
    if not whole:
        return {}
    of_downloads = downloads / whole if not site + pages else min(0.5, downloads / whole)
    of_site = 0.0 if not site else max(0.5, site / (site + pages)) if pages else 1.0
    rest = 1 - of_downloads
    return {DOWNLOAD: of_downloads, SITE: rest * of_site, PAGE: rest * (1 - of_site)}


def describe_shares(offered: Sequence[Offered]) -> str:
    """Say what is assumed of the shares."""
    count = len(offered)
    text = f"equal shares of {count} route{'s' * (count != 1)}"
    if any(each.share != 1 for each, _ in offered):
        text += ", a site's folders by their number of pages"
    weights = _weigh(offered)
    downloads, site, pages = (weights.get(kind, 0.0) for kind in (DOWNLOAD, SITE, PAGE))
    if 0 < site < pages:
        text += ", a site's pages no less than half of all pages"
    if 0 < site + pages < downloads:
        text += ", downloads no more than half of all"
    return text
