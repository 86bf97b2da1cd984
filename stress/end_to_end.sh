#!/usr/bin/env bash
# end_to_end.sh INGOT TREE...: a life of a store with real files, through the command alone.
# Puts every regular file of the trees, is killed in the middle (SIGKILL), reopens, checks, resumes,
# gets everything back, drops half of the objects, collects, loses its index, rebuilds it; after each
# step what should be there is compared byte for byte and `check --read-data` must be clean.
set -euo pipefail

ingot=$1
shift
work=$(mktemp -d "${TMPDIR:-/var/tmp}/ingot-life.XXXXXX")
trap 'rm -rf "$work"' EXIT
export INGOT_STORE=$work/store

fail() { echo "FAILED: $*" >&2; exit 1; }
say() { printf '%5ss  %s\n' "$SECONDS" "$*"; }
check() { "$ingot" check --read-data >"$work/check" || { cat "$work/check"; fail "check after $1"; }; }

# Every id's object equals a file that it was printed for.
compare() { # IDS
    rm -rf "$work/back"
    mkdir "$work/back"
    xargs -a "$1" -n 5000 "$ingot" get -d "$work/back"
    python3 - "$1" "$work/SUMS" "$work/back" <<'PYTHON'
import filecmp, os, sys
ids, sums, back = sys.argv[1:]
path_of = {}
for line in open(sums, encoding="utf-8", errors="surrogateescape"):
    path_of.setdefault(line[:64], line[66:-1])
wanted = open(ids).read().split()
for id in wanted:
    if not filecmp.cmp(path_of[id], os.path.join(back, id), shallow=False):
        sys.exit(f"object {id} differs from {path_of[id]}")
if len(os.listdir(back)) != len(wanted):
    sys.exit("more objects than were asked for")
PYTHON
    rm -rf "$work/back"
}

find "$@" -xdev -type f -readable ! -path $'*\n*' ! -path '*\\*' -print0 >"$work/files"
count=$(tr -dc '\0' <"$work/files" | wc -c)
[ "$count" -ge 100 ] || fail "only $count files under $*"

# Killed in the middle: when about a third of the lines was printed, whatever that takes.
"$ingot" init --quiet
: >"$work/SUMS.killed"
"$ingot" put --files0-from="$work/files" >"$work/SUMS.killed" &
writer=$!
while kill -0 $writer 2>/dev/null && [ "$(wc -l <"$work/SUMS.killed")" -lt $((count / 3)) ]; do
    sleep 0.01
done
kill -KILL $writer 2>/dev/null || echo "note: put had finished before it was killed" >&2
wait $writer 2>/dev/null || true
# The last line may be cut short; what was printed whole was acknowledged.
sed '$!b; /^[0-9a-f]\{64\}  ./!d' "$work/SUMS.killed" | grep -E '^[0-9a-f]{64}  ' | cut -c 1-64 |
    sort -u >"$work/acked"
say "put of $count files killed after $(wc -l <"$work/acked") acknowledged objects"

check "the kill"
xargs -a "$work/acked" -n 5000 "$ingot" has >"$work/has" || fail "an acknowledged object is missing"
say "reopened: check clean, every acknowledged object is there"

"$ingot" put --files0-from="$work/files" >"$work/SUMS"
[ "$(wc -l <"$work/SUMS")" = "$count" ] || fail "put did not print every file"
if command -v b3sum >/dev/null; then
    b3sum --quiet --check "$work/SUMS" || fail "b3sum disagrees with an id"
fi
cut -c 1-64 "$work/SUMS" | sort -u >"$work/ids"
check "the resumed put"
compare "$work/ids"
say "resumed: $(wc -l <"$work/ids") objects equal byte for byte, check clean"

awk 'NR % 2 == 0' "$work/ids" >"$work/drop"
awk 'NR % 2 == 1' "$work/ids" >"$work/keep"
"$ingot" ls --json | python3 -c '
import json, sys
drop = set(open(sys.argv[1]).read().split())
for line in sys.stdin:
    item = json.loads(line)
    if item.get("id") in drop:
        print(("unref %s\n" % item["id"]) * item["refs"], end="")
' "$work/drop" >"$work/requests"
"$ingot" batch <"$work/requests" >"$work/unrefs" || fail "an unref was refused"
before=$("$ingot" stats --json | python3 -c 'import json,sys; s=json.load(sys.stdin); print(s["log_bytes"]+s["large_bytes"])')
"$ingot" gc --dry-run --grace=0 --limbo=0 --list | sort >"$work/foreseen"
cmp "$work/foreseen" "$work/drop" || fail "the dry run names other objects than those without references"
"$ingot" gc --grace=0 --limbo=0 >"$work/gc"
after=$("$ingot" stats --json | python3 -c 'import json,sys; s=json.load(sys.stdin); print(s["log_bytes"]+s["large_bytes"])')
say "collected $(wc -l <"$work/drop") objects: $((before / 1000000)) MB before, $((after / 1000000)) MB after"
check "the collection"
"$ingot" ls | cmp - "$work/keep" || fail "the store does not hold exactly the referenced half"
if "$ingot" has "$(head -n 1 "$work/drop")" >/dev/null; then fail "a collected object is still there"; fi
compare "$work/keep"
say "the other half is equal byte for byte, check clean"

"$ingot" ls --long >"$work/listed"
rm -rf "$INGOT_STORE/index"
status=0
"$ingot" ls >/dev/null 2>"$work/refusal" || status=$?
[ $status != 0 ] || fail "a store without an index opened"
"$ingot" repair --rebuild-index >"$work/repair"
"$ingot" ls --long | cmp - "$work/listed" || fail "the rebuilt index differs"
check "the rebuild"
say "index lost and rebuilt: same ids, sizes, counts, places; check clean"
