"""Pages of a small company: a home page, plain pages, a blog and events."""

from django.db import models
from wagtail.admin.panels import FieldPanel
from wagtail.fields import RichTextField
from wagtail.models import Page


class TextPage(Page):
    body = RichTextField(blank=True)
    content_panels = [*Page.content_panels, FieldPanel("body")]
    template = "home/text.html"


class IndexPage(Page):
    intro = models.TextField(blank=True)
    content_panels = [*Page.content_panels, FieldPanel("intro")]
    template = "home/index.html"

    def get_context(self, request):
        found = self.get_children().live().specific().order_by("-first_published_at")
        return {**super().get_context(request), "entries": found}
