"""The sessions printed in documents are read as a reader would."""

import pytest

from tests.consoles import Step, steps

DOCUMENT = """
# A title
```console
$ echo one
one
$ echo '{"a":
>  2}' \\
>   three
{"a":
 2} three
$ cat <<'END'
> some
> END
some
```
```sh
not a session
```
```console
$ true
```
"""


def test_commands_and_their_output() -> None:
    assert steps(DOCUMENT) == [
        Step("echo one", "one"),
        Step("echo '{\"a\":\n 2}' \\\n  three", '{"a":\n 2} three'),
        Step("cat <<'END'\nsome\nEND", "some"),
        Step("true", ""),
    ]


@pytest.mark.parametrize(
    ("printed", "actual", "agrees"),
    [
        ("one", "one\n", True),
        ("one", "two\n", False),
        ("one", "one\ntwo\n", False),
        ("one\n…", "one\ntwo\nthree\n", True),
        ("one\n...\nthree", "one\ntwo\nthree\n", True),
        ("one\n…\nthree", "one\ntwo\n", False),
        ("id: … ms", "id: 12 ms\n", True),
        ("id: … ms", "id: 12 s\n", False),
        ("a.c", "abc\n", False),
        ("", "anything\n", True),
        ("one", "one   \n", True),
    ],
)
def test_output_agrees_where_it_is_the_same_but_for_what_is_left_out(printed: str, actual: str, agrees: bool) -> None:
    assert Step("", printed).is_answered_by(actual) is agrees
