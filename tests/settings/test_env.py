"""The format of `.env`, read line by line, written so that a shell agrees."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from officeops.settings.env import parse_env, quoted, with_value

FILE = Path("/somewhere/.env")
# What no value may have: line ends, control characters, what nobody can see.
VISIBLE = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"]), max_size=40)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("KEY=value", "value"),
        ("KEY=", ""),
        ("KEY=   # nothing yet", ""),
        ("KEY=a # comment", "a"),
        ("KEY=a\t# comment", "a"),
        ("KEY=a#b", "a#b"),
        ("KEY=#1-and-only", "#1-and-only"),
        ("KEY=two words", "two words"),
        ("  KEY = value  ", "value"),
        ("export KEY=value", "value"),
        ("export\tKEY=value", "value"),
        ("exportKEY=value", None),
        ("KEY='a # b'", "a # b"),
        ("KEY='a' # b", "a"),
        ("KEY=''", ""),
        ("KEY='\\'", "\\"),
        ('KEY="a \\"b\\" \\\\ \\$c \\` \\n"', 'a "b" \\ $c ` \\n'),
        ('KEY="it\'s"', "it's"),
        ("KEY=it's", "it's"),
        ("KEY=$HOME", "$HOME"),
        ("KEY=a=b=c", "a=b=c"),
        ("KEY=秘密　の 鍵", "秘密　の 鍵"),
        ("KEY='\u00a0'", "\u00a0"),
    ],
)
def test_a_line_has_this_value(line: str, value: str | None) -> None:
    entries, _ = parse_env(FILE, line)
    assert (entries["KEY"].value if "KEY" in entries else None) == value


@pytest.mark.parametrize(
    ("line", "key", "found"),
    [
        ("just words", "(no key)", "a line without KEY="),
        ("export KEY", "(no key)", "a line without KEY="),
        ("1KEY=value", "(no key)", "a line without KEY="),
        ("KEY-NAME=value", "(no key)", "a line without KEY="),
        ("=value", "(no key)", "a line without KEY="),
        ("KEY='open", "KEY", "quotes that do not match"),
        ('KEY="open\\"', "KEY", "quotes that do not match"),
        ("KEY='a'b", "KEY", "quotes that do not match"),
        ("KEY='a'#b", "KEY", "quotes that do not match"),
        ("KEY=a\x00b", "KEY", "a character that nobody can see (U+0000)"),
        ("KEY=a\x1bb", "KEY", "a character that nobody can see (U+001B)"),
        ("KEY='a\tb'", "KEY", "a character that nobody can see (U+0009)"),
        ("KEY=a\u200bb", "KEY", "a character that nobody can see (U+200B)"),
    ],
)
def test_a_line_that_is_none_is_a_problem_that_shows_no_value(line: str, key: str, found: str) -> None:
    entries, (problem,) = parse_env(FILE, f"# first\n{line}\n")
    assert entries == {}
    assert (problem.file, problem.line, problem.key, problem.found) == (FILE, 2, key, found)


def test_a_key_that_is_there_twice_is_named_with_both_lines_and_the_first_counts() -> None:
    entries, (problem,) = parse_env(FILE, "A=1\n\nA=2\n")
    assert entries["A"].value == "1"
    assert (problem.line, problem.found) == (3, "the key a second time (first in line 1)")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_editors_of_all_systems_count_the_same_lines(end: str, mark: str) -> None:
    entries, problems = parse_env(FILE, mark + end.join(["A=1", "", "# x", "B='2'", ""]))
    assert {key: (entry.value, entry.line) for key, entry in entries.items()} == {"A": ("1", 1), "B": ("2", 4)}
    assert problems == []


def test_a_hundred_thousand_blanks_are_no_hang() -> None:
    entries, _ = parse_env(FILE, "KEY=a" + " " * 100_000 + "b")
    assert len(entries["KEY"].value) == 100_002


ODD = " '\"\\$`#!~*?&|;<>(){}[]=%^,:@é漢　\u00a0"


@pytest.mark.parametrize("shell", [name for name in ("sh", "bash", "dash") if shutil.which(name)])
def test_shells_read_back_what_is_written(shell: str, tmp_path: Path) -> None:
    values = [
        "",
        *ODD,
        *(f"a{one}b" for one in ODD),
        *(f"{one} {one}" for one in ODD),
        "'\"",
        "\\\\'",
        "$(touch x)'",
        "`'",
        "-n",
        "'''",
        '"""',
        "a'b\"c\\d$e`f",
    ]
    names = [f"KEY_{number}" for number in range(len(values))]
    file = tmp_path / "env"
    file.write_text("".join(f"{name}={quoted(value)}\n" for name, value in zip(names, values, strict=True)))
    script = f'. "{file}"; ' + "; ".join(f'printf "%s\\n" "${name}"' for name in names)
    said = subprocess.run([shell, "-c", script], check=True, capture_output=True, env={"LC_ALL": "C.UTF-8"}).stdout.decode()
    assert said.split("\n")[:-1] == values


@settings(deadline=None)
@given(VISIBLE, st.sampled_from(["", " # comment", "  ", "\t# x"]))
def test_every_visible_value_is_read_back(value: str, behind: str) -> None:
    entries, problems = parse_env(FILE, f"KEY={quoted(value)}{behind}")
    assert problems == []
    assert entries["KEY"].value == value


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "\x00", "\u200b"])
def test_what_a_line_cannot_hold_is_not_written(value: str) -> None:
    with pytest.raises(ValueError, match="U\\+"):
        quoted(value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A=1\nKEY=\nB=2\n", "A=1\nKEY=new\nB=2\n"),
        ("KEY=   # comment\n", "KEY=new   # comment\n"),
        ("KEY='old'\t# comment", "KEY=new\t# comment"),
        ("export KEY=old\r\n# x\r\n", "export KEY=new\r\n# x\r\n"),
        ("\ufeffKEY=\r\n", "\ufeffKEY=new\r\n"),
        ("", "KEY=new\n"),
        ("A=1", "A=1\nKEY=new\n"),
        ("A=1\r\nB=2\r\n", "A=1\r\nB=2\r\nKEY=new\r\n"),
        ("# KEY=old\nKEYS=x\n", "# KEY=old\nKEYS=x\nKEY=new\n"),
    ],
)
def test_setting_a_value_leaves_all_else_to_the_byte(before: str, after: str) -> None:
    assert with_value(before, "KEY", "new") == after
