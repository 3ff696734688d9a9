"""An API without a page at its root; one part asks for a password."""

from django.db.models import Avg, Count
from django.urls import include, path
from rest_framework import permissions, routers, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.response import Response
from rest_framework.views import APIView

from library.models import Author, Book


class AuthorData(serializers.ModelSerializer):
    class Meta:
        model = Author
        fields = ("id", "name")


class BookData(serializers.ModelSerializer):
    author = AuthorData()

    class Meta:
        model = Book
        fields = ("id", "title", "pages", "author")


class Authors(viewsets.ModelViewSet):
    queryset = Author.objects.order_by("name")
    serializer_class = AuthorData

    @action(detail=True)
    def books(self, request, pk):
        found = Book.objects.filter(author_id=pk).select_related("author")
        return Response(BookData(found, many=True).data)


class Books(viewsets.ReadOnlyModelViewSet):
    queryset = Book.objects.select_related("author").order_by("title")
    serializer_class = BookData


class Totals(APIView):
    def get(self, request):
        return Response(Book.objects.aggregate(Count("id"), Avg("pages")))


class Loans(APIView):
    permission_classes = (permissions.IsAuthenticated,)

    def get(self, request):
        return Response([])


router = routers.DefaultRouter()
router.register("authors", Authors)
router.register("books", Books)
urlpatterns = [
    path("api/v1/", include(router.urls)),
    path("api/v1/totals/", Totals.as_view()),
    path("api/v1/loans/", Loans.as_view()),
]
