"""Tables, a site of 46 pages, and an editor."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
import django

django.setup()
from django.contrib.auth import get_user_model
from django.core.management import call_command

call_command("makemigrations", "home", verbosity=0)
call_command("migrate", verbosity=0)
from mysite.home.models import IndexPage, TextPage
from wagtail.models import Page, Site

TEXT = "<p>" + "What we do, and why it is done this way. " * 20 + "</p>"
root = Page.get_first_root_node()
root.get_children().delete()
root = Page.get_first_root_node()
home = root.add_child(instance=IndexPage(title="Home", slug="home", intro="Welcome"))
Site.objects.all().delete()
Site.objects.create(hostname="localhost", root_page=home, is_default_site=True)
for name in ("About", "Contact", "Team", "Terms"):
    home.add_child(instance=TextPage(title=name, slug=name.lower(), body=TEXT))
for name, count in (("Blog", 30), ("Events", 10)):
    index = home.add_child(instance=IndexPage(title=name, slug=name.lower(), intro=name))
    for number in range(1, count + 1):
        index.add_child(instance=TextPage(title=f"{name} {number}", slug=f"no-{number}", body=TEXT))
get_user_model().objects.create_superuser("editor", "editor@example.org", "editor")
