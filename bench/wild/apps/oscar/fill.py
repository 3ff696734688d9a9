"""Tables, a country, six categories with ten products in stock each, and a customer."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "frobshop.settings"
import django

django.setup()
from django.core.management import call_command

call_command("migrate", verbosity=0)
from django.contrib.auth import get_user_model
from oscar.apps.catalogue.categories import create_from_breadcrumbs
from oscar.apps.catalogue.models import Product, ProductCategory, ProductClass
from oscar.apps.partner.models import Partner, StockRecord

kind = ProductClass.objects.create(name="Thing")
partner = Partner.objects.create(name="Maker")
for number in range(6):
    category = create_from_breadcrumbs(f"Category {number}")
    for each in range(10):
        product = Product.objects.create(
            title=f"Product {number}-{each}",
            upc=f"{number}-{each}",
            product_class=kind,
            description="What it is good for. " * 20,
        )
        ProductCategory.objects.create(product=product, category=category)
        StockRecord.objects.create(
            product=product, partner=partner, partner_sku=product.upc, price=9, num_in_stock=100
        )
get_user_model().objects.create_user("customer", "customer@example.org", "customer")
