import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import fc from "fast-check";
import { renderEnvironment } from "../../components/render/environment";
import { connectionName, sqlIdentifier, sqlLiteral } from "../../components/render/quote";
import { Cluster } from "./cluster";

/** Any text without NUL, with more than its share of what parsers take for something else. */
const hostile = fc
  .array(
    fc.oneof(
      fc.constantFrom(..." '\"\\$`;&|<>(){}*?[]~#!\n\t-=%:", "--", "/*", "$$", ":x", "\\!"),
      fc.string({ unit: "grapheme" }),
    ),
    { maxLength: 10 },
  )
  .map((parts) => parts.join("").replaceAll("\0", ""));

describe("quoting, read back by the real psql and bash", function () {
  let cluster: Cluster;

  before(() => (cluster = new Cluster()));
  after(() => cluster.stop());

  /** Runs a psql script from a file, as the agent does, and returns what it prints. */
  function psql(script: string): string {
    const file = path.join(cluster.directory, "script.sql");
    fs.writeFileSync(file, script);
    const options = ["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-f", file];
    return cluster.asPostgres("psql", options);
  }

  it("keeps SQL literals exactly, whatever standard_conforming_strings says", () => {
    fc.assert(
      fc.property(
        fc.array(hostile, { minLength: 1, maxLength: 30 }),
        fc.constantFrom("on", "off"),
        (texts, setting) => {
          const hex = texts.map((text) => Buffer.from(text).toString("hex"));
          const query = texts
            .map((text) => `SELECT encode(convert_to(${sqlLiteral(text)}, 'UTF8'), 'hex');`)
            .join("\n");
          const read = psql(
            `SET standard_conforming_strings = ${setting};\nSET escape_string_warning = off;\n${query}`,
          );
          assert.deepEqual(read.split("\n").slice(0, -1), hex);
        },
      ),
      { numRuns: 25 },
    );
  });

  it("keeps SQL identifiers exactly", () => {
    const names = hostile.filter((name) => name !== "" && Buffer.byteLength(name) <= 63);
    fc.assert(
      fc.property(fc.uniqueArray(names, { minLength: 1, maxLength: 30 }), (list) => {
        const columns = list.map((name) => `1 AS ${sqlIdentifier(name)}`).join(", ");
        const read = psql(`CREATE TEMP TABLE t AS SELECT ${columns};
SELECT encode(convert_to(attname, 'UTF8'), 'hex') FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum;`);
        assert.deepEqual(
          read.split("\n").slice(0, -1),
          list.map((name) => Buffer.from(name).toString("hex")),
        );
      }),
      { numRuns: 25 },
    );
  });

  it("names databases that look like something else", () => {
    for (const name of ["plain", "a=b", "postgres://x", 'it\'s \\ "so"', " $(x); ", "-dash", "ünï"]) {
      psql(`CREATE DATABASE ${sqlIdentifier(name)};`);
      const read = cluster.asPostgres("psql", ["-XqAt", "-d", connectionName(name), "-c", "SELECT current_database()"]);
      assert.equal(read, `${name}\n`);
    }
  });

  it("keeps the values of backup.env exactly", () => {
    fc.assert(
      fc.property(fc.array(hostile, { maxLength: 20 }), hostile, (list, word) => {
        const file = path.join(cluster.directory, "backup.env");
        fs.writeFileSync(
          file,
          renderEnvironment("Test.", [
            ["WORD", word],
            ["LIST", list, "a list"],
            ["NUMBER", 14],
          ]),
        );
        const program = 'source "$1"; printf "%s\\0" "$NUMBER" "$WORD" "${LIST[@]}"';
        const read = execFileSync("bash", ["-euc", program, "bash", file], { encoding: "utf8" })
          .split("\0")
          .slice(0, -1);
        assert.deepEqual(read, list.length === 0 ? ["14", word] : ["14", word, ...list]);
      }),
      { numRuns: 60 },
    );
  });
});
