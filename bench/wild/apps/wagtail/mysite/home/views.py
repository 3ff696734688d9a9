from django.template.response import TemplateResponse
from wagtail.models import Page


def search(request):
    query = request.GET.get("query")
    found = Page.objects.live().search(query) if query else Page.objects.none()
    return TemplateResponse(request, "home/search.html", {"query": query, "found": found})
