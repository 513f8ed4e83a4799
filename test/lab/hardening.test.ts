/**
 * How the nightly job is kept to its task: the score, and, because a score can be gamed, what is refused to a program
 * in its place. In a container that may mount and in one that may not (Proxmox: nesting=1 is off).
 */
import * as assert from "node:assert/strict";
import { renderSandbox } from "../../components/render/sandbox";
import { until } from "../../lab/waiting";
import { changed, Deployment, failure, warnings } from "./deployment";

const account = "trade_show_backup_prod";
const service = "trade-show-db-backup.service";
const dumps = "/var/backups/trade-show-app";
const state = "/var/lib/trade-show-db";
const table = `${state}/probes`;

/** What a program in the job's place tries: name and line of bash, which works for root outside of the unit. */
const probes: Readonly<Record<string, string>> = {
  "write /etc": "echo x >/etc/pgbackup-probe",
  "write /usr": "echo x >/usr/local/bin/pgbackup-probe",
  "read /root": "cat /root/pgbackup-probe",
  "read password hashes": "cat /etc/shadow",
  "see /home": "cat /home/pgbackup-probe",
  "see /tmp": "cat /tmp/pgbackup-probe",
  "see other accounts' processes": "cat /proc/1/comm",
  "signal another account's process": "kill -0 1",
  sudo: "sudo -n true",
  "make a set-user-id program": `cp /bin/true ${state}/probe && chmod 4755 ${state}/probe`,
  "unshare users": "unshare --user true",
  "unshare mounts": "unshare --mount true",
  mount: "mount -t tmpfs none /mnt",
  "raise its priority": "ionice -c 2 -n 0 true",
  "open a raw socket": "perl -e 'socket(my $s, 2, 3, 1) or die qq($!\\n)'",
  "open a packet socket": "perl -e 'socket(my $s, 17, 3, 0) or die qq($!\\n)'",
  "open a netlink socket": "perl -e 'socket(my $s, 16, 3, 0) or die qq($!\\n)'",
  "map memory to write and execute": "perl -e '$m = syscall(9, 0, 4096, 7, 34, -1, 0); $m == -1 and die qq($!\\n)'",
  "write its directories": `echo x >${dumps}/probe && echo x >${state}/probe`,
  "ask the database": `psql -XAtqd expense_app_production -c 'SELECT 1'`,
};

const tidy = `rm -f /etc/pgbackup-probe /usr/local/bin/pgbackup-probe ${dumps}/probe ${state}/probe`;

/** Which of them succeed in the unit; `full` and `basic` are the two sandboxes. */
const allowed = {
  full: ["ask the database", "write its directories"],
  // What the runbook says is not enforced there.
  basic: ["ask the database", "see /home", "see /tmp", "see other accounts' processes", "write its directories"],
};

describe("hardening", function () {
  for (const [what, { vmid, nesting, sandbox, most }] of Object.entries({
    "in a container that may mount": { vmid: 2365, nesting: true, sandbox: "full", most: 1.3 },
    "in a container that may not": { vmid: 2366, nesting: false, sandbox: "basic", most: 2.9 },
  } as const)) {
    describe(what, () => {
      let deployment: Deployment;
      let said: string[];

      before(async () => {
        deployment = await Deployment.create(vmid, { nesting });
        said = warnings(await deployment.stack.up());
        await deployment.shell(
          "for each in /root /home /tmp; do echo x >$each/pgbackup-probe; chmod 644 $each/pgbackup-probe; done",
        );
      });

      after(() => deployment.remove());

      it(`is ${sandbox}, and preview ${nesting ? "has nothing to add" : "warns of it"}`, async () => {
        const unit = await deployment.shell(`systemctl cat ${service}`);
        assert.equal(/^ProtectSystem=strict$/m.test(unit), sandbox === "full");
        const warning = `The backup runs with basic hardening: container ${vmid} may not mount`;
        assert.deepEqual(
          said.map((text) => text.slice(0, warning.length)),
          nesting ? [] : [warning],
        );
      });

      it(`scores ${most} or better in systemd-analyze security`, async () => {
        const analysis = await deployment.run(["systemd-analyze", "security", "--no-pager", service]);
        const [, score] = /Overall exposure level for \S+: ([0-9.]+)/.exec(analysis) ?? [];
        assert.ok(Number(score) <= most, analysis);
      });

      it("lets the job do its work, at low priority", async () => {
        await deployment.run(["systemctl", "start", service]);
        const journal = await deployment.journal(service);
        assert.match(journal, /the night succeeded: 1 database\(s\)/);
        assert.doesNotMatch(journal, /226\/NAMESPACE|Operation not permitted|Permission denied/);
        assert.deepEqual(await runInUnit({ priority: "nice", disk: "ionice" }), {
          priority: "0 10",
          disk: "0 idle",
        });
      });

      it("the probes work, outside of the unit", async () => {
        const task = allowed.full;
        const others = Object.fromEntries(Object.entries(probes).filter(([name]) => !task.includes(name)));
        const found = await runProbes(others, async (script) => void (await deployment.shell(script)));
        await deployment.shell(`${tidy}; umount /mnt`);
        assert.deepEqual(
          Object.entries(found).filter(([, answer]) => !answer.startsWith("0")),
          [],
        );
      });

      it("refuses a program in its place all but its task, and the runbook says what is not refused", async () => {
        const found = await runInUnit(probes);
        assert.deepEqual(
          Object.keys(found).filter((name) => found[name]?.startsWith("0")),
          Object.keys(probes).filter((name) => allowed[sandbox].some((each) => each === name)),
          JSON.stringify(found, undefined, 2),
        );
        const [, chapter = ""] = /^## What the nightly job can do$([^]*?)^## /m.exec(await runbook()) ?? [];
        assert.equal(chapter.includes("**Not enforced** here, because the container may not mount"), !nesting);
        await deployment.shell(tidy);
      });

      it("allows no address but the bucket's, which the lab's container does not enforce, as the runbook says", async () => {
        const { host, s3 } = deployment.lab;
        const target = new URL(s3.endpoint).hostname;
        const unit = await deployment.shell(`systemctl cat ${service}`);
        assert.match(unit, new RegExp(`^IPAddressDeny=any\nIPAddressAllow=${target.replaceAll(".", "\\.")}$`, "m"));
        const connect = (address: string, port: string | number) => `: </dev/tcp/${address}/${port}`;
        const found = await runInUnit({
          bucket: connect(target, new URL(s3.endpoint).port),
          other: connect(host.address, host.port),
        });
        assert.equal(found.bucket, "0");
        assert.equal(found.other, "0", "if this is refused now: better than was known; then let the runbook say so");
        assert.match(
          await runbook(),
          new RegExp(`^- Allowed addresses: ${target}\\. \\*\\*Not enforced\\*\\* in an`, "m"),
        );
      });

      it("refuses every network socket where the job has no target", async () => {
        const { host } = deployment.lab;
        const lines = renderSandbox({ sandbox, writable: [dumps, state], hosts: [], ownAccount: true });
        const unit = `[Service]\nType=oneshot\nUser=${account}\nExecStart=/\n${lines}\n`;
        const found = await runInUnit(
          { "the host": `: </dev/tcp/${host.address}/${host.port}`, database: probes["ask the database"] ?? "" },
          unit,
        );
        assert.match(found["the host"] ?? "", /^1 .*Address family not supported by protocol/);
        assert.equal(found.database, "0 1");
      });

      async function runbook(): Promise<string> {
        return String((await deployment.stack.outputs()).runbook?.value);
      }

      /** Runs lines of bash in a unit that differs from the deployed one in nothing but what it starts. */
      function runInUnit(lines: Readonly<Record<string, string>>, unit?: string): Promise<Record<string, string>> {
        return runProbes(lines, async (script) => {
          const text = unit ?? (await deployment.run(["cat", `/etc/systemd/system/${service}`]));
          const copy = text.replace(/^ExecStart=.*$/m, "ExecStart=/bin/bash /usr/local/lib/pgbackup-probe.sh");
          assert.equal(await deployment.shell(`systemctl show -P DropInPaths ${service}`), "\n");
          for (const [path, content] of [
            ["/usr/local/lib/pgbackup-probe.sh", script],
            ["/run/systemd/system/pgbackup-probe.service", copy],
          ] as const) {
            const { code, stderr } = await deployment.lab.exec(vmid, ["tee", path], { input: content });
            assert.equal(code, 0, stderr);
          }
          await deployment.shell("systemctl daemon-reload; systemctl start pgbackup-probe.service");
        });
      }

      /** Name of each line, with its exit status and what it printed, on one line. */
      async function runProbes(
        lines: Readonly<Record<string, string>>,
        run: (script: string) => Promise<void>,
      ): Promise<Record<string, string>> {
        const each = Object.values(lines).map(
          (line) => `status=0; said=$(eval ${quote(line)} 2>&1 | tr '\\n' ' ') || status=1; echo "$status $said"`,
        );
        await deployment.shell(`: >${table}; chown ${account} ${table}`);
        await run(`set -o pipefail\n{\n${each.join("\n")}\n} >${table}\n`);
        const answers = (await deployment.run(["cat", table])).trimEnd().split("\n");
        await deployment.run(["rm", table]);
        assert.equal(answers.length, Object.keys(lines).length, answers.join("\n"));
        return Object.fromEntries(
          Object.keys(lines).map((name, index) => [name, (answers[index] ?? "").replace(/(?<=\S) $/, "")]),
        );
      }

      if (nesting) {
        it("hardening basic: is a change of the unit alone, and of nothing to warn of", async () => {
          await deployment.stack.setConfig("hardening", "basic");
          const outcome = await deployment.stack.up();
          assert.deepEqual(changed(outcome), [`update ${service}`, "update trade-show-db-drill.service"]);
          assert.deepEqual(warnings(outcome), []);
          assert.doesNotMatch(await deployment.shell(`systemctl cat ${service}`), /^(Protect(System|Home)|Private)/m);
          await deployment.stack.setConfig("hardening", "full");
          assert.deepEqual(changed(await deployment.stack.up()), [
            `update ${service}`,
            "update trade-show-db-drill.service",
          ]);
          assert.match(await deployment.shell(`systemctl cat ${service}`), /^ProtectSystem=strict$/m);
          await deployment.expectClean();
        });

        it("a time limit that systemd does not understand stops preview", async () => {
          await deployment.stack.setConfig("timeLimit", "12 parsecs");
          const said = await failure(deployment.stack.preview());
          assert.match(
            said,
            /timeLimit: systemd in container \d+ does not understand "12 parsecs": .*Right is e\.g\. "12h"/,
          );
        });

        it("a run is never doubled, and ends at its time limit, a failure that leaves earlier dumps as they were", async () => {
          await deployment.stack.setConfig("timeLimit", "20s");
          assert.deepEqual(changed(await deployment.stack.up()), [
            `update ${service}`,
            "update trade-show-db-drill.service",
          ]);
          const before = await listDumps();
          const locked = deployment.sql("BEGIN; LOCK TABLE expenses; SELECT pg_sleep(600)").catch(() => "ended");
          await until("the table is locked", async () => await isLocked(), { timeout: 10_000 });

          await deployment.run(["systemctl", "start", "--no-block", service]);
          await until(
            "the run waits for the table",
            async () => (await deployment.sql("SELECT count(*) FROM pg_locks WHERE NOT granted")) !== "0" || undefined,
          );
          const invocation = await deployment.shell(`systemctl show -P InvocationID ${service}`);
          await deployment.run(["systemctl", "start", "--no-block", service]);
          const byHand = await deployment.lab.exec(vmid, ["/usr/local/bin/trade-show-db-backup.sh", "--now"]);
          assert.equal(byHand.code, 3);
          assert.match(byHand.stderr, /another run is active/);

          const end = await until("the run has ended", async () => {
            const found = await deployment.shell(`systemctl show -p ActiveState,Result,InvocationID ${service}`);
            return found.includes("ActiveState=failed\n") ? found.trimEnd().split("\n").sort() : undefined;
          });
          assert.deepEqual(end, ["ActiveState=failed", `InvocationID=${invocation.trim()}`, "Result=timeout"]);
          await deployment.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE mode = 'AccessExclusiveLock'");
          assert.equal(await locked, "ended");
          assert.equal(await listDumps(), before);

          await deployment.stack.setConfig("timeLimit", "12h");
          await deployment.stack.up();
          await deployment.run(["systemctl", "start", service]);
          assert.notEqual(await listDumps(), before);
        });
      } else {
        it("would have failed with the full sandbox: the lab's lack of nesting is real", async () => {
          const sandboxed = ["systemd-run", "--wait", "--quiet", "-p", "ProtectSystem=strict", "true"];
          assert.equal((await deployment.lab.exec(vmid, sandboxed)).code, 226);
        });

        it("hardening full: is refused before anything is touched, with drift detection or without", async () => {
          const message = new RegExp(
            `hardening is "full", but container ${vmid} may not mount.*right would be "auto" or "basic", or.*nesting=1`,
          );
          await deployment.stack.setConfig("hardening", "full");
          for (const operation of [deployment.stack.preview(), deployment.stack.up()]) {
            assert.match(await failure(operation), message);
          }
          await deployment.stack.setConfig("driftDetection", "false");
          assert.match(await failure(deployment.stack.preview()), message);
          await deployment.stack.setConfig("driftDetection", "true");
        });

        it("hardening basic: accepts it, so that preview has nothing to warn of", async () => {
          await deployment.stack.setConfig("hardening", "basic");
          const outcome = await deployment.stack.preview({ expectNoChanges: true });
          assert.deepEqual(warnings(outcome), []);
          await deployment.stack.setConfig("hardening", "auto");
        });

        it("is full once the container may mount", async () => {
          await deployment.lab.createContainer(vmid, { fresh: true });
          await deployment.lab.createSampleDatabase(vmid, { database: "expense_app_production", expenses: 2_000 });
          assert.deepEqual(warnings(await deployment.stack.up()), []);
          await deployment.expectClean();
          assert.match(await deployment.shell(`systemctl cat ${service}`), /^ProtectSystem=strict$/m);
          await deployment.run(["systemctl", "start", service]);
        });
      }

      async function listDumps(): Promise<string> {
        return deployment.shell(`ls -A ${dumps}`);
      }

      async function isLocked(): Promise<true | undefined> {
        const count = await deployment.sql(
          "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted",
          "postgres",
        );
        return count === "1" ? true : undefined;
      }
    });
  }
});

function quote(line: string): string {
  return `'${line.replaceAll("'", "'\\''")}'`;
}
