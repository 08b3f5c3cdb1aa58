"""Every code block of README.md and of the documentation works."""

from pathlib import Path

import pytest

from tests.docs.pages import Block, PageError, PageRunner, blocks, targets

pytestmark = pytest.mark.on_disk

PROJECT_ROOT = Path(__file__).resolve().parents[2]
BUILT = {"_build", "generated", "_templates"}


def _pages() -> list[Path]:
    found = [path for path in (PROJECT_ROOT / "docs").rglob("*.md") if not BUILT & set(path.parts)]
    return sorted(path for path in (PROJECT_ROOT / "README.md", *found) if path.exists())


PAGES = [str(path.relative_to(PROJECT_ROOT)) for path in _pages()]

# How many blocks of a page are not executed; each says why in a comment before it. A new one is a line
# here, for the reviewer to see.
NOT_EXECUTED: dict[str, int] = {"docs/how-to/recover-after-a-crash.md": 2}


def _blocks(page: str) -> list[Block]:
    return list(blocks(page, (PROJECT_ROOT / page).read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_the_page_works(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = PageRunner(make_targets=targets(PROJECT_ROOT / "Makefile"))
    for block in _blocks(page):
        if block.skip_reason is None:
            runner.run(block)


def test_blocks_that_are_not_executed_are_counted_and_give_a_reason():
    skipped = {page: [block for block in _blocks(page) if block.skip_reason is not None] for page in PAGES}
    assert {page: len(found) for page, found in skipped.items() if found} == NOT_EXECUTED
    assert [str(block) for found in skipped.values() for block in found if not block.skip_reason] == []


def run(text: str) -> PageRunner:
    """Run all blocks of a text."""
    runner = PageRunner(make_targets={"demo", "test"})
    for block in blocks("page.md", text):
        if block.skip_reason is None:
            runner.run(block)
    return runner


def test_blocks_share_one_namespace_and_may_await():
    text = """
```python
a = 1
```
Words.
~~~py
import anyio.lowlevel

await anyio.lowlevel.checkpoint()
b = a + 1
~~~
```pycon
>>> a + b
3
```
"""
    assert run(text).namespace["b"] == 2


def test_failure_names_the_page_and_the_line():
    with pytest.raises(ZeroDivisionError) as caught:
        run("one\n\n```python\nx = 0\n1 / x\n```\n")
    last = caught.traceback[-1]
    assert (Path(last.path).name, last.lineno + 1) == ("page.md", 5)


def test_mark_skips_the_next_block_only():
    text = "<!-- not executed: needs a telescope -->\n\n```python\n1 / 0\n```\n```python\nx = 1\n```\n"
    first, second = blocks("page.md", text)
    assert (first.skip_reason, second.skip_reason) == ("needs a telescope", None)
    assert run(text).namespace["x"] == 1


def test_mark_without_a_reason_is_seen():
    (block,) = blocks("page.md", "<!-- not executed -->\n```python\n```\n")
    assert block.skip_reason == ""


def test_blocks_inside_of_a_list_or_a_directive_are_found():
    text = ":::{note}\n1. first\n\n   ```python\n   inside = 1\n   ```\n:::\n"
    assert run(text).namespace["inside"] == 1
    text = "````{tip}\n```python\ninside = 2\n```\n````\n"
    assert run(text).namespace["inside"] == 2
    assert [(block.line, block.language) for block in blocks("page.md", text)] == [
        (3, "python"),
        (2, "{tip}"),
    ]


def test_code_block_directive_is_python():
    assert run("```{code-block} python\n:caption: x\n\nx = 2\n```\n").namespace["x"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```\nwhat is this\n```\n", "say what the block is"),
        ("```pytohn\n1\n```\n", "say what the block is"),
        ("```console\n$ make tea\n```\n", "no target tea"),
        ("```console\n$ rm -rf x\n```\n", "neither executed nor known"),
        ("```console\nmake demo\n```\n", "no line begins"),
        ("```toml\na =\n```\n", "page.md"),
        ("```json\n{\n```\n", "page.md"),
        ("```pycon\n>>> 1 + 1\n3\n```\n", "Expected:"),
        ("```python\nx = 1\n", "never closed"),
    ],
)
def test_blocks_that_nobody_can_judge_are_refused(text, message):
    with pytest.raises(PageError, match=message):
        run(text)


def test_make_targets_variables_and_installations_are_known():
    run("```console\n$ make demo DATA=/data/night\n$ pip install quantumio\n```\n")


def test_commands_of_quantumio_are_executed():
    with pytest.raises(PageError, match="exited with"):
        run("```console\n$ quantumio \\\n>   no-such-command\n```\n")
