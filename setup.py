"""Every package of the rooms, each of which stands at the top of the repository and is imported
as part of pretune (see pyproject.toml, which holds all the rest)."""

from setuptools import find_namespace_packages, setup

ROOMS = ("advisor", "server", "loadtests", "reports")
CACHES = ["__pycache__", "*.__pycache__"]

setup(
    package_dir={f"pretune.{room}": room for room in ROOMS},
    packages=[
        f"pretune.{package}"
        for room in ROOMS
        for package in (
            room,
            *(f"{room}.{below}" for below in find_namespace_packages(room, exclude=CACHES)),
        )
    ],
)
