# shellcheck shell=bash
# The verdict of verify.sh (see there), for people and for programs.

# The verdict for people: every table of a small database, the differing ones of a large one.
print_verdict() {
  jq -r "$HEALTHY $VERDICT_WORDS $VERDICT_TABLES $VERDICT_SUMMARY"' print_tables, print_summary' "$WORK/verdict.json"
}

print_verdict_json() { jq . "$WORK/verdict.json"; }

# shellcheck disable=SC2016 # the variables are jq's
readonly VERDICT_WORDS='
def cell($n): tostring | . + (" " * ([$n - length, 0] | max));
def right($n): tostring | (" " * ([$n - length, 0] | max)) + .;
def mark: if .ok then "ok" else "WRONG" end;
def line($w; $name; $mark): "\($name | cell($w))  \(.expected // "-" | right(12))  \(.found // "-" | right(12))  \($mark)";
def some: if length > 40 then map(select(.ok | not)) else . end;
def good: map(select(.ok)) | length;
def noted: map(select((.ok | not) or (.kind != "extension" and (.found // "" | is_healthy | not))));
'

# shellcheck disable=SC2016 # the variables are jq's
readonly VERDICT_TABLES='
def width: ([.tables[].table, (.foreign_keys[] | "\(.table) \(.constraint)"),
  (.structure | noted[] | "\(.kind) \(.name)"), (" " * 20)] | map(length) | max | [., 60] | min);
def remark: if .ok | not then "WRONG" elif .expected == null then "not compared" else "ok (so was the source)" end;

def print_tables: . as $verdict | width as $w |
  "Database \(.database)" + (if .counts_compared then ", compared with \(.against.kind) \(.against.name)" else "" end), "",
  "\("Table" | cell($w))  \("expected" | right(12))  \("found" | right(12))",
  (.tables | some[] | line($w; .table; if $verdict.counts_compared then mark else "not compared" end)),
  (if (.tables | length) > 40 then "(\(.tables | length) tables; only those that differ are shown)" else empty end), "",
  (.newest[] | "Newest of \(.table) by \(.column): \(if .expected_md5 == null then "not compared" else mark end)",
    (.newest[:5][] | "  " + (map(tostring) | join("  "))), ""),
  "\("Foreign key" | cell($w))  \("orphans" | right(12))",
  (.foreign_keys | some[] | "\("\(.table) \(.constraint)" | cell($w))  \(.orphans | right(12))  \(mark)" +
    if .validated then "" else " (NOT VALID: the source had \(.expected))" end), "",
  (.structure | noted | select(length > 0) | "\("Structure" | cell($w))  \("expected" | right(12))  \("found" | right(12))",
    (.[] | line($w; "\(.kind) \(.name)"; remark)), ""),
  (.checksums | select(length > 0) | "Checksum of rows",
    (.[] | "\(.table | cell($w))  \(.expected // "-")  \(.found // "-")  \(mark)"), "");
'

# shellcheck disable=SC2016 # the variables are jq's
readonly VERDICT_SUMMARY='
def why_not: if .counts_compared then "the manifest, of a part or of an older version, does not speak of it" else "there is no manifest" end;

def print_summary: (if .proved then "Proved:" else "NOT PROVED:" end),
  "  table counts   " + (if .counts_compared then "\(.tables | good) of \(.tables | length) equal, \([.tables[].found // 0] | add // 0) rows"
    else "not compared: \(why_not)" end),
  "  newest records " + (if (.newest | length) == 0 then "none configured or none there" else "\(.newest | good) of \(.newest | length) tables" +
    if any(.newest[]; .expected_md5 != null) then " as expected" else " shown, not compared" end end),
  "  foreign keys   \(.foreign_keys | good) of \(.foreign_keys | length) without orphans, \([.foreign_keys[].orphans] | add // 0) orphans",
  "  structure      " + (if .structure_compared then "\(.structure | good) of \(.structure | length) as expected: " +
    (.structure | group_by(.kind) | map("\(length) \(.[0].kind)") | join(", ")) else "not compared: \(why_not)" end),
  "  checksums      " + (if (.checksums | length) == 0 then "none asked for"
    else "\(.checksums | good) of \(.checksums | length) tables equal" end);
'
