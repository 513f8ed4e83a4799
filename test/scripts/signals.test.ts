import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { once } from "node:events";

/** A part of a night: it has something to remove, and waits. */
const part = `
  set -Eeuo pipefail
  source scripts/lib/signals.sh
  end_part() {
    local status=$?
    be_deaf
    rm -f -- "$1"
    exit "$status"
  }
  trap 'end_part "$partial"' EXIT
  end_when_told
  partial=$1
  : >"$partial"
  cat <&0 & # ends with the test's end of its pipe
  echo ready
  wait "$!"`;

describe("a process that is told to stop", function () {
  let directory: string;

  beforeEach(() => (directory = fs.mkdtempSync(path.join(os.tmpdir(), "pgbackup-signals-"))));
  afterEach(() => {
    fs.rmSync(directory, { recursive: true });
  });

  // Systemd tells it, and whoever started it does a moment later: in the middle of its first steps.
  it("twice in a moment, whatever the moment, comes to its end", async () => {
    for (let round = 0; round < 200; round++) {
      const partial = path.join(directory, String(round));
      const child = spawn("bash", ["-c", part, "part", partial], { stdio: "pipe" });
      const said: Buffer[] = [];
      child.stderr.on("data", (chunk: Buffer) => said.push(chunk));
      await once(child.stdout, "data");
      child.kill("SIGTERM");
      const until = process.hrtime.bigint() + BigInt(round * 5_000);
      while (process.hrtime.bigint() < until);
      child.kill("SIGTERM");
      const [status] = (await once(child, "exit")) as [number];
      assert.deepEqual(
        [status, Buffer.concat(said).toString(), fs.existsSync(partial)],
        [143, "", false],
        `round ${round}`,
      );
    }
  });
});
