"""The mix that is assumed where nobody names one."""

import pytest

from pretune.loadtests.shares import DOWNLOAD, PAGE, SITE, describe_shares, share
from pretune.loadtests.workload import Endpoint

HALF_SITE, HALF_DOWNLOADS = "a site's pages no less than half", "downloads no more than half"


@pytest.mark.parametrize(
    ("kinds", "parts", "said"),
    [
        ({PAGE: 4}, {PAGE: 1.0}, ()),
        ({DOWNLOAD: 3}, {DOWNLOAD: 1.0}, ()),
        ({PAGE: 3, DOWNLOAD: 1}, {PAGE: 0.75, DOWNLOAD: 0.25}, ()),
        ({PAGE: 1, DOWNLOAD: 3}, {PAGE: 0.5, DOWNLOAD: 0.5}, (HALF_DOWNLOADS,)),
        ({PAGE: 9, SITE: 1}, {PAGE: 0.5, SITE: 0.5}, (HALF_SITE,)),
        ({PAGE: 1, SITE: 3}, {PAGE: 0.25, SITE: 0.75}, ()),
        ({SITE: 2, DOWNLOAD: 6}, {SITE: 0.5, DOWNLOAD: 0.5}, (HALF_DOWNLOADS,)),
        (
            {PAGE: 3, SITE: 1, DOWNLOAD: 8},
            {PAGE: 0.25, SITE: 0.25, DOWNLOAD: 0.5},
            (HALF_SITE, HALF_DOWNLOADS),
        ),
        ({PAGE: 7, SITE: 1, DOWNLOAD: 2}, {PAGE: 0.4, SITE: 0.4, DOWNLOAD: 0.2}, (HALF_SITE,)),
    ],
)
def test_pages_go_before_downloads_and_the_sites_before_others(kinds, parts, said):
    offered = [
        (Endpoint(f"/{kind}/{n}", (f"/{kind}/{n}",), 1.0), kind)
        for kind, count in kinds.items()
        for n in range(count)
    ]
    shared = share(offered)
    for kind, part in parts.items():
        own = [each.share for each in shared if each.name.startswith(f"/{kind}/")]
        assert sum(own) == pytest.approx(part)
        assert max(own) == pytest.approx(min(own))
    assert sum(each.share for each in shared) == pytest.approx(1.0)
    text = describe_shares(offered)
    assert text.startswith(f"equal shares of {len(offered)} route")
    assert [each for each in (HALF_SITE, HALF_DOWNLOADS) if each in text] == list(said)


def test_nothing_has_no_shares():
    assert share([]) == ()
    assert describe_shares([]) == "equal shares of 0 routes"
