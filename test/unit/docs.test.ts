import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { reportIsCurrent } from "../../bench/report";
import { renderSettingsPage, settingsPage } from "../../docs/settings";

describe("docs/settings.md", () => {
  it("has the settings as the schema in Pulumi.yaml has them (else: npm run docs)", () => {
    assert.equal(readFileSync(settingsPage, "utf8"), renderSettingsPage());
  });
});

describe("docs/bench.md", () => {
  it("and its charts are what bench/results.json says (else: npm run bench -- --report)", () => {
    assert.ok(reportIsCurrent());
  });
});

describe("README.md", () => {
  it("says as many faults as docs/failures.md has", () => {
    const rows = readFileSync("docs/failures.md", "utf8").split("\n");
    const faults = rows.filter((row) => /^\| (?!fault |---)/.test(row)).length;
    assert.match(readFileSync("README.md", "utf8"), new RegExp(`what each of ${faults} faults does`));
  });
});
