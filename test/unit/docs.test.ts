import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { reportIsCurrent } from "../../bench/report";
import { renderReadme } from "../../docs/settings";

describe("README.md", () => {
  it("has the settings as the schema in Pulumi.yaml has them (else: npm run docs)", () => {
    assert.equal(readFileSync(join(__dirname, "../../README.md"), "utf8"), renderReadme());
  });
});

describe("docs/bench.md", () => {
  it("and its charts are what bench/results.json says (else: npm run bench -- --report)", () => {
    assert.ok(reportIsCurrent());
  });
});
