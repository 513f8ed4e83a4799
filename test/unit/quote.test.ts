import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { shellString, shellWord } from "../../components/render/quote";

/** Any text a shell word can hold, with more than its share of what shells take for something else. */
const hostile = fc
  .array(fc.oneof(fc.constantFrom(..." '\"\\$`;&|<>(){}*?[]~#!\n\t-=%"), fc.string({ unit: "grapheme" })), {
    maxLength: 12,
  })
  .map((parts) => parts.join("").replaceAll("\0", ""));

/** What bash makes of a list of words, read back exactly. */
function words(text: string): string[] {
  return execFileSync("bash", ["-c", `printf '%s\\0' ${text}`], { encoding: "utf8" })
    .split("\0")
    .slice(0, -1);
}

describe("quote, read back by a real bash", () => {
  it("keeps every word exactly", () => {
    fc.assert(
      fc.property(fc.array(hostile, { minLength: 1, maxLength: 40 }), (values) => {
        assert.deepEqual(words(values.map(shellWord).join(" ")), values);
        assert.deepEqual(words(values.map(shellString).join(" ")), values);
      }),
      { numRuns: 60 },
    );
  });

  it("leaves plain words as they are", () => {
    assert.equal(shellWord("/var/backups/trade-show-app"), "/var/backups/trade-show-app");
    assert.equal(shellWord("a b"), "'a b'");
    assert.equal(shellWord(""), "''");
  });

  it("refuses NUL, which no shell word can hold", () => {
    assert.throws(() => shellWord("a\0b"), /NUL/);
  });
});
