/** What somebody changes in the container is shown by preview, in words, and put back by one `up`. */
import * as assert from "node:assert/strict";
import { settingsFor } from "../../lab/settings";
import { changed, Deployment, failure, timeOfDay, warnings } from "./deployment";
import { Relay } from "./relay";

const vmid = 2350;
const role = "trade_show_backup_prod";
const database = "expense_app_production";
const config = "/etc/trade-show-app";
const dumps = "/var/backups/trade-show-app";
const library = "/usr/local/lib/trade-show-db";
const command = (verb: string) => `/usr/local/bin/trade-show-db-${verb}.sh`;
const service = "trade-show-db-backup.service";
const timer = "trade-show-db-backup.timer";
const units = "/etc/systemd/system";
const agent = "/usr/local/lib/pgbackup/agent";
const setAside = "/var/lib/pgbackup/set-aside";

/** Everything declared in the container, by its name in a preview. */
const artefacts = [
  ...[config, `${config}/backup-secrets.env`, `${config}/backup.env`, `${config}/s3-ca.pem`],
  ...["backup", "restore", "verify", "drill"].map(command),
  ...["trade-show-db-drill.service", "trade-show-db-drill.timer"],
  ...[agent, library, dumps, "/var/lib/trade-show-db", `account-${role}`, `role-${role}`, "packages", service, timer],
  `audit-${command("backup")}`,
];

interface Tamper {
  /** The artefact's name in a preview. */
  readonly at: string;
  /** Bash that changes it. */
  readonly by: string;
  /** What preview says of it. */
  readonly said: string;
  /** Bash that prints how it stands, by other means than the agent's. */
  readonly look: string;
}

const lookAtFile = (path: string) => `stat -c '%N %F %a %U:%G' ${path} && sha256sum <${path} || echo none`;
const lookAtDirectory = (path: string) => `stat -c '%N %F %a %U:%G' ${path} || echo none`;
const lookAtTree = `find ${library} -printf '%p %y %m %u:%g %l\\n' | sort; find ${library} -type f -exec sha256sum {} + | sort`;
const lookAtUnit = (unit: string) =>
  `systemctl cat ${unit} || true
   systemctl show -p LoadState,UnitFileState,NeedDaemonReload,DropInPaths,FragmentPath ${unit}
   ls ${units}/timers.target.wants`;
const lookAtTimer = `${lookAtUnit(timer)}; systemctl is-active ${timer} || true`;
const lookAtAccount = `getent passwd ${role} | cut -d: -f1,5-; id -nG ${role} || true; getent shadow ${role} | cut -c1-25 || true`;
/** All that names the role, in all databases. */
const lookAtRole = `runuser -u postgres -- pg_dumpall --schema-only | grep -w ${role} | sort`;
const sql = (statements: string, where = database) => `runuser -u postgres -- psql -Xqd ${where} <<'SQL'
${statements}
SQL`;

const rounds: Readonly<Record<string, readonly Tamper[]>> = {
  "changed by hand": [
    {
      at: `${config}/backup.env`,
      by: `echo 'RETENTION_DAYS=9999 # by hand' >>${config}/backup.env`,
      said: "content was changed",
      look: lookAtFile(`${config}/backup.env`),
    },
    {
      at: `${config}/backup-secrets.env`,
      by: `sed -i "s/^S3_SECRET_ACCESS_KEY=.*/S3_SECRET_ACCESS_KEY='HandMadeSecret'/" ${config}/backup-secrets.env
           chown ${role}:root ${config}/backup-secrets.env`,
      said: "content was changed",
      look: lookAtFile(`${config}/backup-secrets.env`),
    },
    {
      at: `${config}/s3-ca.pem`,
      by: `chmod 0666 ${config}/s3-ca.pem`,
      said: "mode 0666 instead of 0644",
      look: lookAtFile(`${config}/s3-ca.pem`),
    },
    {
      at: command("backup"),
      by: `chown nobody:nogroup ${command("backup")}`,
      said: "owner nobody:nogroup instead of root:root",
      look: lookAtFile(command("backup")),
    },
    {
      at: command("restore"),
      by: `rm ${command("restore")}`,
      said: "it is missing",
      look: lookAtFile(command("restore")),
    },
    {
      at: command("verify"),
      by: `cp ${command("verify")} /root/verify && ln -sf /root/verify ${command("verify")}`,
      said: 'lost "type regular file"; mode 0777 instead of 0755; lost "content"; gained "type symbolic link"',
      look: lookAtFile(command("verify")),
    },
    {
      // An agent that claims success and does nothing.
      at: agent,
      by: `sed -i '2i exit 0' ${agent}`,
      said: "content was changed",
      look: lookAtFile(agent),
    },
    {
      at: library,
      by: `echo 'echo stray' >${library}/lib/stray.sh; rm ${library}/lib/lock.sh; echo '# by hand' >>${library}/backup.sh
           chmod 0777 ${library}/verify.sh; ln -s /etc/shadow '${library}/a link'`,
      said:
        'file backup.sh was changed; lost "file lib/lock.sh"; file verify.sh was changed; ' +
        'gained "file lib/stray.sh"; gained "no regular file a link"',
      look: lookAtTree,
    },
    {
      at: config,
      by: `chmod 0777 ${config}`,
      said: "mode 0777 instead of 0755",
      look: lookAtDirectory(config),
    },
    {
      at: dumps,
      by: `chown nobody:nogroup ${dumps}`,
      said: `owner nobody:nogroup instead of ${role}:postgres`,
      look: lookAtDirectory(dumps),
    },
    {
      at: `account-${role}`,
      by: `usermod --shell /bin/bash --append --groups adm ${role}`,
      said: `shell /bin/bash instead of /usr/sbin/nologin; lost "groups ${role}"; gained "groups ${role} adm"`,
      look: lookAtAccount,
    },
    {
      at: `role-${role}`,
      by: `${sql(`ALTER ROLE ${role} CREATEDB BYPASSRLS;
        ALTER ROLE ${role} SET statement_timeout = '1s';
        GRANT pg_write_all_data TO ${role};
        REVOKE CONNECT ON DATABASE ${database} FROM ${role};
        GRANT CREATE ON DATABASE ${database} TO ${role};
        GRANT INSERT, DELETE ON expenses TO ${role};
        GRANT UPDATE (merchant) ON expenses TO ${role};
        GRANT CREATE ON SCHEMA public TO ${role};
        ALTER DEFAULT PRIVILEGES FOR ROLE expense_app IN SCHEMA public GRANT TRUNCATE ON TABLES TO ${role};`)}
        ${sql(`CREATE TABLE notes (note text); GRANT INSERT ON notes TO ${role};`, "other")}`,
      said: [
        'lost "attributes login"',
        `lost "CONNECT on database ${database}"`,
        'gained "attributes login createdb bypassrls"',
        'gained "setting statement_timeout=1s"',
        'gained "member of pg_write_all_data"',
        `gained "CREATE on database ${database}"`,
        `gained "CREATE on schema public in database ${database}"`,
        `gained "TRUNCATE on default privileges on new relations belonging to role expense_app in schema public in database ${database}"`,
        `gained "DELETE, INSERT on table expenses in database ${database}"`,
        `gained "UPDATE on column merchant of table expenses in database ${database}"`,
        'gained "INSERT on table notes in database other"',
      ].join("; "),
      look: lookAtRole,
    },
    {
      at: service,
      by: `sed -i 's/^ProtectSystem=strict$/ProtectSystem=no/' ${units}/${service}; systemctl daemon-reload`,
      said: "content was changed",
      look: lookAtUnit(service),
    },
    {
      at: timer,
      by: `systemctl disable --quiet --now ${timer}`,
      said: "state disabled instead of enabled; activity inactive instead of active",
      look: lookAtTimer,
    },
    {
      at: "packages",
      by: `mv /usr/bin/jq /usr/bin/jq.away`,
      said: 'gained "missing jq"',
      look: "command -v jq || echo none",
    },
  ],

  "removed or replaced": [
    {
      at: `${config}/backup.env`,
      by: `chmod 0600 ${config}/backup.env; chown ${role} ${config}/backup.env`,
      said: "mode 0600 instead of 0644; owner squatter:root instead of root:root",
      look: lookAtFile(`${config}/backup.env`),
    },
    {
      at: `${config}/backup-secrets.env`,
      by: `chmod 0644 ${config}/backup-secrets.env; userdel ${role}; useradd --system squatter`,
      said: `mode 0644 instead of 0600; owner squatter:root instead of ${role}:root`,
      look: lookAtFile(`${config}/backup-secrets.env`),
    },
    { at: `account-${role}`, by: "true", said: "it is missing", look: lookAtAccount },
    {
      at: dumps,
      by: `chmod 2750 ${dumps}`,
      said: `mode 2750 instead of 3770; owner squatter:postgres instead of ${role}:postgres`,
      look: `${lookAtDirectory(dumps)}; stat -c '%a %U:%G' ${dumps}/*`,
    },
    {
      at: "/var/lib/trade-show-db",
      by: "true",
      said: `owner squatter:squatter instead of ${role}:${role}`,
      look: `find /var/lib/trade-show-db -printf '%p %m %u:%g\\n' | sort`,
    },
    { at: agent, by: `rm ${agent}`, said: "it is missing", look: lookAtFile(agent) },
    {
      at: library,
      by: `mv ${library} /root/library; ln -s /root/library ${library}`,
      said: 'lost "type directory"; mode 0777 instead of 0755; gained "type symbolic link"',
      look: lookAtTree,
    },
    {
      at: `role-${role}`,
      by: sql(`ALTER ROLE ${role} PASSWORD 'hand-made' CONNECTION LIMIT 3 VALID UNTIL '2020-01-01';
        ALTER ROLE ${role} IN DATABASE ${database} SET work_mem = '64kB';
        CREATE ROLE sneak LOGIN IN ROLE ${role};
        GRANT SELECT ON users TO ${role} WITH GRANT OPTION;
        GRANT TEMPORARY ON DATABASE postgres TO ${role} WITH GRANT OPTION;`),
      said: [
        "connection limit 3 instead of 20",
        "password set instead of none",
        'gained "valid until 2020-01-01 00:00:00+00"',
        `gained "setting work_mem=64kB in database ${database}"`,
        'gained "has the member sneak"',
        'gained "TEMPORARY on database postgres with grant option"',
        `gained "SELECT with grant option on table users in database ${database}"`,
      ].join("; "),
      look: lookAtRole,
    },
    {
      at: timer,
      by: `systemctl stop ${timer}; mv ${units}/${timer} /root; systemctl mask --quiet ${timer}; systemctl daemon-reload`,
      said:
        'lost "type regular file"; mode 0777 instead of 0644; lost "content"; state masked instead of enabled; ' +
        'activity inactive instead of active; gained "type symbolic link"',
      look: lookAtTimer,
    },
    {
      at: service,
      by: `chmod 0666 ${units}/${service}`,
      said: "mode 0666 instead of 0644",
      look: lookAtUnit(service),
    },
  ],

  "overridden or forgotten": [
    ...[`${config}/backup.env`, `${config}/backup-secrets.env`, `${config}/s3-ca.pem`].map((path) => ({
      at: path,
      by: "true",
      said: "it is missing",
      look: lookAtFile(path),
    })),
    {
      at: config,
      by: `echo 'notes of an operator' >${config}/notes; mv ${config} /root/config`,
      said: "it is missing",
      look: lookAtDirectory(config),
    },
    { at: library, by: `rm -r ${library}`, said: "it is missing", look: lookAtTree },
    { at: dumps, by: `mv ${dumps} /root/dumps`, said: "it is missing", look: lookAtDirectory(dumps) },
    {
      at: service,
      by: `mkdir ${units}/${service}.d; printf '[Service]\\nUser=root\\n' >${units}/${service}.d/by-hand.conf
           systemctl daemon-reload; sed -i 's/^Nice=10$/Nice=0/' ${units}/${service}`,
      said: `content was changed; systemd's copy outdated instead of current; gained "drop-in ${units}/${service}.d/by-hand.conf"`,
      look: lookAtUnit(service),
    },
    {
      at: timer,
      by: `mkdir ${units}/${timer}.d; printf '[Timer]\\nOnCalendar=\\nOnCalendar=yearly\\n' >${units}/${timer}.d/yearly.conf`,
      said: `gained "drop-in ${units}/${timer}.d/yearly.conf"`,
      look: lookAtTimer,
    },
    {
      at: `role-${role}`,
      by: `${sql(`DROP OWNED BY ${role};`)}; ${sql(`DROP ROLE sneak`)}; ${sql(`DROP OWNED BY ${role}; DROP ROLE ${role};`, "other")}`,
      said: "it is missing",
      look: lookAtRole,
    },
  ],
};

describe("drift", function () {
  let deployed: Deployment;
  let relay: Relay;
  /** All that any operation printed. */
  const printed: string[] = [];
  let secret: string;

  before(async () => {
    relay = await Relay.start();
    deployed = await Deployment.create(vmid, { settings: relay.settings });
    await deployed.sql("CREATE DATABASE other");
    await deployed.shell(`mkdir ${config}; echo 'MINE=yes' >${config}/backup.env`);
    printed.push((await deployed.stack.up()).output);
    await deployed.run(["systemctl", "start", service]);
    secret = (await deployed.shell(`. ${config}/backup-secrets.env; echo "$S3_SECRET_ACCESS_KEY"`)).trim();
    assert.match(secret, /^\S{20,}$/);
  });

  after(async () => {
    await relay.cut();
    await deployed.remove();
  });

  async function preview(options: { diff?: boolean; expectNoChanges?: boolean } = {}) {
    const outcome = await deployed.stack.preview(options);
    printed.push(outcome.output, ...outcome.diagnostics.map(({ message }) => message));
    return outcome;
  }

  async function up() {
    const outcome = await deployed.stack.up();
    printed.push(outcome.output, ...outcome.diagnostics.map(({ message }) => message));
    return outcome;
  }

  describe("what stood there before the first up", () => {
    it("is kept aside by it", async () => {
      assert.equal(await deployed.shell(`cat ${setAside}/*/backup.env; stat -c %a ${setAside}`), "MINE=yes\n700\n");
      assert.match(
        printed[0] ?? "",
        new RegExp(`what stood at ${config}/backup\\.env was kept in ${setAside}/[0-9TZ]{16}\\.\\w{4}`),
      );
    });
  });

  for (const [round, tampers] of Object.entries(rounds)) {
    describe(round, () => {
      const looks: string[] = [];

      before(async () => {
        for (const { look } of tampers) looks.push(await deployed.shell(look));
        for (const { by } of tampers) await deployed.shell(by);
      });

      it("is shown by preview, in words, and nothing else is", async () => {
        const outcome = await preview({ diff: true });
        assert.deepEqual(
          warnings(outcome).sort(),
          tampers.map(({ at, said }) => `${at} was changed in container ${vmid}: ${said}`).sort(),
        );
        assert.deepEqual(changed(outcome), tampers.map(({ at }) => `update ${at}`).sort());
      });

      it("is put back by one up, and then preview is clean", async () => {
        if (round === "changed by hand") await deployed.run(["mv", "/usr/bin/jq.away", "/usr/bin/jq"]);
        await up();
        await preview({ expectNoChanges: true });
      });

      tampers.forEach(({ at, look }, index) => {
        it(`really: ${at}`, async () => {
          assert.equal(await deployed.shell(look), looks[index]);
        });
      });
    });
  }

  describe("after all that", () => {
    it("keeps aside, for root alone, what it overwrote", async () => {
      const kept = await deployed.shell(`cd ${setAside} && find . -type f -o -type l | cut -d/ -f3- | sort`);
      const files = new Set(kept.trim().split("\n"));
      for (const each of ["backup.env", "backup-secrets.env", "agent", "trade-show-db/lib/stray.sh"])
        assert.ok(files.has(each), `${each} in ${kept}`);
      for (const each of [service, timer, `${service}.d/by-hand.conf`, `${timer}.d/yearly.conf`])
        assert.ok(files.has(each), `${each} in ${kept}`);
      const found = async (text: string) => (await deployed.shell(`grep -rlF -e '${text}' ${setAside} | wc -l`)).trim();
      assert.equal(await found("RETENTION_DAYS=9999 # by hand"), "1");
      assert.equal(await found("echo stray"), "1");
      assert.equal(await found("OnCalendar=yearly"), "1");
      assert.equal(await found("HandMadeSecret"), "1");
      assert.equal(await deployed.shell(`stat -c %a ${setAside}`), "700\n");
      // What a link led to is nobody's business.
      await deployed.shell(`test -f /root/verify -a -d /root/library -a -d /root/dumps -a -f /root/config/notes`);
      assert.equal(
        (await deployed.shell("ls /root/dumps")).trim().split("\n").length,
        4,
        "dump, globals and their manifests",
      );
    });

    it("shows a lost receipt, and a file that was merely touched is no drift", async () => {
      await deployed.shell(`rm "/var/lib/pgbackup/receipts/"*restore.sh; touch ${config}/backup.env`);
      assert.deepEqual(changed(await preview()), [`update ${command("restore")}`]);
      await up();
      await preview({ expectNoChanges: true });
    });

    it("takes no notice of passing states: the service running, or failed", async () => {
      await deployed.shell("mkfifo /run/release");
      const locking = deployed.lab.exec(vmid, [
        "bash",
        "-c",
        `flock /var/lib/trade-show-db/lock sh -c 'echo held >/run/held; cat /run/release'`,
      ]);
      await deployed.shell("until [[ -s /run/held ]]; do read -rt 0.1 <> <(:) || true; done");
      await deployed.lab.exec(vmid, ["systemctl", "start", service]);
      assert.equal((await deployed.lab.exec(vmid, ["systemctl", "is-active", service])).stdout, "failed\n");
      await preview({ expectNoChanges: true });
      await deployed.shell("echo >/run/release");
      await locking;

      const reading = deployed.lab.exec(vmid, ["psql", "-Xqd", database], {
        user: "postgres",
        input: "BEGIN; LOCK TABLE expenses;\n\\! cat /run/release >/dev/null\nROLLBACK;\n",
      });
      await deployed.shell(`until runuser -u postgres -- psql -XAtqd ${database} -c "SELECT 'held' FROM pg_locks
        WHERE relation = 'expenses'::regclass AND mode = 'AccessExclusiveLock' AND granted" | grep -q held; do :; done
        systemctl start --no-block ${service}`);
      await preview({ expectNoChanges: true });
      assert.equal((await deployed.lab.exec(vmid, ["systemctl", "is-active", service])).stdout, "activating\n");
      await deployed.shell("echo >/run/release");
      await reading;
      await deployed.shell(`systemctl start ${service}`);
    });
  });

  describe("without drift detection", () => {
    const unchecked = "driftDetection is off: what changed in the containers since the last `pulumi up` is not shown.";

    before(async () => {
      await deployed.stack.setConfig("driftDetection", false);
      await deployed.shell(`echo '# by hand' >>${config}/backup.env`);
    });

    it("says so, and finds nothing, with the host out of reach", async () => {
      await relay.cut();
      const outcome = await preview({ expectNoChanges: true });
      assert.deepEqual(warnings(outcome), [unchecked]);
    });

    it("still shows a changed setting", async () => {
      await deployed.stack.setConfig("retentionDays", 21);
      const outcome = await preview({ diff: true });
      assert.deepEqual(changed(outcome), [`update ${config}/backup.env`]);
      assert.match(outcome.output, /- RETENTION_DAYS=14\n +\+ RETENTION_DAYS=21\n/);
      assert.deepEqual(warnings(outcome), [unchecked]);
      await deployed.stack.setConfig("retentionDays", undefined);
    });

    it("previews a stack that was never deployed", async () => {
      const settings = { ...settingsFor(deployed.lab, 2351), host: "10.232.9.9", driftDetection: false };
      const never = deployed.lab.stack("test-2351", settings);
      const outcome = await never.preview();
      assert.deepEqual(
        changed(outcome).filter((each) => artefacts.some((name) => each === `create ${name}`)),
        artefacts.map((name) => `create ${name}`).sort(),
      );
      assert.deepEqual(warnings(outcome), [unchecked]);
      await never.forget();
    });

    it("finds it once it is on again", async () => {
      await relay.mend();
      await deployed.stack.setConfig("driftDetection", undefined);
      assert.deepEqual(changed(await preview()), [`update ${config}/backup.env`]);
      await up();
      await preview({ expectNoChanges: true });
      await deployed.shell(`! grep 'by hand' ${config}/backup.env`);
    });

    it("is an error, not silence, where it is on and the host is out of reach", async () => {
      await relay.cut();
      const { port } = { port: relay.settings.hostPort };
      const said = await failure(deployed.stack.preview());
      assert.match(
        said,
        new RegExp(
          `error: host 127\\.0\\.0\\.1:${port} cannot be reached: connect ECONNREFUSED .*Check host, hostPort and the network between\\.`,
        ),
      );
      await relay.mend();
    });
  });

  describe("a container that goes back in time", () => {
    it("shows a container rolled back to an older snapshot, and brings it forward again", async () => {
      const { stack } = deployed;
      const parts = "etc usr/local var/lib/pgbackup var/lib/systemd var/lib/trade-show-db";
      await deployed.shell(`tar -C / -cf /root/snapshot.tar ${parts}`);
      const then = await deployed.shell(`cat ${config}/backup.env ${units}/${timer}`);
      await stack.setConfig("retentionDays", 30);
      await stack.setConfig("schedule", timeOfDay(11));
      await up();
      await preview({ expectNoChanges: true });
      const now = await deployed.shell(`cat ${config}/backup.env ${units}/${timer}`);
      const lines = now.split("\n");
      for (const line of ["RETENTION_DAYS=30", `OnCalendar=${deployed.calendar}`])
        assert.ok(lines.includes(line) && !then.split("\n").includes(line), line);

      await deployed.shell(`rm -r /var/lib/pgbackup; tar -C / --recursive-unlink -xpf /root/snapshot.tar var/lib/pgbackup usr/local
        tar -C / -xpf /root/snapshot.tar etc`);
      await deployed.lab.rebootContainer(vmid);
      assert.equal(await deployed.shell(`cat ${config}/backup.env ${units}/${timer}`), then);
      assert.deepEqual(changed(await preview()), [`update ${config}/backup.env`, `update ${timer}`]);
      await up();
      await preview({ expectNoChanges: true });
      assert.equal(await deployed.shell(`cat ${config}/backup.env ${units}/${timer}`), now);
      const elapses = await deployed.shell(`systemctl show -p TimersCalendar ${timer}`);
      assert.ok(elapses.includes(`OnCalendar=${deployed.calendar} ;`), elapses);
    });

    it("brings a rebuilt container back whole by one up, the S3 key too", async () => {
      const { lab } = deployed;
      const whole = `cat ${config}/* /usr/local/bin/*; ${lookAtTree}; ${lookAtFile(agent)}; ${lookAtRole}; ${lookAtAccount}
        ${lookAtTimer}; ${lookAtUnit(service)}`;
      await deployed.shell(
        "runuser -u postgres -- dropdb other; runuser -u postgres -- psql -qc 'DROP TABLE IF EXISTS none' 2>&1",
      );
      const then = await deployed.shell(whole);
      await lab.createContainer(vmid, { fresh: true });
      await lab.createSampleDatabase(vmid, { database, expenses: 2_000 });
      const all = artefacts.map((name) => `update ${name}`).sort();
      assert.deepEqual(changed(await preview()), all);
      assert.deepEqual(changed(await up()), all);
      await preview({ expectNoChanges: true });
      assert.equal(await deployed.shell(whole), then);
      await deployed.run(["systemctl", "start", service]);
      assert.equal((await deployed.shell(`ls ${dumps} | grep -c '\\.dump$'`)).trim(), "1");
      assert.match(await deployed.journal(service), /off-host: https:.*\.dump with its manifest/);
    });
  });

  describe("all that was printed", () => {
    it("never printed a secret or a digest", async () => {
      const all = printed.join("\n");
      assert.ok(all.length > 20_000);
      for (const word of [secret, "HandMadeSecret", "BEGIN OPENSSH PRIVATE KEY"]) assert.ok(!all.includes(word));
      const said = all.split("\n").filter((line) => line.includes("was changed in container"));
      assert.ok(said.length > 50);
      for (const line of said) assert.doesNotMatch(line, /[0-9a-f]{32}/);
      const state = await deployed.stack.exportState();
      for (const word of [secret, "HandMadeSecret", "BEGIN OPENSSH PRIVATE KEY"]) assert.ok(!state.includes(word));
    });
  });
});
