"""What of a shell's text is known before it runs."""

import os
import subprocess
import time

import pytest

from pretune.advisor.deployed.shell import Surroundings, Word
from tests.advisor.deployed.shell_commands import commands

AROUND = Surroundings({"WORKERS": "3", "NAME": "shop"}, cores=4)


def texts(text: str, around: Surroundings = AROUND) -> list[list[str]]:
    return [[word.text for word in words] for words, _ in commands(text, around)]


def last(text: str, around: Surroundings = AROUND) -> Word:
    """The last word of the last command."""
    return [word for words, _ in commands(text, around) for word in words][-1]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("run $WORKERS", Word("3")),
        ("run ${WORKERS}", Word("3")),
        ('run "${NAME}.wsgi:application"', Word("shop.wsgi:application")),
        ("run ${WORKERS:-9}", Word("3")),
        ("run ${OTHER:-9}", Word("9", rests=("unless $OTHER is set",))),
        ("run ${OTHER-${WORKERS}}", Word("3", rests=("unless $OTHER is set",))),
        ("run ${A:-${B:-7}}", Word("7", rests=("unless $B is set", "unless $A is set"))),
        ("run $OTHER", Word("$OTHER", unknown=("$OTHER",))),
        ("run ${OTHER:?must be set}", Word("$OTHER", unknown=("$OTHER",))),
        ("run '$WORKERS'", Word("$WORKERS")),
        ("run \\$WORKERS", Word("$WORKERS")),
        ("run $(nproc)", Word("4", rests=("on 4 cores",))),
        ("run `nproc --all`", Word("4", rests=("on 4 cores",))),
        ("run $((2 * $(nproc) + 1))", Word("9", rests=("on 4 cores",))),
        ("run $(( $WORKERS*2 ))", Word("6")),
        ("run $(expr 2 \\* $(nproc) + 1)", Word("9", rests=("on 4 cores",))),
        ("run $((2 * $OTHER))", Word("$OTHER", unknown=("$OTHER",))),
        ("run $(cat /etc/workers)", Word("$(cat /etc/workers)", ("$(cat /etc/workers)",))),
        ("run $(curl -u me:pw x)", Word("$(curl ...)", ("$(curl ...)",))),
        ("run `PGPASSWORD=pw psql`", Word("$(psql)", ("$(psql)",))),
        ("run ${WORKERS/pw/x}", Word("${WORKERS...}", ("${WORKERS...}",))),
        ("run $((1 / 0))", Word("$((1 / 0))", unknown=("$((1 / 0))",))),
        ("run --workers=$OTHER", Word("--workers=$OTHER", unknown=("$OTHER",))),
    ],
)
def test_a_word_is_expanded_as_far_as_it_is_known(text: str, word: Word) -> None:
    assert last(text) == word


def test_commands_follow_each_other_and_assignments_stay() -> None:
    script = """\
#!/bin/sh
set -e
export A=1 B=2  # both
C=${C:-5}
: "${D:=6}"
if [ -n "$X" ]; then
    first $A
else
    second "$B" \\
        --with $C > out.log 2>&1
fi
python manage.py migrate && third $D | tee log
"""
    found = texts(script)
    assert ["first", "1"] not in found  # no file sets $X
    assert ["second", "2", "--with", "5"] in found
    assert ["third", "6"] in found


def test_what_stands_behind_exec_is_not_reached() -> None:
    assert texts("run a; exec run b; run c") == [["run", "a"], ["exec", "run", "b"]]


def test_commands_are_found_in_functions_and_cases() -> None:
    script = """\
serve() { run one; }
worker()
{
    run two
}
cat <<EOF > out
run no, it's text
EOF
case "$1" in
    web) run three ;;
    api)
        run four
        ;;
esac
case $2 in x) run five;; esac
(run six)
worker; serve
"""
    found = [words for words in texts(script) if words[0] == "run"]
    assert {words[1] for words in found} == {"one", "two", "three", "four", "five", "six"}
    around = Surroundings(arguments=("api", "x"))
    found = [words for words in texts(script, around) if words[0] == "run"]
    assert [words[1] for words in found] == ["four", "five", "six", "two", "one"]


def test_the_arguments_of_a_script_are_words_each() -> None:
    around = Surroundings(arguments=("gunicorn", "a b", "-w", "2"))
    assert texts('exec "$@"', around) == [["exec", "gunicorn", "a b", "-w", "2"]]
    assert texts("exec $@", around) == [["exec", "gunicorn", "a b", "-w", "2"]]


def test_a_value_s_quotes_are_its_own() -> None:
    around = Surroundings({"A": "it's", "B": '{"x": 1}'})
    assert texts("run $A next", around) == [["run", "it's", "next"]]


def test_a_quote_that_does_not_end_is_said() -> None:
    with pytest.raises(ValueError, match="closing quotation"):
        texts('run "never')


@pytest.mark.parametrize(
    "text",
    [
        "A=$A$A$A$A\n" * 500,
        "${A:-" * 3000,
        "$((" * 3000,
        "$(expr " * 3000,
        "'" + "x\n" * 8000,
        "run $((" + "9*" * 4000 + "9))",
        "run $((" + "(" * 4000 + "))",
        "`" * 9999,
        "\x00\ue000\ue001 $\ue002",
    ],
)
def test_hostile_text_neither_raises_nor_takes_for_ever(text: str) -> None:
    began = time.process_time()
    try:
        for words, _ in commands(text, Surroundings({"A": "x" * 4000})):
            assert sum(len(word.text) for word in words) < 1 << 20
    except ValueError:
        pass  # the one way in which it may fail
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    "text",
    [
        "run $A ${A} \"$A\" '$A' \\$A",
        'run "${NAME}.wsgi:application" --workers=$A',
        "run ${NONE:-5} ${NONE-6} ${EMPTY:-7} ${EMPTY-8} ${A:+yes} ${NONE:+no}x",
        "run $((2 * A + 1)) $(( $A * 2 )) $((7 / 2)) $(( (1 + 2) * 3 ))",
        "run $(nproc) `nproc` $(( $(nproc) * 2 + 1 )) $(expr 2 \\* $(nproc) + 1)",
        'run "a b" c\\ d "e\'f" \'g"h\' ""x',
        "B=4; C=${B}; run $B $C ${D:=9} $D",
        "export B=4 C=5\nrun $B \\\n  $C # a comment\n",
        'run $WORDS "$WORDS"',
        "true && run one; run two || run three",
        "if true; then\n  run $A\nfi",
        "run --bind 0.0.0.0:80 'app:create_app()' 2>&1",
        "run a=b c#d",
        "set -e\n: ${X:=3}\nrun $X",
    ],
)
def test_a_real_shell_says_the_same(text: str) -> None:
    variables = {"A": "3", "NAME": "shop", "EMPTY": "", "WORDS": "one two"}
    script = f"run() {{ printf '%s\\0' \"$@\"; printf '\\n'; }}\n{text}"
    ran = subprocess.run(
        ["bash", "--posix", "-c", script], env={**variables, "PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    theirs = [line.rstrip("\0").split("\0") for line in ran.stdout.splitlines()]
    around = Surroundings(variables, len(os.sched_getaffinity(0)))
    mine = [words[1:] for words in texts(text, around) if words[0] == "run"]
    assert [words for words in mine if words in theirs] == theirs
