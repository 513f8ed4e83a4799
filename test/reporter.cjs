// Mocha's own spec reporter, which also leaves its counts in the file that COUNTS names: test/run.ts adds them up.
const { appendFileSync } = require("node:fs");
const { reporters, Runner } = require("mocha");

module.exports = class extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    runner.once(Runner.constants.EVENT_RUN_END, () => {
      const { passes, failures, pending } = runner.stats;
      // A pending test is one that did not hold.
      appendFileSync(process.env.COUNTS, `${JSON.stringify({ passed: passes, failed: failures + pending })}\n`);
    });
  }
};
