"""What the host can enforce is found out, used, and below the minimum refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import IsolationError, JudgePool, Limits, parse_tests, probe
from sandbox.capabilities import CEILING_VARIABLE
from sandbox.seccomp import ALLOW, Instruction, door, wall
from sandbox.syscalls import ALLOWED, AUDIT_ARCH, KEEPING

_ROOT = Path(__file__).resolve().parents[2]
_PROBING = "import os\ntry:\n    print(len(os.listdir('/etc')))\nexcept OSError:\n    print('sealed')\n"


def test_every_layer_is_reported_with_its_state() -> None:
    names = [layer.name for layer in probe()]
    assert names == ["namespaces", "no_new_privs", "seccomp", "landlock", "private root", "level"]
    assert all(layer.detail for layer in probe())


@pytest.mark.parametrize("level", ["full", "reduced"])
def test_both_levels_seal_the_file_system_and_judge_alike(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if level == "full" and probe()[-1].detail != "full":
        pytest.skip("this host has no user namespaces")
    monkeypatch.setenv(CEILING_VARIABLE, level)
    suite = parse_tests({"inputs": ["", ""], "outputs": ["sealed", "sealed"]})
    with JudgePool() as pool:
        assert pool.level == level
        assert pool.judge(_PROBING, suite).verdict == "AC"
        assert pool.judge("import os\nos.fork()", suite).verdict == "RE"
        assert pool.judge("import socket\nsocket.socket()", suite).verdict == "RE"


def test_a_host_without_isolation_is_refused_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CEILING_VARIABLE, "none")
    with pytest.raises(IsolationError, match="allow-weak"), JudgePool():
        pass
    with JudgePool(allow_weak=True) as pool:
        assert pool.judge("print(1)", parse_tests({"inputs": [""], "outputs": ["1"]})).verdict == "AC"


def _simulate(program: list[Instruction], arch: int, number: int, arguments: tuple[int, ...] = (0, 0, 0)) -> int:
    """Run a filter as the kernel would: what it returns for one call."""
    at, accumulator = 0, 0
    while True:
        code, yes, no, constant = program[at]
        at += 1
        if code == 0x06:
            return constant
        if code == 0x20:
            accumulator = {0: number, 4: arch, 16: arguments[0], 24: arguments[1], 32: arguments[2]}[constant]
        elif code == 0x05:
            at += constant
        else:
            true = {0x15: accumulator == constant, 0x35: accumulator >= constant, 0x45: bool(accumulator & constant)}
            at += yes if true[code] else no


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_filters_allow_the_list_and_nothing_else(machine: str) -> None:
    column = 0 if machine == "x86_64" else 1
    arch = AUDIT_ARCH[machine]
    allowed = {numbers[column] for numbers in ALLOWED.values()}
    keeping = {numbers[column] for numbers in KEEPING.values()}
    outer, inner = wall(machine), door(machine)  # type: ignore[arg-type]
    conditional = {numbers[column] for numbers in __import__("sandbox.syscalls").syscalls.CONDITIONAL.values()}
    for number in range(600):
        both = [_simulate(program, arch, number) for program in (outer, inner)]
        if number in allowed:
            assert both == [ALLOW, ALLOW], number
        elif number in keeping:
            assert both[0] == ALLOW
            assert both[1] != ALLOW, number
        elif number not in conditional:
            assert both[0] != ALLOW, number
    clone = 56 if machine == "x86_64" else 220
    assert _simulate(inner, arch, clone, (0x10000, 0, 0)) == ALLOW
    assert _simulate(inner, arch, clone, (17, 0, 0)) != ALLOW
    assert _simulate(outer, 0x40000003, 1) == 0x80000000  # another ABI is the end of the process
    assert _simulate(outer, arch, 0x40000000 | 1) != ALLOW  # x32


def test_it_works_as_an_ordinary_user(tmp_path: Path) -> None:
    """As an unprivileged user where the tests run as root; else this process is one already."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("needs root to become somebody else")
    outside = next((p for p in ("/usr/bin/python3.13", "/usr/bin/python3.12", "/usr/bin/python3.11",
                                "/usr/local/bin/python3") if os.path.exists(p)), None)  # fmt: skip
    if outside is None:
        pytest.skip("no interpreter that other users can read")
    shutil.copytree(_ROOT / "sandbox", tmp_path / "sandbox")
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        if folder.owner() == "root" and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    code = (
        "import json\nfrom sandbox import *\nwith JudgePool() as pool:\n"
        "    suite = parse_tests({'inputs': ['1'], 'outputs': ['1']})\n"
        "    j = pool.judge('import os\\nprint(input(), os.listdir(\"/etc\"))', suite)\n"
        "    k = pool.judge('print(input())', suite)\n"
        "    print(json.dumps([pool.level, j.verdict, k.verdict]))\n"
    )
    done = subprocess.run(
        ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups", outside, "-c", code],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    level, attacked, honest = json.loads(done.stdout)
    assert level in ("full", "reduced")
    assert (attacked, honest) == ("RE", "AC")


def test_the_callers_environment_and_files_are_not_inherited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KLEAR_SECRET", "s3cret")
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    with secret.open() as held:
        os.set_inheritable(held.fileno(), True)
        program = (
            "import os\nfound = [v for v in os.environ.values() if v == 's3cret']\nfor fd in range(200):\n"
            f"    try:\n        os.lseek(fd, 0, 0)\n        found += [1] if b's3cret' in os.read(fd, 99) else []\n"
            "    except OSError:\n        pass\n"
            f"try:\n    found.append(open({str(secret)!r}).read())\nexcept OSError:\n"
            "    pass\nprint(found)"
        )
        with JudgePool() as pool:
            judgement = pool.judge(program, parse_tests({"inputs": [""], "outputs": ["[]"]}))
    assert judgement.verdict == "AC", judgement


@pytest.mark.parametrize(
    ("program", "verdict"),
    [
        ("print(1)\0", "CE"),
        ("print('\ud800')", "CE"),
        ("#" + "x" * (10 << 20), "CE"),
        ("x = 1\n" * 200_000 + "print(1)", "AC"),
    ],
)
def test_odd_programs_get_a_verdict(program: str, verdict: str) -> None:
    with JudgePool(limits=Limits(time_limit_s=5)) as pool:
        assert pool.judge(program, parse_tests({"inputs": [""], "outputs": ["1"]})).verdict == verdict


def test_a_zygote_that_dies_is_replaced_and_the_program_judged() -> None:
    suite = parse_tests({"inputs": ["1"], "outputs": ["1"]})
    with JudgePool() as pool:
        assert pool.judge("print(input())", suite).verdict == "AC"
        for zygote in list(pool._zygotes):
            zygote._process.kill()
            zygote._process.wait()
        assert pool.judge("print(input())", suite).verdict == "AC"


def test_the_sandbox_is_loaded_without_the_rest(tmp_path: Path) -> None:
    heavy = "('klear_data', 'numpy', 'torch')"
    code = f"import sys, sandbox.pool; print([m for m in sys.modules if m.split('.')[0] in {heavy}])"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=_ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
