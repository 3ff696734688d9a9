"""The views. Each stands for one kind of work: joins, a scan, a transaction, a wait, computing."""

import json
from urllib.request import urlopen

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Avg, Count, F, Q, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from examples.shop import advice
from examples.shop.models import Category, Customer, Order, OrderLine, Product

PER_PAGE = 24
UPSTREAM_TIMEOUT_S = 5
MAX_LINES = 20


def _listing(request: HttpRequest, products: QuerySet[Product], title: str) -> HttpResponse:
    page = Paginator(products.select_related("category"), PER_PAGE).get_page(
        request.GET.get("page")
    )
    context = {"title": title, "page": page, "categories": Category.objects.all()}
    return render(request, "shop/listing.html", context)


def home(request: HttpRequest) -> HttpResponse:
    return _listing(request, Product.objects.all(), "All products")


def category(request: HttpRequest, slug: str) -> HttpResponse:
    chosen = get_object_or_404(Category, slug=slug)
    return _listing(request, Product.objects.filter(category=chosen), chosen.name)


def search(request: HttpRequest) -> HttpResponse:
    """A scan of all products: no index serves a pattern that begins with a wildcard."""
    words = request.GET.get("q", "lamp")[:100]
    match = Q(name__icontains=words) | Q(description__icontains=words)
    return _listing(request, Product.objects.filter(match), f"Products with “{words}”")


def product(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Product.objects.select_related("category"), pk=pk)
    context = {
        "product": found,
        "opinion": found.reviews.aggregate(stars=Avg("stars"), count=Count("pk")),
        "reviews": found.reviews.select_related("customer")[:20],
        "related": found.category.products.exclude(pk=pk)[:6],
    }
    return render(request, "shop/product.html", context)


def product_json(request: HttpRequest, pk: int) -> JsonResponse:
    found = get_object_or_404(
        Product.objects.select_related("category").annotate(stars=Avg("reviews__stars")), pk=pk
    )
    return JsonResponse(
        {
            "id": found.pk,
            "name": found.name,
            "category": found.category.name,
            "price": str(found.price),
            "stock": found.stock,
            "stars": found.stars,
        }
    )


def delivery(request: HttpRequest, pk: int) -> JsonResponse:
    """Ask the carrier, and hold a worker's thread and its database connection meanwhile."""
    found = get_object_or_404(Product, pk=pk)
    with urlopen(f"{settings.UPSTREAM_URL}/quote/{found.pk}", timeout=UPSTREAM_TIMEOUT_S) as answer:
        quote = json.load(answer)
    return JsonResponse({"product": found.name, "days": quote["days"], "price": quote["price"]})


def bestsellers(request: HttpRequest) -> HttpResponse:
    """What is bought together, computed from the latest orders in Python."""
    latest = Order.objects.values("pk")[: advice.ORDERS]
    baskets = OrderLine.objects.filter(order__in=latest).values_list("order_id", "product_id")
    pairs = advice.bought_together(baskets)
    names = Product.objects.in_bulk({pk for pair in pairs for pk in pair.products})
    rows = [(pair, [names[pk] for pk in pair.products]) for pair in pairs]
    return render(request, "shop/bestsellers.html", {"rows": rows})


@csrf_exempt
@require_POST
def order(request: HttpRequest) -> JsonResponse:
    """Place `{"customer": 1, "lines": [{"product": 1, "quantity": 2}]}` if all is in stock."""
    try:
        wanted = json.loads(request.body)
        quantities = {int(line["product"]): int(line["quantity"]) for line in wanted["lines"]}
        customer = int(wanted["customer"])
    except (ValueError, TypeError, KeyError) as error:
        return JsonResponse({"error": f"not an order: {error!r}"}, status=400)
    if not 0 < len(quantities) <= MAX_LINES or min(quantities.values()) < 1:
        return JsonResponse({"error": "an order has 1 to 20 lines of at least 1"}, status=400)
    buyer = get_object_or_404(Customer, pk=customer)
    with transaction.atomic():
        # In the order of their keys, lest two orders lock each other out.
        stock = Product.objects.select_for_update().order_by("pk").in_bulk(quantities)
        short = [pk for pk, n in quantities.items() if pk not in stock or stock[pk].stock < n]
        if short:
            return JsonResponse({"error": "not in stock", "products": short}, status=409)
        placed = Order.objects.create(customer=buyer, placed=timezone.now())
        OrderLine.objects.bulk_create(
            OrderLine(order=placed, product=stock[pk], quantity=n, price=stock[pk].price)
            for pk, n in quantities.items()
        )
        for pk, n in quantities.items():
            Product.objects.filter(pk=pk).update(stock=F("stock") - n)
    return JsonResponse({"order": placed.pk}, status=201)


@login_required
def account(request: HttpRequest) -> HttpResponse:
    orders = Order.objects.filter(customer__user=request.user).prefetch_related("lines__product")
    return render(request, "shop/account.html", {"orders": orders[:20]})
