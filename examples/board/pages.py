"""The pages of the board."""

from __future__ import annotations

from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    g,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from examples.board import avatar
from examples.board.models import Author, Post, Thread

PER_PAGE = 30
MAX_POST = 10_000
DIGEST = 60

blueprint = Blueprint("board", __name__)


def session() -> Session:
    """The session of this request, made when it is first asked for."""
    if "session" not in g:
        g.session = current_app.extensions["sessions"]()
    opened: Session = g.session
    return opened


def close_session(error: BaseException | None) -> None:
    if (opened := g.pop("session", None)) is not None:
        opened.close()


@blueprint.get("/")
def threads() -> ResponseReturnValue:
    page = max(1, request.args.get("page", 1, type=int))
    last = (
        select(Post.thread_id, func.count().label("posts"), func.max(Post.written).label("last"))
        .group_by(Post.thread_id)
        .subquery()
    )
    rows = session().execute(
        select(Thread, last.c.posts, last.c.last)
        .join(last, last.c.thread_id == Thread.id)
        .order_by(last.c.last.desc())
        .limit(PER_PAGE)
        .offset((page - 1) * PER_PAGE)
    )
    return render_template("threads.html", rows=rows.all(), page=page)


@blueprint.get("/thread/<int:thread_id>")
def thread(thread_id: int) -> ResponseReturnValue:
    found = session().get(Thread, thread_id) or abort(404)
    posts = session().scalars(
        select(Post)
        .where(Post.thread_id == thread_id)
        .options(joinedload(Post.author))
        .order_by(Post.id)
    )
    return render_template("thread.html", thread=found, posts=posts.all())


@blueprint.post("/thread/<int:thread_id>")
def write(thread_id: int) -> ResponseReturnValue:
    text = request.form.get("text", "").strip()
    name = request.form.get("name", "").strip()
    if not text or not name or len(text) > MAX_POST:
        abort(400)
    with session().begin():
        if session().get(Thread, thread_id) is None:
            abort(404)
        author = session().scalar(select(Author).where(Author.name == name)) or Author(name=name)
        session().add(Post(thread_id=thread_id, author=author, text=text))
    return redirect(url_for("board.thread", thread_id=thread_id), code=303)


@blueprint.get("/search")
def search() -> ResponseReturnValue:
    words = request.args.get("q", "kettle")[:100]
    posts = session().scalars(
        select(Post)
        .where(Post.text.icontains(words, autoescape=True))
        .options(joinedload(Post.author), joinedload(Post.thread))
        .order_by(Post.written.desc())
        .limit(PER_PAGE)
    )
    return render_template("search.html", words=words, posts=posts.all())


@blueprint.get("/digest")
def digest() -> ResponseReturnValue:
    """The latest posts with their markup rendered, and never cached: this one computes."""
    posts = session().scalars(
        select(Post).options(joinedload(Post.author)).order_by(Post.id.desc()).limit(DIGEST)
    )
    return render_template("digest.html", posts=posts.all())


@blueprint.get("/avatar/<int:author_id>.png")
def picture(author_id: int) -> ResponseReturnValue:
    author = session().get(Author, author_id) or abort(404)
    return Response(avatar.draw(author.name), mimetype="image/png")


@blueprint.get("/api/stats")
def stats() -> ResponseReturnValue:
    month = func.date_trunc("month", Post.written)
    months = session().execute(select(month, func.count()).group_by(month).order_by(month))
    busiest = session().execute(
        select(Author.name, func.count())
        .join(Post, Post.author_id == Author.id)
        .group_by(Author.id)
        .order_by(func.count().desc(), Author.id)
        .limit(10)
    )
    return {
        "months": {when.strftime("%Y-%m"): count for when, count in months},
        "authors": dict(busiest.tuples().all()),
    }
