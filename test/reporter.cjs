// Mocha's own spec reporter, which also leaves its counts, and what failed and why, in the file that COUNTS names:
// test/run.ts adds them up and says them last, where a cut log still shows them.
const { appendFileSync } = require("node:fs");
const { reporters, Runner } = require("mocha");

module.exports = class extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    const failed = [];
    runner.on(Runner.constants.EVENT_TEST_FAIL, (test, error) => {
      failed.push(`${test.fullTitle()}\n${error.stack ?? error.message}`);
    });
    // A pending test is one that did not hold.
    runner.on(Runner.constants.EVENT_TEST_PENDING, (test) => failed.push(`${test.fullTitle()}\nwas skipped`));
    runner.once(Runner.constants.EVENT_RUN_END, () => {
      appendFileSync(process.env.COUNTS, `${JSON.stringify({ passed: runner.stats.passes, failed })}\n`);
    });
  }
};
