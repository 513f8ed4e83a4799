import assert from "node:assert/strict";
import { renderEnvironment } from "../../components/render/environment";
import { renderLauncher } from "../../components/render/launcher";
import { renderOutcomeUnit, renderStartedUnit, renderTies } from "../../components/render/outcomeUnits";
import { describeAbsence } from "../../components/render/recovery";
import { renderRoleSql } from "../../components/render/roleSql";
import { renderRunbook, type RunbookFacts } from "../../components/render/runbook";
import { describeSandbox, renderSandbox } from "../../components/render/sandbox";
import { renderDrillUnit, renderServiceUnit, renderTimerUnit } from "../../components/render/units";

describe("render", () => {
  it("an environment file", () => {
    const text = renderEnvironment("Heading", [
      ["NAME", "it's"],
      ["DAYS", 14, "a comment"],
      ["NONE", []],
      ["LIST", ["a b", "$(c)"]],
    ]);
    assert.equal(text, `# Heading\nNAME='it'\\''s'\n# a comment\nDAYS=14\nNONE=()\nLIST=(\n  'a b'\n  '$(c)'\n)\n`);
  });

  it("a launcher", () => {
    assert.equal(
      renderLauncher("/etc/app/backup.env", "/usr/local/lib/app/backup.sh"),
      `#!/bin/bash
# Managed by pulumi up (pgbackup). Settings: /etc/app/backup.env
export BACKUP_ENV=/etc/app/backup.env
exec /usr/local/lib/app/backup.sh "$@"
`,
    );
  });

  it("a timer", () => {
    assert.equal(
      renderTimerUnit({ description: "Backup of x", calendar: "*-*-* 02:00:00 UTC", jitter: "10min" }),
      `# Managed by pulumi up (pgbackup).
[Unit]
Description=Backup of x

[Timer]
OnCalendar=*-*-* 02:00:00 UTC
Persistent=true
AccuracySec=1s
RandomizedDelaySec=10min

[Install]
WantedBy=timers.target
`,
    );
  });

  const service = {
    description: "d",
    account: "a",
    command: "/c",
    timeLimit: "90min",
    writable: ["/w", "/v"],
    hosts: ["nas.example.lan"],
  };

  it("a service that asks for no mount where the container may not", () => {
    const full = renderServiceUnit({ ...service, sandbox: "full" });
    const basic = renderServiceUnit({ ...service, sandbox: "basic" });
    assert.match(full, /^ReadWritePaths=\/w \/v$/m);
    for (const option of ["ProtectSystem", "PrivateTmp", "ProtectHome", "PrivateDevices", "ProtectProc"]) {
      assert.match(full, new RegExp(`^${option}=`, "m"));
      assert.doesNotMatch(basic, new RegExp(`^${option}=`, "m"));
    }
    for (const text of [full, basic]) {
      assert.match(text, /^User=a\nGroup=a\nExecStart=\/c\nTimeoutStartSec=90min\nNice=10\nIOSchedulingClass=idle$/m);
      assert.match(text, /^NoNewPrivileges=yes$/m);
      assert.match(text, /^SystemCallFilter=~@privileged @resources\nSystemCallErrorNumber=EPERM$/m);
    }
  });

  it("a service that reaches no more addresses than it needs", () => {
    const render = (...hosts: string[]) =>
      renderServiceUnit({ ...service, hosts, sandbox: "basic" })
        .split("\n")
        .filter((line) => /Address/.test(line));
    assert.deepEqual(render(), ["RestrictAddressFamilies=AF_UNIX"]);
    const families = "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6";
    assert.deepEqual(render("10.0.0.9", "fd00::1", "10.0.0.9"), [
      families,
      "IPAddressDeny=any",
      "IPAddressAllow=10.0.0.9 fd00::1",
    ]);
    assert.deepEqual(render("10.0.0.9", "nas.example.lan"), [families]);
  });

  it("shared memory of postgres is not taken along with a service that runs as postgres", () => {
    const args = { sandbox: "full", writable: ["/w"], hosts: [] } as const;
    assert.match(renderSandbox({ ...args, ownAccount: true }), /^RemoveIPC=yes$/m);
    assert.doesNotMatch(renderSandbox({ ...args, ownAccount: false }), /RemoveIPC/);
  });

  it("in words what of the sandbox is not enforced", () => {
    const describe = (sandbox: "full" | "basic", ...hosts: string[]) =>
      describeSandbox({ sandbox, writable: ["/w"], hosts, ownAccount: true }).match(/\*\*Not enforced\*\*[^,:]*/g) ??
      [];
    assert.deepEqual(describe("full"), []);
    assert.deepEqual(describe("full", "10.0.0.9"), ["**Not enforced** in an unprivileged container"]);
    assert.deepEqual(describe("basic", "nas"), ["**Not enforced** here", "**Not enforced**"]);
  });

  describe("units of what came of a night", () => {
    const unit = { account: "a", settings: "/etc/app/backup.env", program: "/lib/outcome.sh" };

    it("tell after the ping of the start, with the journal and without a mount", () => {
      const text = renderOutcomeUnit({ ...unit, subject: "backup", after: "n-started.service", mail: false });
      assert.ok(
        text.startsWith(`# Managed by pulumi up (pgbackup).
[Unit]
Description=What came of the backup, for people and monitoring
After=n-started.service
# However often a backup fails, each is told.
StartLimitIntervalSec=0

[Service]
Type=oneshot
User=a
Group=a
TimeoutStartSec=5min
Environment=BACKUP_ENV=/etc/app/backup.env
ExecStart=/lib/outcome.sh ended
SupplementaryGroups=systemd-journal

NoNewPrivileges=yes
CapabilityBoundingSet=
`),
        text,
      );
      const started = renderStartedUnit(unit);
      assert.match(started, /^ExecStart=\/lib\/outcome\.sh started$/m);
      assert.doesNotMatch(started, /systemd-journal|^After=/m);
      for (const each of [text, started])
        assert.doesNotMatch(each, /^(Protect(?!Clock|Hostname)\w+|Private\w+|ReadWritePaths)=/m);
    });

    it("tell of a drill in its own words, and otherwise the same", () => {
      const backup = renderOutcomeUnit({ ...unit, subject: "backup", mail: true });
      assert.equal(
        renderOutcomeUnit({ ...unit, subject: "drill", mail: true }),
        backup
          .replace("What came of the backup,", "What came of the drill,")
          .replace("However often a backup fails", "However often a drill fails")
          .replace("ExecStart=/lib/outcome.sh ended\n", "ExecStart=/lib/outcome.sh ended drill\n"),
      );
    });

    it("let sendmail gain the mail system's privileges only where mail is sent", () => {
      const text = renderOutcomeUnit({ ...unit, subject: "backup", mail: true });
      // Each of these would set no_new_privs for an account that is not root.
      assert.doesNotMatch(text, /^(NoNewPrivileges|Restrict\w+|SystemCall\w+|LockPersonality|Memory\w+|After)=/m);
      assert.match(text, /^CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SETGID CAP_SETUID$/m);
    });

    it("are tied to the service that is told of", () => {
      const ties = renderTies({ started: "s.service", failed: "f.service", succeeded: "g.service" });
      assert.equal(ties, "Wants=s.service\nOnFailure=f.service\nOnSuccess=g.service\n");
      assert.equal(renderTies({}), "");
      const args = {
        description: "d",
        account: "a",
        command: "/c",
        writable: ["/w"],
        sandbox: "full" as const,
        hosts: [],
        timeLimit: "12h",
      };
      assert.match(renderServiceUnit({ ...args, ties }), /online\.target\nWants=s\.service\n(.*\n){2}\n\[Service\]/);
      const drill = { ...args, memory: "1G", hidden: [] };
      const tied = renderDrillUnit({ ...drill, ties: renderTies({ failed: "f.service", succeeded: "g.service" }) });
      assert.match(tied, /^Description=d\nOnFailure=f\.service\nOnSuccess=g\.service\n\n\[Service\]$/m);
      assert.match(renderDrillUnit(drill), /^Description=d\n\n\[Service\]$/m);
    });
  });

  const role = {
    role: "r-1",
    connectionLimit: 7,
    databases: ["a b", "$(x);"],
    grants: "all",
    bypassRls: false,
    largeObjects: false,
  } as const;

  it("SQL with every name quoted", () => {
    const sql = renderRoleSql(role);
    assert.match(sql, /^GRANT CONNECT ON DATABASE "a b" TO "r-1";$/m);
    assert.match(sql, /^GRANT CONNECT ON DATABASE "\$\(x\);" TO "r-1";$/m);
    assert.match(sql, /^\\connect "dbname='\$\(x\);'"$/m);
    assert.match(sql, /CONNECTION LIMIT 7 PASSWORD NULL/);
    assert.match(sql, /^GRANT pg_read_all_data TO "r-1";$/m);
    assert.match(sql, / NOBYPASSRLS /);
    assert.doesNotMatch(sql, /ON SCHEMA|ON ALL|DEFAULT PRIVILEGES|lo_compat/);
  });

  it("SQL that grants by schema, and nothing else", () => {
    const grants = [{ database: "a b", schemas: ["s-1", "t"], owners: ["o-1"] }];
    const sql = renderRoleSql({ ...role, grants, bypassRls: true, largeObjects: true });
    assert.doesNotMatch(sql, /pg_read_all_data|NOBYPASSRLS/);
    assert.match(sql, / BYPASSRLS .*\n[^]*^ALTER ROLE "r-1" SET lo_compat_privileges = on;$/m);
    const [, first = "", second = ""] = sql.split("\\connect");
    assert.deepEqual(
      first.split("\n").filter((line) => line.includes('"s-1"')),
      [
        'GRANT USAGE ON SCHEMA "s-1" TO "r-1";',
        'GRANT SELECT ON ALL TABLES IN SCHEMA "s-1" TO "r-1";',
        'GRANT SELECT ON ALL SEQUENCES IN SCHEMA "s-1" TO "r-1";',
        'ALTER DEFAULT PRIVILEGES FOR ROLE "o-1" IN SCHEMA "s-1" GRANT SELECT ON TABLES TO "r-1";',
        'ALTER DEFAULT PRIVILEGES FOR ROLE "o-1" IN SCHEMA "s-1" GRANT SELECT ON SEQUENCES TO "r-1";',
      ],
    );
    assert.equal(first.match(/SCHEMA "t"/g)?.length, 5);
    assert.doesNotMatch(second, /SCHEMA/);
  });

  const facts: RunbookFacts = {
    host: "pve.example.lan",
    vmid: 2320,
    databases: ["expense_app_production", "a b"],
    role: "trade_show_backup_prod",
    grants: "all",
    drillFrom: "local",
    commands: { backup: "/b.sh", restore: "/r.sh", verify: "/v.sh", drill: "/d.sh" },
    service: "s.service",
    timer: "s.timer",
    settings: "/etc/app/backup.env",
    backupDirectory: "/var/backups/trade-show-app",
    calendar: "*-*-* 02:00:00 UTC",
    retentionDays: 14,
    sandbox: { sandbox: "full", writable: ["/var/backups/trade-show-app"], hosts: [], ownAccount: true },
    offHost: { packed: false, ageRecipients: [] },
    telling: { drills: false, webhook: false, ping: false },
  };

  it("a runbook with the operators' own commands", () => {
    const runbook = renderRunbook({ ...facts, databases: ["expense_app_production"] });
    for (const line of [
      "pct exec 2320 -- sudo -u postgres pg_dump -d expense_app_production --format=custom --file=/var/backups/trade-show-app/manual_$(date +%Y%m%d_%H%M%S).dump",
      "pct exec 2320 -- sudo -u postgres pg_restore --dbname=expense_app_production --verbose --clean --if-exists /var/backups/trade-show-app/<file>.dump",
      "pct exec 2320 -- systemctl start s.service",
    ]) {
      assert.ok(runbook.split("\n").includes(`    ${line}`), line);
    }
    assert.match(runbook, /There is no off-host copy/);
    assert.match(runbook, /`npm run destroy` where the stack is\. Plain `pulumi destroy` refuses/);
  });

  it("a runbook of several databases, whose dumps by hand are several files within one second too", () => {
    const runbook = renderRunbook(facts);
    const file = String.raw`/var/backups/trade-show-app/manual_$(date +%Y%m%d_%H%M%S)_a~20b.dump`;
    assert.ok(runbook.includes(String.raw`pg_dump -d 'dbname='\''a b'\''' --format=custom --file=${file}`));
    assert.match(runbook, /\/r\.sh latest --database 'a b' --new 'a b_restored'/);
  });

  it("a runbook that says how drills are done, or that they are not", () => {
    const drill = { service: "d.service", timer: "d.timer", calendar: "Sun *-*-* 04:00:00 UTC" };
    const runbook = renderRunbook({ ...facts, drill });
    assert.match(runbook, /d\.timer: Sun \*-\*-\* 04:00:00 UTC\./);
    assert.match(runbook, /^ {4}pct exec 2320 -- \/d\.sh --report$/m);
    assert.match(runbook, /^ {4}pct exec 2320 -- systemctl start d\.service$/m);
    assert.match(renderRunbook(facts), /Drills are switched off[^]*^ {4}pct exec 2320 -- \/d\.sh$/m);
  });

  const s3 = { bucket: "b", prefix: "ct2320/", region: "eu-central-1", retentionDays: 14, noncurrentDays: 14 };

  const nas = {
    ...{ host: "nas.example.lan", port: 2222, user: "pgbackup", directory: "/ct2320", retentionDays: 30 },
    ...{ publicKey: "ssh-ed25519 BBBB", keyFile: "/etc/app/nas-key" },
  };

  it("a runbook that says which copies a drill proves", () => {
    const offHost = { s3, nas, packed: false, ageRecipients: [] };
    assert.match(
      renderRunbook({ ...facts, offHost }),
      /proves that the dumps of this\ncontainer can be .*; not that the off-host copies can \(`drillFrom`\)\./,
    );
    for (const [drillFrom, place] of [
      ["s3", "in s3://b/ct2320/"],
      ["nas", "on nas.example.lan"],
    ] as const) {
      const runbook = renderRunbook({ ...facts, offHost, drillFrom });
      assert.ok(runbook.includes(`It proves that the off-host\ncopies ${place} can be restored`), runbook);
      assert.doesNotMatch(runbook, /not that the off-host copies can/);
    }
  });

  it("a runbook that says where the off-host copies are", () => {
    const runbook = renderRunbook({ ...facts, offHost: { s3, packed: false, ageRecipients: [] } });
    assert.match(runbook, /^ {4}aws s3 ls --region eu-central-1 s3:\/\/b\/ct2320\/$/m);
    assert.match(runbook, /^ {4}aws s3 cp .*<file>\.dump \.$/m);
    assert.match(runbook, /ct2320\/\. The container's key may only write\. With a reader's key/);
    assert.doesNotMatch(runbook, /There is no off-host copy|age --decrypt|authorized_keys/);
    const read = renderRunbook({ ...facts, drillFrom: "s3", offHost: { s3, packed: false, ageRecipients: [] } });
    assert.match(read, /a key that may only write, and for drills one that may\nonly read\. With a reader's key/);
  });

  describe("a database that is not in the container", () => {
    const present = ["postgres", "template1"];
    const start = `databases: container 2320 has no database "a b". It has: postgres, template1. Until it is there, nights fail. Correct databases, or `;

    it("with the command that restores it from each off-host target, complete", () => {
      assert.equal(
        describeAbsence({ ...facts, offHost: { ...facts.offHost, s3, nas } }, "a b", present),
        `${start}restore it, without --from where its dumps are still in /var/backups/trade-show-app, and run \`pulumi up\` again:
pct exec 2320 -- /r.sh latest --database 'a b' --from s3 --globals --as 'a b'
pct exec 2320 -- /r.sh latest --database 'a b' --from nas --globals --as 'a b'`,
      );
    });

    it("with the command for a dump that is there, where none is off-host", () => {
      assert.equal(
        describeAbsence(facts, "a b", present),
        `${start}restore it from a dump, and run \`pulumi up\` again:
pct exec 2320 -- /r.sh latest --database 'a b' --globals --as 'a b'`,
      );
    });
  });

  describe("a runbook for a container that is gone", () => {
    const chapters = (offHost: Partial<RunbookFacts["offHost"]>, databases = facts.databases) => {
      const runbook = renderRunbook({ ...facts, databases, offHost: { ...facts.offHost, ...offHost } });
      const chapter = (title: string) => new RegExp(`^## ${title}\\n([^]*?)(?=^## )`, "m").exec(runbook)?.[0];
      return { fetching: chapter("Restore from off-host"), recovery: chapter("The container is gone") };
    };

    it("by either target, each with what it asks for, for each database", () => {
      const { fetching, recovery } = chapters({ s3, nas, ageRecipients: ["age1one"] });
      assert.equal(
        fetching,
        `## Restore from off-host

With \`--from\`, which goes with \`--into\` as well, the dump is fetched into /var/backups/trade-show-app,
checked, and stays there like one of the night's.
An age identity that is a file, such as an SSH key, is given with \`--identity <file in the container>\`.

From the bucket; asked for, and kept nowhere: the key of a reader of the bucket, and an age identity that decrypts it:

    pct exec 2320 -- /r.sh latest --database expense_app_production --from s3 --new expense_app_production_restored
    pct exec 2320 -- /r.sh latest --database 'a b' --from s3 --new 'a b_restored'

From the NAS; asked for, and kept nowhere: an age identity that decrypts it:

    pct exec 2320 -- /r.sh latest --database expense_app_production --from nas --new expense_app_production_restored
    pct exec 2320 -- /r.sh latest --database 'a b' --from nas --new 'a b_restored'

`,
      );
      assert.equal(
        recovery,
        `## The container is gone

With its disk, and so the dumps on it. What was written since the last copy is lost, the rest comes back from off-host.

Make container 2320 anew on this host and start it: Debian 12 or 13, \`sudo\`, and PostgreSQL of the version that it had or
newer, with the extensions that the databases use. Make neither database nor role in it. Then, where the stack is:

    pulumi up             # with driftDetection on: puts everything back but the databases, of which it warns

Then each database with its roles. They come without passwords: whoever logs in with one needs a new one, by
\`\\password <role>\` in psql.
An age identity that is a file, such as an SSH key, is given with \`--identity <file in the container>\`.

From the bucket; asked for, and kept nowhere: the key of a reader of the bucket, and an age identity that decrypts it:

    pct exec 2320 -- /r.sh latest --database expense_app_production --from s3 --globals --as expense_app_production
    pct exec 2320 -- /r.sh latest --database 'a b' --from s3 --globals --as 'a b'

From the NAS; asked for, and kept nowhere: an age identity that decrypts it:

    pct exec 2320 -- /r.sh latest --database expense_app_production --from nas --globals --as expense_app_production
    pct exec 2320 -- /r.sh latest --database 'a b' --from nas --globals --as 'a b'

Where the stack is again, and then a night:

    pulumi up             # lets the backup's role into what was restored; the next preview is clean
    pct exec 2320 -- systemctl start s.service

What the lost container had copied to the NAS and was not fetched from there stays: the job removes only what it knows of.

`,
      );
    });

    it("from the bucket alone, without a word of NAS and age", () => {
      const { fetching = "", recovery = "" } = chapters({ s3 }, ["app"]);
      for (const text of [fetching, recovery]) {
        assert.match(text, /^From the bucket; asked for, and kept nowhere: the key of a reader of the bucket:$/m);
        assert.doesNotMatch(text, /NAS|nas|age|identity/);
      }
      assert.deepEqual(
        recovery.match(/^ {4}.*/gm)?.map((line) => line.trim().replace(/ +#.*/, "")),
        [
          "pulumi up",
          "pct exec 2320 -- /r.sh latest --database app --from s3 --globals --as app",
          "pulumi up",
          "pct exec 2320 -- systemctl start s.service",
        ],
      );
    });

    it("from a NAS whose account may only write, by another key, and all stays there anyway", () => {
      const { fetching = "", recovery = "" } = chapters({ nas: { ...nas, retentionDays: 0 } }, ["app"]);
      const command = "pct exec 2320 -- env NAS_READER_KEY_FILE=<file> /r.sh latest --database app --from nas";
      assert.match(fetching, new RegExp(`^ {4}${command} --new app_restored$`, "m"));
      assert.match(recovery, new RegExp(`^ {4}${command} --globals --as app$`, "m"));
      for (const text of [fetching, recovery]) {
        assert.match(
          text,
          /^From the NAS, by a private key that may read there: <file>, in the container, mode 600:$/m,
        );
        assert.doesNotMatch(text, /bucket|s3|identity|only what it knows of/);
      }
      assert.doesNotMatch(chapters({ nas }).recovery ?? "", /READER/);
    });

    it("that everything is lost, where nothing is off-host", () => {
      assert.deepEqual(chapters({}), {
        fetching: undefined,
        recovery: `## The container is gone

Then everything is lost: the dumps were on its disk and nowhere else. Set \`s3Bucket\` or \`nasHost\` before that.

`,
      });
    });
  });

  it("a runbook that says how to fetch a copy from the NAS, and how its administrator sets it up", () => {
    const lines = renderRunbook({ ...facts, offHost: { nas, packed: false, ageRecipients: [] } }).split("\n");
    for (const line of [
      "    rsync -e 'ssh -p 2222' pgbackup@nas.example.lan:/ct2320/",
      "    rsync -e 'ssh -p 2222' pgbackup@nas.example.lan:/ct2320/<file>.dump .",
      "A copy is kept 30 days, the newest verified one for ever. From a machine whose key that account admits:",
      '    command="rrsync -no-lock /srv/pgbackup",restrict ssh-ed25519 BBBB',
    ]) {
      assert.ok(lines.includes(line), line);
    }
    assert.ok(!lines.some((line) => /There is no off-host copy|aws s3|age --decrypt/.test(line)));
  });

  it("a runbook of dumps that are directories: copies are tar files, and how to unpack one", () => {
    const runbook = renderRunbook({ ...facts, offHost: { nas, packed: true, ageRecipients: ["age1one"] } });
    const lines = runbook.split("\n").map((line) => line.trim());
    for (const line of [
      "age --decrypt --identity <private key file> --output <file>.dump.tar <file>.dump.tar.age",
      "tar --extract --file=<file>.dump.tar --directory=<file>.dump",
    ])
      assert.ok(lines.includes(line), line);
    assert.match(runbook, /<file>\.dump\.tar\.age \.$/m);
  });

  it("a runbook for a NAS that only takes more, and copies that are encrypted", () => {
    const offHost = { nas: { ...nas, retentionDays: 0 }, packed: false, ageRecipients: ["age1one", "age1two"] };
    const lines = renderRunbook({ ...facts, offHost }).split("\n");
    for (const line of [
      "    rsync -e 'ssh -p 2222' pgbackup@nas.example.lan:/ct2320/<file>.dump.age .",
      "    age1one",
      "    age1two",
      "    age --decrypt --identity <private key file> --output <file>.dump <file>.dump.age",
      '    command="rrsync -no-lock -wo -no-del /srv/pgbackup",restrict ssh-ed25519 BBBB',
    ]) {
      assert.ok(lines.includes(line), line);
    }
  });

  it("a runbook for a NAS that only takes more, but is read by drills", () => {
    const offHost = { nas: { ...nas, retentionDays: 0 }, packed: false, ageRecipients: [] };
    const runbook = renderRunbook({ ...facts, drillFrom: "nas", offHost });
    assert.ok(runbook.includes('    command="rrsync -no-lock -no-del /srv/pgbackup",restrict ssh-ed25519 BBBB\n'));
    assert.match(runbook, /With it the container cannot remove what is there\./);
  });

  it("a runbook that says who is told, and that nobody is", () => {
    const nobody = renderRunbook(facts);
    assert.match(nobody, /\*\*Nobody is told when a night fails\*\*: set `notifyMail`/);
    assert.match(nobody, /\*\*Nobody misses a night that never began\*\*/);
    assert.doesNotMatch(nobody, /Do messages arrive/);
    const telling = {
      ...{ unit: "o.service", drills: false, mail: "ops@example.org", webhook: true, ping: true },
      metricsDirectory: "/m/e",
    };
    const runbook = renderRunbook({ ...facts, telling });
    assert.match(
      runbook,
      /^A night that fails, .* is told by mail to ops@example\.org, the webhook; so is the first good one/m,
    );
    assert.match(runbook, /Metrics for node_exporter are in \/m\/e,/);
    assert.doesNotMatch(runbook, /pgbackup_drill/);
    assert.ok(runbook.split("\n").includes("    pct exec 2320 -- systemctl start o.service"));
    assert.doesNotMatch(runbook, /Nobody/);
    const drills = renderRunbook({ ...facts, telling: { ...telling, drills: true } });
    assert.match(drills, /^A night or a drill that fails, however it ends, is told by mail to ops@example\.org,/m);
    assert.match(
      drills,
      /`pgbackup_drill_recovery_seconds`\..*`time\(\) - pgbackup_drill_last_success_timestamp_seconds > 691200`/,
    );
    const unmeasured = renderRunbook({ ...facts, telling: { ...telling, drills: true, metricsDirectory: undefined } });
    assert.doesNotMatch(unmeasured, /pgbackup_/);
  });
});
