"""Tables, 100 authors with 20 books each, and a reader."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "library.settings"
import django

django.setup()
from django.contrib.auth import get_user_model
from django.core.management import call_command

call_command("makemigrations", "library", verbosity=0)
call_command("migrate", verbosity=0)
from library.models import Author, Book

authors = Author.objects.bulk_create([Author(name=f"Author {n}") for n in range(100)])
Book.objects.bulk_create(
    Book(title=f"Book {n:04}", author=authors[n % 100], pages=100 + n % 400) for n in range(2000)
)
get_user_model().objects.create_user("reader", password="reader")
