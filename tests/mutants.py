"""Plants one deliberate fault for each promise and shows that its test turns red.

    python tests/mutants.py              all of them
    python tests/mutants.py lock fork    those whose promise or fault has one of these words

Each fault goes into a copy of the package, never into `src`; the tests run against that copy.
The exit code is 1 if a fault survives, and 2 if the text that it replaces is not there any more.
"""

import functools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LIMIT_SECONDS = 600
PROCESS = "tests/process"


class Mutant(NamedTuple):
    promise: str
    fault: str
    file: str
    old: str
    new: str
    test: str


WRITERS = "1 every process writes"
KILLED = "2 nothing acknowledged is lost"
FRESH = "3 a read sees every write before it"
PLACE = "4 first open, replacement, forks"
SERVER = "5 the server"
BYTES = "6 byte for byte"
COPIES = "7 backup, restore, doctor"
SQLITE = "store/sqlite.py"
CONNECTIONS = "store/connections.py"
INSPECTION = "store/inspection.py"

MUTANTS = (
    Mutant(
        WRITERS,
        "the writer lock is not taken",
        SQLITE,
        "            self._lock.acquire(deadline)\n            pool = self._current_pool()",
        "            pool = self._current_pool()",
        f"{PROCESS}/test_waiting.py -k holds_the_writer_lock",
    ),
    Mutant(
        WRITERS,
        "the writer lock is never given back",
        SQLITE,
        "                self._lock.release()\n                if self._writing_thread",
        "                if self._writing_thread",
        f"{PROCESS}/test_writers.py -k 4-20",
    ),
    Mutant(
        WRITERS,
        "a transaction begins to write when it writes first",
        SQLITE,
        '(connection.execute)("BEGIN IMMEDIATE")',
        '(connection.execute)("BEGIN")',
        f"{PROCESS}/test_waiting.py -k another_program",
    ),
    Mutant(
        WRITERS,
        "SQLite's own waiting forgets the deadline",
        CONNECTIONS,
        "min(deadline.remaining(), _LONGEST_WAIT_SECONDS)",
        "min(5.0, _LONGEST_WAIT_SECONDS)",
        f"{PROCESS}/test_waiting.py -k another_program",
    ),
    Mutant(
        WRITERS,
        "what is known already is added again",
        "beliefs.py",
        "if known := overlapping(tx, wanted):",
        "if known := None:",
        f"{PROCESS}/test_writers.py -k same_from_all",
    ),
    Mutant(
        WRITERS,
        "supersede does not look whether somebody has been there",
        "beliefs.py",
        "open_ = [fact for fact in known if",
        "open_ = known[:1] or [fact for fact in known if",
        f"{PROCESS}/test_writers.py -k exactly_one_wins",
    ),
    Mutant(
        WRITERS,
        "the retry takes every error for busy",
        "store/retry.py",
        "if late or attempt >= max_retries or not is_busy(error):",
        "if late or attempt >= max_retries:",
        "tests/unit/test_retry.py",
    ),
    Mutant(
        WRITERS,
        "a write within a write waits for itself",
        SQLITE,
        "if self._writing_thread == threading.get_ident():\n            raise StoreError(",
        "if False:\n            raise StoreError(",
        f"{PROCESS}/test_waiting.py -k write_within",
    ),
    Mutant(
        WRITERS,
        "the log grows as long as somebody reads",
        SQLITE,
        "                    self._bound_wal(tx.connection)\n",
        "",
        f"{PROCESS}/test_log.py",
    ),
    Mutant(
        KILLED,
        "a write is acknowledged before it is on the disk",
        SQLITE,
        "            # one writes meanwhile, and the disk takes what several wait for at once.\n"
        "            log.sync()",
        "            # one writes meanwhile, and the disk takes what several wait for at once.",
        "tests/unit/test_durability.py",
    ),
    Mutant(
        KILLED,
        "a write is acknowledged and rolled back",
        SQLITE,
        '(lease.connection.execute)("COMMIT")',
        '(lease.connection.execute)("ROLLBACK")',
        f"{PROCESS}/test_kill.py -k eight",
    ),
    Mutant(
        KILLED,
        "the change feed is forgotten",
        "store/transactions.py",
        "        self._seq += 1\n",
        "        self._seq += 1\n        return self._seq\n",
        f"{PROCESS}/test_writers.py -k 4-20",
    ),
    Mutant(
        KILLED,
        "a drawer and its chunks are two transactions",
        "store/transactions.py",
        "        self._delete_chunks(row)\n        self._put_chunks(row, chunks)",
        '        self.connection.execute("COMMIT; BEGIN IMMEDIATE")\n'
        "        self._delete_chunks(row)\n        self._put_chunks(row, chunks)",
        f"{PROCESS}/test_kill.py -k 'nobody_notices and drawer'",
    ),
    Mutant(
        KILLED,
        "a step of migration and its number are two transactions",
        SQLITE,
        "                    step(connection)\n",
        "                    step(connection)\n"
        '                    connection.execute("COMMIT; BEGIN")\n',
        f"{PROCESS}/test_kill.py -k 'statement_of_opening and migrate'",
    ),
    Mutant(
        KILLED,
        "the palace's id is not written when it was killed in between",
        SQLITE,
        " and state and inspection.id_in(self._files.lock) == state.palace_id",
        "",
        f"{PROCESS}/test_kill.py -k 'statement_of_opening and open'",
    ),
    Mutant(
        KILLED,
        "only an Exception rolls back",
        SQLITE,
        "    def __exit__(self, *_: object) -> None:\n        self.end()\n",
        "    def __exit__(self, kind: type | None, *_: object) -> None:\n"
        "        if kind is None or issubclass(kind, Exception):\n            self.end()\n",
        f"{PROCESS}/test_waiting.py -k leaves_no_trace",
    ),
    Mutant(
        KILLED,
        "a full disk is some error",
        CONNECTIONS,
        "(apsw.FullError, StoreFullError, ",
        "(apsw.FullError, StoreError, ",
        f"{PROCESS}/test_faults.py -k 'full_disk and fact'",
    ),
    Mutant(
        KILLED,
        "what fails after the commit is an error of the write",
        SQLITE,
        "except apsw.Error:  # the write before",
        "except apsw.BusyError:  # the write before",
        f"{PROCESS}/test_faults.py -k no_matter",
    ),
    Mutant(
        FRESH,
        "each question of a read has its own snapshot",
        SQLITE,
        '                connection.execute("BEGIN")\n                tx = SqliteReadTx',
        "                tx = SqliteReadTx",
        f"{PROCESS}/test_threads.py -k snapshots",
    ),
    Mutant(
        FRESH,
        "who reads without locks does not look whether somebody has written",
        CONNECTIONS,
        "if self.immutable and self._stamp() != self._still:",
        "if False:",
        f"{PROCESS}/test_read_only.py -k 'comes_later or within_a_read'",
    ),
    Mutant(
        FRESH,
        "two writes within a tick of the clock look like one",
        CONNECTIONS,
        "            if not 0 <= age < _CLOCK_TICK_SECONDS:\n                break\n",
        "            break\n",
        f"{PROCESS}/test_read_only.py -k in_the_same_tick",
    ),
    Mutant(
        PLACE,
        "a palace is made without the writer lock",
        SQLITE,
        "            self._lock.acquire(deadline)\n            action(deadline)",
        "            action(deadline)",
        f"{PROCESS}/test_writers.py -k fresh_folder",
    ),
    Mutant(
        PLACE,
        "whose database it is is asked in two snapshots",
        SQLITE,
        '            connection.execute("BEGIN")\n            state = inspection',
        "            state = inspection",
        f"{PROCESS}/test_replacement.py -k no_strangers",
    ),
    Mutant(
        PLACE,
        "a database that is gone is begun anew",
        SQLITE,
        "            if known_id:\n                raise self._missing()\n",
        "",
        f"{PROCESS}/test_replacement.py -k never_begun_anew",
    ),
    Mutant(
        PLACE,
        "a read does not look whether the file is still there",
        SQLITE,
        "(look(tx, self.place))\n                pool.require_same_file()",
        "(look(tx, self.place))",
        f"{PROCESS}/test_replacement.py -k 'missed or made_anew'",
    ),
    Mutant(
        PLACE,
        "a write does not look before it begins",
        SQLITE,
        '("BEGIN IMMEDIATE")\n        pool.require_same_file()',
        '("BEGIN IMMEDIATE")',
        f"{PROCESS}/test_replacement.py -k never_begun_anew",
    ),
    Mutant(
        PLACE,
        "a write does not look before it commits",
        SQLITE,
        "            lease.pool.require_same_file()\n        except MovedError:\n"
        "            raise PalaceReplacedError(",
        "            pass\n        except MovedError:\n            raise PalaceReplacedError(",
        f"{PROCESS}/test_replacement.py -k goes_away_during",
    ),
    Mutant(
        PLACE,
        "any palace that lies there is taken for ours",
        SQLITE,
        'if not accept_any and self._palace_id not in ("", palace_id):',
        "if False:",
        f"{PROCESS}/test_replacement.py -k made_anew",
    ),
    Mutant(
        PLACE,
        "a palace restored into the file is taken for ours",
        SQLITE,
        "        if state.palace_id != self._palace_id:",
        "        if False:",
        f"{PROCESS}/test_replacement.py -k restored_into",
    ),
    Mutant(
        PLACE,
        "who has a palace open does not see that it was migrated",
        INSPECTION,
        "    if state.schema > len(migrations.MIGRATIONS):",
        "    if False:",
        f"{PROCESS}/test_damage.py -k 'newer_version or older_process'",
    ),
    Mutant(
        PLACE,
        "a forked child keeps its parent's connections",
        CONNECTIONS,
        "                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)\n"
        "                connection.close()",
        "                pass",
        f"{PROCESS}/test_fork.py -k opens_the_palace_itself",
    ),
    Mutant(
        PLACE,
        "a forked child ends its parent's transaction",
        SQLITE,
        " or self.pid != os.getpid()",
        "",
        f"{PROCESS}/test_fork.py -k large_write_block",
    ),
    Mutant(
        PLACE,
        "a forked child commits its parent's transaction",
        CONNECTIONS,
        "                connection.exec_trace = _refuse\n",
        "",
        f"{PROCESS}/test_fork.py -k large_write_block",
    ),
    Mutant(
        SERVER,
        "a stray print reaches the client",
        "mcp/stdio.py",
        "    os.dup2(2, 1)\n",
        "",
        "tests/server/test_stdio.py -k stray_print",
    ),
    Mutant(
        SERVER,
        "the server outlives its parent",
        "mcp/stdio.py",
        "            if os.getppid() != self._parent:\n                return False\n",
        "",
        "tests/server/test_stdio.py -k parent_dies",
    ),
    Mutant(
        SERVER,
        "a reply is written in one go or cut off",
        "mcp/stdio.py",
        "                    rest = rest[os.write(self._output, rest) :]",
        "                    os.write(self._output, rest)\n                    break",
        "tests/server/test_stdio.py -k 'socket_that_does_not_block or ten_megabytes'",
    ),
    Mutant(
        BYTES,
        "what is no Unicode is replaced",
        "text.py",
        'return text.encode("utf-8", "surrogatepass")',
        'return text.encode("utf-8", "replace")',
        f"{PROCESS}/test_threads.py -k byte_for_byte",
    ),
    Mutant(
        BYTES,
        "blanks at the end are cut off",
        "text.py",
        'return data.decode("utf-8", "surrogatepass")',
        'return data.decode("utf-8", "surrogatepass").rstrip()',
        f"{PROCESS}/test_threads.py -k byte_for_byte",
    ),
    Mutant(
        BYTES,
        "a damaged text is not noticed",
        INSPECTION,
        "if not isinstance(data, bytes) or texts.digest(data) != digest:",
        "if False:",
        f"{PROCESS}/test_damage.py -k flipped",
    ),
    Mutant(
        COPIES,
        "a backup has its name before it is whole",
        "store/copies.py",
        "    made = target.with_name(",
        "    made = target or target.with_name(",
        f"{PROCESS}/test_restore.py -k 'moment_of_a_backup and file'",
    ),
    Mutant(
        COPIES,
        "a backup needs a log beside it",
        "store/copies.py",
        '        made.pragma("journal_mode", "delete")\n',
        '        made.pragma("journal_mode", "wal")\n',
        f"{PROCESS}/test_restore.py -k nothing_beside_it",
    ),
    Mutant(
        COPIES,
        "a restore keeps the id of the palace in the backup",
        "store/transactions.py",
        "palace_id = secrets.token_hex(8)",
        "palace_id = self._began.palace_id",
        f"{PROCESS}/test_restore.py -k numbered_after",
    ),
    Mutant(
        COPIES,
        "changes are numbered on from the backup",
        "store/transactions.py",
        "        self._seq = max(self._seq, replaced.seq)\n",
        "",
        f"{PROCESS}/test_restore.py -k numbered_after",
    ),
    Mutant(
        COPIES,
        "what is replaced is not kept",
        SQLITE,
        "                self._copy(kept, sound=False)\n",
        "",
        f"{PROCESS}/test_restore.py -k numbered_after",
    ),
    Mutant(
        COPIES,
        "vectors of the old palace are stored in the new one",
        "embedding.py",
        "    if tx.state().palace_id != palace_id:",
        "    if False:",
        f"{PROCESS}/test_restore.py -k 'never_become and embed'",
    ),
    Mutant(
        COPIES,
        "a log is left beside the file that is put in its place",
        "store/restore.py",
        "(files.shm, files.wal, journal, files.database)",
        "(files.shm, files.database)",
        f"{PROCESS}/test_restore.py -k cannot_be_opened",
    ),
    Mutant(
        COPIES,
        "another definition of an index is not noticed",
        INSPECTION,
        "for name, _ in expected - set(connection.execute(query)):",
        "for name, _ in expected - expected:",
        f"{PROCESS}/test_damage.py -k definition",
    ),
    Mutant(
        COPIES,
        "a palace's own row of other types is taken for good",
        INSPECTION,
        "    if not all(isinstance(each, int) for each",
        "    if not any(isinstance(each, int) for each",
        f"{PROCESS}/test_damage.py -k 'no_number or read_each_time'",
    ),
    Mutant(
        COPIES,
        "what an undo replaced is forgotten when the trash is emptied",
        "history.py",
        "(lost or first.op in (Op.UPDATE, Op.DELETE))",
        "(first.op in (Op.UPDATE, Op.DELETE))",
        "tests/cli/test_care.py -k taken_away",
    ),
)


def main(words: list[str]) -> int:
    chosen = [
        each
        for each in MUTANTS
        if not words or any(word in f"{each.promise} {each.fault}" for word in words)
    ]
    code = 0
    promise = ""
    for each in chosen:
        if each.promise != promise:
            promise = each.promise
            print(f"\n{promise}")
        begun = time.monotonic()
        verdict = judge(each)
        if verdict != "red":
            code = max(code, 2 if verdict == "stale" else 1)
        print(f"  {verdict:10} {time.monotonic() - begun:5.1f} s  {each.fault}  ({each.test})")
    print(f"\n{len(chosen)} faults, " + ("each turns its test red" if not code else "NOT all red"))
    return code


@functools.cache
def passes(test: str) -> bool:
    """Whether the test passes without any fault: else that it is red with one proves nothing."""
    return run(test, ROOT / "src") == "SURVIVES"


def judge(mutant: Mutant) -> str:
    """Plants the fault and runs its test: red as it should be, or what else came of it."""
    if not passes(mutant.test):
        return "red anyway"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        copytree(ROOT / "src", source, ignore=ignore_patterns("__pycache__"))
        file = source / "palatine" / mutant.file
        text = file.read_text("utf-8")
        if text.count(mutant.old) != 1:
            return "stale"
        file.write_text(text.replace(mutant.old, mutant.new), "utf-8")
        return run(mutant.test, source)


def run(test: str, source: Path) -> str:
    path, _, words = test.partition(" -k ")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", path]
    if words:
        command += ["-k", words.strip("'")]
    environment = os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "hangs"
    if done.returncode == 0 and " passed" not in done.stdout:
        return "skipped"
    # Anything but 1, a failed test, proves nothing: no such test, a module that does not load.
    return {0: "SURVIVES", 1: "red"}.get(done.returncode, f"error {done.returncode}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
