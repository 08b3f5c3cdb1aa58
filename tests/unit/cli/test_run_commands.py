"""The command that plans and runs a pipeline."""

import sys

import pytest

PIPELINE = """
from quantumio import Input, Output, Pipeline, SuperTask


class Double(SuperTask):
    stats = Input("stats", dimensions=("visit",), storage_class="Mapping")
    doubled = Output("doubled", dimensions=("visit",), storage_class="Mapping")

    def run(self, ctx):
        found = ctx.get(self.stats)
        if found["seeing"] > 5:
            raise ValueError("too windy")
        ctx.put({"seeing": 2 * found["seeing"]}, self.doubled)


class Report(SuperTask):
    doubled = Input("doubled", dimensions=("visit",), storage_class="Mapping")
    report = Output("report", dimensions=("visit",), storage_class="Text")

    def run(self, ctx):
        ctx.put(f"{ctx.get(self.doubled)}", self.report)


pipeline = Pipeline([Report(), Double()])


def make():
    return pipeline


def broken():
    raise ValueError("no configuration")


single = Double()
number = 3
"""


@pytest.fixture
def pipeline(tmp_path, monkeypatch, put_stats):
    """Write a pipeline into a file that no other test imports, and its inputs into a repository."""
    put_stats(33)
    put_stats(34)
    modules, path = set(sys.modules), list(sys.path)
    name = f"pipeline_{abs(hash(str(tmp_path)))}"
    file = tmp_path / f"{name}.py"
    file.write_text(PIPELINE)
    monkeypatch.chdir(tmp_path)
    yield file
    sys.path[:] = path
    for one in set(sys.modules) - modules:
        if name in one:
            del sys.modules[one]


def run(quantumio, source: object, *more: object, **options: object):
    """Run a pipeline into u/ada/night, registering its dataset types."""
    return quantumio(
        "run", source, "--run", "u/ada/night", "-c", "u/ada", "--register-dataset-types", *more, **options
    )


def test_run_commits_outputs_and_shows_a_row_for_each_task(quantumio, pipeline):
    lines = run(quantumio, f"{pipeline}:pipeline", "-j", "2").lines
    assert [line.split()[:2] for line in lines[1:3]] == [["Double", "2"], ["Report", "2"]]
    assert lines[-1].startswith("Run 'u/ada/night': 4 succeeded")
    get = ("get", "doubled", "instrument=ST8", "visit=33", "-c", "u/ada/night", "--json")
    assert quantumio(*get).document["summary"]["value"] == {"seeing": 3.0}
    assert "4 reused" in run(quantumio, f"{pipeline}:pipeline").lines[-1]


def test_document_is_that_of_the_report(quantumio, pipeline):
    document = run(quantumio, f"{pipeline}:pipeline", "--mode", "immediate", "--json").document
    assert (document["run"], document["mode"], document["states"]) == (
        "u/ada/night",
        "immediate",
        {"succeeded": 4},
    )
    assert [one["task"] for one in document["tasks"]] == ["Double", "Report"]


@pytest.mark.parametrize("name", ["pipeline", "make", "single"])
def test_pipelines_functions_and_single_tasks_can_be_named(quantumio, pipeline, name):
    document = run(quantumio, f"{pipeline}:{name}", "--dry-run", "--json").document
    assert document["counts"]["Double"] == 2


def test_module_is_found_in_the_current_directory(quantumio, pipeline):
    assert run(quantumio, pipeline.stem, "--dry-run", "--json").document["counts"] == {
        "Double": 2,
        "Report": 2,
    }


def test_file_of_a_package_may_import_what_is_beside_it(quantumio, pipeline, tmp_path):
    package = tmp_path / f"package_{pipeline.stem}"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "tasks.py").write_text(PIPELINE)
    (package / "entry.py").write_text("from .tasks import pipeline\n")
    document = run(quantumio, package / "entry.py", "--dry-run", "--json").document
    assert document["counts"] == {"Double": 2, "Report": 2}


def test_dry_run_shows_the_plan_and_runs_nothing(quantumio, pipeline):
    done = run(quantumio, f"{pipeline}:pipeline", "--dry-run", "visit=33")
    assert done.lines[-1] == "2 quanta for run u/ada/night: 1 Double, 1 Report"
    assert quantumio("query", "doubled", "--json").document["count"] == 0
    document = run(quantumio, f"{pipeline}:pipeline", "--dry-run", "--where", "visit > 33", "--json").document
    assert [one["data_id"]["visit"] for one in document["quanta"]] == [34, 34]
    assert document["quanta"][1]["requires"] == [document["quanta"][0]["quantum"]]


def test_failures_are_told_after_the_report_and_the_rest_is_done(quantumio, pipeline, stats, put_stats):
    stats.write_text('{"seeing": 9}')
    put_stats(35)
    done = run(quantumio, f"{pipeline}:pipeline", "--json", fails=True)
    assert done.exit_code == 1
    assert done.document["states"] == {"succeeded": 4, "failed": 1, "blocked": 1}
    messages = [one["message"] for one in done.error["failures"]]
    assert any("ValueError: too windy" in message and "visit=35" in message for message in messages)
    assert "bug" not in done.stderr
    assert quantumio("query", "report", "--json").document["count"] == 2


@pytest.mark.parametrize(
    ("name", "code", "named"),
    [
        ("nothing.py:pipeline", 3, "nothing.py"),
        ("no.such.module:pipeline", 3, "no.such.module"),
        ("{}:nothing", 3, "nothing"),
        ("{}:number", 2, "int"),
        ("{}:broken", 2, "ValueError: no configuration"),
        ("syntax.py:pipeline", 2, "SyntaxError"),
        ("imports_nothing.py:pipeline", 2, "no_such_library"),
        ("json.py:pipeline", 2, "another module is called 'json'"),
    ],
)
def test_what_is_no_pipeline_is_refused_by_name(quantumio, pipeline, tmp_path, name, code, named):
    (tmp_path / "syntax.py").write_text("def")
    (tmp_path / "json.py").write_text(PIPELINE)
    (tmp_path / "imports_nothing.py").write_text("import no_such_library")
    done = run(quantumio, name.format(pipeline), "--json", fails=True)
    assert done.exit_code == code
    assert named in done.error["message"]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--where", "visit >"], 2),
        (["--executor", "abacus"], 2),
        (["--jobs", "0"], 2),
        (["--mode", "later"], 2),
        (["visit=99"], 2),
    ],
)
def test_wrong_options_are_refused(quantumio, pipeline, more, code):
    assert run(quantumio, f"{pipeline}:pipeline", *more, "--json", fails=True).exit_code == code
