"""The pages of the shop."""

from django.contrib.auth.views import LoginView
from django.urls import path

from examples.shop import views

urlpatterns = [
    path("", views.home, name="home"),
    path("category/<slug:slug>/", views.category, name="category"),
    path("product/<int:pk>/", views.product, name="product"),
    path("search/", views.search, name="search"),
    path("api/product/<int:pk>/", views.product_json, name="product-json"),
    path("delivery/<int:pk>/", views.delivery, name="delivery"),
    path("bestsellers/", views.bestsellers, name="bestsellers"),
    path("order/", views.order, name="order"),
    path("account/", views.account, name="account"),
    path("login/", LoginView.as_view(template_name="shop/login.html"), name="login"),
]
