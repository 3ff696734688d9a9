"""Only what a chart needs passes into the page."""

from __future__ import annotations

import pytest

from pretune.reports import svg

OPEN = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'


def test_a_chart_passes():
    text = svg.sanitised(
        OPEN + '<g transform="translate(0.123456,2)"><path d="M0,0.33333L5,1" fill="#123456"/>'
        "<text>a &lt;b&gt;</text></g></svg>",
        prefix="p",
        label='of "x" & <y>',
    )
    assert 'role="img"' in text
    assert "aria-label='of \"x\" &amp; &lt;y&gt;'" in text
    assert '<g transform="translate(0.12,2)"><path d="M0,0.33L5,1" fill="#123456"/>' in text
    assert "<text>a &lt;b&gt;</text>" in text


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        "<style>@import 'http://evil'</style>",
        "<foreignObject><b>x</b></foreignObject>",
        '<image href="http://evil/x.png"/>',
        '<a xlink:href="javascript:alert(1)"><text>x</text></a>',
        '<use href="#x"/>',
        '<path d="M0" onclick="alert(1)"/>',
        '<path d="M0" style="fill:url(http://evil)"/>',
        '<path d="M0" fill="url(http://evil)"/>',
        '<path d="M0" clip-path="url(http://evil#clip0)"/>',
        '<g id="x y"/>',
    ],
)
def test_anything_else_is_dropped(inside):
    text = svg.sanitised(f"{OPEN}{inside}</svg>", prefix="p", label="chart")
    for word in ("script", "evil", "alert", "style", "href", "<use", "foreign", "id="):
        assert word not in text


def test_ids_of_two_charts_do_not_meet():
    text = svg.sanitised(
        OPEN + '<defs><clipPath id="clip0"><path d="M1,1"/></clipPath></defs>'
        '<g clip-path="url(#clip0)"/></svg>',
        prefix="demand",
        label="",
    )
    assert 'id="demand-clip0"' in text
    assert 'clip-path="url(#demand-clip0)"' in text


@pytest.mark.parametrize("text", ["", "<svg", "<html/>", "nothing"])
def test_what_is_no_chart_is_refused(text):
    with pytest.raises(svg.NotAChart):
        svg.sanitised(text, prefix="p", label="")
