"""The command line: what it prints, and its exit status (0 done, 1 checked and failed, 2 bad input)."""

import json
import re
import subprocess
import sys

import pytest

import structpage
from structpage.cli import COMMANDS, main
from structpage.core.placements import BUILTIN

SCRIPT = {
    "format": "buddy-conformance/1",
    "scenarios": [
        {"name": "s", "frames": 8, "max_order": 3, "init": "free", "ops": [{"op": "check", "free": 8}]},
    ],
}
TRACE = (
    "            init-1       [000] .....     8.819272: mm_page_alloc: page=(____ptrval____) pfn=0x10 order=1 "
    "migratetype=1 gfp_flags=GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO\n"
    "            init-1       [000] .....     8.819280: mm_page_free: page=(____ptrval____) pfn=0x10 order=1\n"
)


def run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"structpage {structpage.__version__}\n"


@pytest.mark.parametrize("command", [module.NAME for module in COMMANDS])
def test_every_command_has_help(capsys, command):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: structpage {command}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["compare", "--nonsense"], ["conformance"]])
def test_bad_arguments_are_status_2(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: structpage" in capsys.readouterr().err


def test_module_and_command_are_one():
    done = subprocess.run([sys.executable, "-m", "structpage", "words"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("two-word: 16 bytes a frame\n")
    assert done.stderr == ""


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m structpage words --table | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


def test_words_draws_every_state(capsys):
    status, out, _ = run(capsys, "words", "--layout", "one-word")
    assert status == 0
    assert "free (tag 1)\n  memdesc   | prev 63:36 | next 35:8 | order 7:4 | tag 3:0 |\n" in out


def test_words_as_table_and_json(capsys):
    _, table, _ = run(capsys, "words", "--table")
    assert re.search(r"^order +allocator +4-9 ", table, re.MULTILINE)
    _, out, _ = run(capsys, "words", "--json")
    fields = {row["field"]: row for row in json.loads(out)["two-word"]}
    assert fields["head"]["bits"] == "32-63"


def test_compare_prints_a_table_or_json(capsys, tmp_path):
    trace = tmp_path / "t.txt"
    trace.write_text(TRACE)
    status, out, err = run(capsys, "compare", trace, "--placement", "in-words", "--placement", "one-word")
    assert (status, err) == (0, "")
    assert out.startswith("comparing in-words, one-word\n")
    assert re.search(r"^one-word +kept +yes +\d+\.\d\d ", out, re.MULTILINE)
    status, out, _ = run(capsys, "compare", trace, "--placement", "in-words", "--json", "--memory", "16M")
    report = json.loads(out)
    assert status == 0
    assert [row["placement"] for row in report["rows"]] == ["in-words"]
    assert report["workload"]["frames"] == 4096


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "nowhere"], "workload must be an existing path or one of mixed, not 'nowhere'"),
        (
            ["compare", "--placement", "tree"],
            f"placement must be one of {', '.join(BUILTIN)}, a class, or module:Class, not 'tree'",
        ),
        (["compare", "--memory", "4G"], "memory must be left to the capture, which has its own, not 4G"),
    ],
)
def test_bad_input_says_subject_rule_and_value(capsys, arguments, message):
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert err == f"structpage {arguments[0]}: {message}\n"


@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 8, b"no trace at all\n"])
@pytest.mark.parametrize("command", ["compare", "import"])
def test_what_is_no_trace_is_status_2(capsys, tmp_path, monkeypatch, command, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t").write_bytes(content)
    status, _, err = run(capsys, command, "t")
    assert status == 2
    assert err.startswith(f"structpage {command}: ")
    assert " must be " in err
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_bad_lines_are_told_and_strict_stops(capsys, tmp_path):
    trace = tmp_path / "t.txt"
    trace.write_text(TRACE + "  half of a li")
    status, _, err = run(capsys, "compare", trace, "--placement", "in-words")
    assert status == 0
    assert err == f"{trace}: 1 bad line, left out; the first is line 3\n"
    status, _, err = run(capsys, "compare", trace, "--placement", "in-words", "--strict")
    assert status == 2
    assert "line 3" in err


def test_unknown_events_and_lost_ones_are_told(capsys, tmp_path):
    trace = tmp_path / "t.txt"
    odd = TRACE.splitlines()[0].replace("mm_page_alloc: page=", "frobnicate: about ").split(" pfn=")[0]
    trace.write_text(TRACE + odd + "\nCPU:0 [LOST 7 EVENTS]\n")
    status, _, err = run(capsys, "compare", trace, "--placement", "in-words")
    assert status == 0
    assert err == f"{trace}: 7 lost events\n{trace}: 1 events of unknown kinds: frobnicate\n"
    status, _, err = run(capsys, "import", trace, "--strict", "-o", tmp_path / "t.npz")
    assert status == 2
    assert err == f"structpage import: trace {trace} must be complete, not one with 7 lost events\n"
    assert not (tmp_path / "t.npz").exists()


def test_import_writes_what_compare_reads(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.trace.txt").write_text(TRACE)
    status, out, _ = run(capsys, "import", "my.trace.txt")
    assert status == 0
    assert out.startswith("my.npz: 2 events, ")
    status, out, _ = run(capsys, "import", "my.npz", "-o", "again.npz", "--json")
    assert json.loads(out)["kinds"] == {"mm_page_alloc": 1, "mm_page_free": 1}
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "my.npz").read_bytes()
    status, out, _ = run(capsys, "compare", "again.npz", "--placement", "in-words", "--json")
    assert json.loads(out)["workload"]["allocations"] == 1


def test_conformance_counts_and_fails(capsys, tmp_path):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(SCRIPT))
    bad.write_text(json.dumps(SCRIPT).replace('"free": 8', '"free": 7'))
    status, out, _ = run(capsys, "conformance", good)
    assert status == 0
    assert out.endswith(f"\n\n{len(BUILTIN)} passed, 0 failed, 0 skipped, 0 beyond a placement's limit\n")
    assert [line.split() for line in out.splitlines()[1:-2]] == [[name, "1", "0", "0", "0"] for name in BUILTIN]
    status, out, _ = run(capsys, "conformance", good, bad, "--placement", "in-page")
    assert status == 1
    assert out.startswith("in-page: s, op 0 {'op': 'check', 'free': 7}: Mismatch: free frames must be 7, not 8\n")
    status, out, _ = run(capsys, "conformance", bad, "--json")
    report = json.loads(out)
    assert status == 1
    assert {key: report[key] for key in ("passed", "failed", "skipped", "beyond_limit")} == {
        "passed": 0,
        "failed": len(BUILTIN),
        "skipped": 0,
        "beyond_limit": 0,
    }
    assert report["failures"][0]["scenario"] == "s"
    one = {"passed": 0, "failed": 1, "beyond_limit": 0, "needs_order": 0}
    assert report["placements"] == dict.fromkeys(BUILTIN, one)


def test_conformance_of_no_script(capsys, tmp_path):
    path = tmp_path / "s.json"
    path.write_text("{}")
    status, _, err = run(capsys, "conformance", path)
    known = "'buddy-conformance/1' or 'memblock-conformance/1'"
    assert (status, err) == (2, f"structpage conformance: format of {path} must be {known}, not None\n")
    status, _, err = run(capsys, "conformance", tmp_path / "none.json")
    assert status == 2
    assert "none.json" in err
