/** Faults of the PostgreSQL server, its roles and its tables. */
import { until } from "../../../lab/waiting";
import { role, type Nights } from "./nights";
import type { Fault, FaultGroup } from "./fault";
import { newerServer } from "./newerServer";

const cluster = "postgresql@15-main.service";
const configuration = "/etc/postgresql/15/main";
/** Debian's wrapper, and what it calls. */
const pgDumps = "/usr/bin/pg_dump /usr/lib/postgresql/15/bin/pg_dump";

const stop = (nights: Nights) => nights.shell(`systemctl stop ${cluster}`);
const start = (nights: Nights) => nights.shell(`systemctl start ${cluster}`);
const sql = (statement: string) => (nights: Nights) => nights.sql(statement);

/** The sessions that read for the night: pg_dump's, and the one that holds its snapshot open. */
const dumping = `usename = '${role}' AND query LIKE 'COPY%'`;
const holding = `usename = '${role}' AND query NOT LIKE 'COPY%'`;
const cut = (sessions: string) =>
  sql(`SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE ${sessions}`);

/** Waits until the session that holds the snapshot has answered its last question. */
const untilCounted = (nights: Nights) =>
  until(
    "the rows are counted",
    async () =>
      (await nights.sql(`SELECT count(*) FROM pg_stat_activity
        WHERE ${holding} AND state = 'idle in transaction' AND query LIKE '%pg_database_size(oid)%'`)) !== "0" ||
      undefined,
  );

/** Holds a lock on a table for as long as it is told, in a session that outlives the command. */
function hold(statement: string) {
  return (nights: Nights) =>
    nights.shell(`cd /
      runuser -u postgres -- psql -XAtq -d expense_app_production >/run/fault.out 2>&1 < <(
        echo "BEGIN; ${statement}; SELECT 'held';"
        while [[ ! -e /run/fault.end ]]; do sleep 0.05; done
        echo 'COMMIT;'
        rm -f /run/fault.end) &
      until grep -q held /run/fault.out 2>/dev/null; do sleep 0.02; done`);
}

const letGo = (nights: Nights) =>
  nights.shell("touch /run/fault.end; while [[ -e /run/fault.end ]]; do sleep 0.02; done; rm -f /run/fault.out");

/** Connects an account so many times, until `leave`. */
function occupy(account: string, connections: number) {
  return (nights: Nights) =>
    nights.shell(`cd /
      for ((i = 0; i < ${connections}; i++)); do
        PGAPPNAME=fault runuser -u ${account} -- psql -Xq -d expense_app_production -c 'SELECT pg_sleep(600)' >/dev/null 2>&1 &
      done
      until [[ $(runuser -u postgres -- psql -XAtqc "SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'fault'") == ${connections} ]]; do sleep 0.05; done`);
}

const leave = cut("application_name = 'fault'");

/** Starts the night, waits until it waits for the lock, and then does something to whoever holds it. */
function whileWaiting(act: (nights: Nights) => Promise<unknown>): Fault["night"] {
  return async (nights) => {
    const ended = nights.start();
    await nights.shell(`cd /; until [[ $(runuser -u postgres -- psql -XAtq -c "SELECT count(*) FROM pg_stat_activity
      WHERE usename = '${role}' AND wait_event_type = 'Lock'") == 1 ]]; do sleep 0.02; done`);
    await act(nights);
    await ended;
    return nights.report();
  };
}

/** What the server takes for the version of the database's collations, and warns of where it is another now. */
const collatedBy =
  (version: string) =>
  ({ deployment }: Nights): Promise<unknown> =>
    deployment.sql(
      `UPDATE pg_database SET datcollversion = ${version} WHERE datname = 'expense_app_production'`,
      "postgres",
    );

export const serverFaults: FaultGroup = {
  title: "PostgreSQL",
  faults: [
    {
      name: "PostgreSQL is stopped",
      inject: stop,
      status: "1",
      says: /cannot log in to database 'expense_app_production' as role trade_show_backup_prod: .*No such file/,
      tonight: "none",
      heal: start,
    },
    {
      name: "PostgreSQL is stopped in the middle of the dump",
      midway: { share: 0.5, act: stop },
      status: "1",
      says: /pg_dump ended with status 1: .*server closed the connection unexpectedly/,
      tonight: "none",
      heal: start,
    },
    {
      name: "PostgreSQL crashes in the middle of the dump (a server process killed)",
      midway: {
        share: 0.5,
        act: async (nights) => {
          const pid = await nights.sql(`SELECT pid FROM pg_stat_activity WHERE ${dumping}`);
          await nights.shell(`kill -KILL ${pid}; until pg_isready -q; do sleep 0.05; done`);
        },
      },
      status: "1",
      says: /pg_dump ended with status 1: .*server closed the connection unexpectedly/,
      tonight: "none",
    },
    {
      name: "PostgreSQL restarts in the middle of the dump, as an unattended upgrade does",
      midway: { share: 0.5, act: (nights) => nights.shell(`systemctl restart ${cluster}`) },
      status: "1",
      says: /pg_dump ended with status 1: .*server closed the connection unexpectedly/,
      tonight: "none",
    },
    {
      name: "pg_dump's connection is cut (pg_terminate_backend)",
      midway: { share: 0.5, act: cut(dumping) },
      status: "1",
      says: /pg_dump ended with status 1: .*server closed the connection unexpectedly/,
      tonight: "none",
    },
    {
      name: "The connection that exports the snapshot is cut",
      inject: hold("LOCK TABLE events IN ACCESS EXCLUSIVE MODE"),
      night: whileWaiting((nights) => cut(holding)(nights).then(() => letGo(nights))),
      status: "1",
      says: /tables cannot be locked for reading: .*server closed the connection unexpectedly/,
      tonight: "none",
    },
    {
      name: "That connection is cut once pg_dump has the snapshot and the rows are counted",
      midway: { share: 0.5, act: (nights) => untilCounted(nights).then(() => cut(holding)(nights)) },
      status: "0",
      says: undefined,
      tonight: "off-host",
    },
    {
      name: "All connections of the server are taken",
      inject: (nights) =>
        nights
          .sql("ALTER SYSTEM SET max_connections = 13") // three of which are kept for superusers
          .then(() => nights.shell(`systemctl restart ${cluster}`))
          .then(() => occupy("postgres", 10)(nights)),
      status: "1",
      says: /cannot log in to database .*remaining connection slots are reserved/,
      tonight: "none",
      heal: (nights) =>
        leave(nights)
          .then(() => nights.sql("ALTER SYSTEM RESET max_connections"))
          .then(() => nights.shell(`systemctl restart ${cluster}`)),
    },
    {
      name: "All connections that the role may have are taken",
      inject: occupy(role, 20),
      status: "1",
      says: /cannot log in to database .*too many connections for role "trade_show_backup_prod"/,
      tonight: "none",
      heal: leave,
    },
    {
      name: "pg_hba.conf no longer admits the role",
      inject: (nights) =>
        nights.shell(`cp -p ${configuration}/pg_hba.conf /run/pg_hba.conf
          sed -i '1i local all ${role} reject' ${configuration}/pg_hba.conf; systemctl reload ${cluster}`),
      status: "1",
      says: /cannot log in to database .* pg_hba.conf rejects connection/,
      tonight: "none",
      heal: (nights) => nights.shell(`mv /run/pg_hba.conf ${configuration}/pg_hba.conf; systemctl reload ${cluster}`),
    },
    {
      name: "The role is dropped",
      inject: (nights) => nights.sql(`DROP OWNED BY ${role}; DROP ROLE ${role}`),
      status: "1",
      says: /cannot log in to database .*role "trade_show_backup_prod" does not exist/,
      tonight: "none",
      heal: (nights) => nights.deploy(),
    },
    {
      name: "The database is renamed",
      inject: (nights) => nights.deployment.sql("ALTER DATABASE expense_app_production RENAME TO moved", "postgres"),
      status: "1",
      says: /cannot log in to database .*database "expense_app_production" does not exist/,
      tonight: "none",
      heal: (nights) => nights.deployment.sql("ALTER DATABASE moved RENAME TO expense_app_production", "postgres"),
    },
    {
      name: "An upgrade of the operating system has changed the collations that the database was made with",
      inject: collatedBy("'1'"),
      status: "0",
      says: /WARNING: .*collation version/,
      tonight: "off-host",
      heal: collatedBy("NULL"),
    },
    {
      name: "A new table that nobody granted",
      inject: sql("CREATE TABLE visitors AS SELECT 1 AS id; ALTER TABLE visitors OWNER TO expense_app"),
      status: "0",
      says: undefined,
      tonight: "off-host",
      heal: sql("DROP TABLE visitors"),
    },
    {
      name: "A new table, after the role has lost pg_read_all_data",
      inject: sql(`CREATE TABLE visitors AS SELECT 1 AS id; REVOKE pg_read_all_data FROM ${role}`),
      status: "1",
      says: /cannot dump all of it: .*may not read these tables and sequences .*public\.visitors/,
      tonight: "none",
      heal: sql(`GRANT pg_read_all_data TO ${role}; DROP TABLE visitors`),
    },
    {
      name: "Row-level security is added to a table",
      inject: sql("ALTER TABLE expenses ENABLE ROW LEVEL SECURITY"),
      status: "1",
      says: /cannot dump all of it: tables under row-level security, .*: public\.expenses/,
      tonight: "none",
      heal: sql("ALTER TABLE expenses DISABLE ROW LEVEL SECURITY"),
    },
    {
      name: "A table is dropped in the middle of the dump",
      inject: sql("CREATE TABLE visitors AS SELECT 1 AS id"),
      midway: {
        share: 0.5,
        // It waits until the dump has ended: pg_dump holds a lock.
        act: (nights) =>
          nights.shell(`cd /; runuser -u postgres -- psql -Xq -d expense_app_production \\
          -c 'DROP TABLE visitors' >/dev/null 2>&1 &
          until [[ $(runuser -u postgres -- psql -XAtq -c "SELECT count(*) FROM pg_stat_activity
            WHERE query = 'DROP TABLE visitors' AND wait_event_type = 'Lock'") == 1 ]]; do sleep 0.02; done`),
      },
      status: "0",
      says: undefined,
      tonight: "off-host",
    },
    {
      name: "A table is dropped while the night waits for its lock",
      inject: (nights) =>
        nights.sql("CREATE TABLE visitors AS SELECT 1 AS id").then(() => hold("DROP TABLE visitors")(nights)),
      night: whileWaiting(letGo),
      status: "1",
      says: /tables cannot be locked for reading: .*visitors/,
      tonight: "none",
    },
    {
      name: "A table is locked exclusively, and let go in time",
      inject: hold("LOCK TABLE events IN ACCESS EXCLUSIVE MODE"),
      night: whileWaiting(letGo),
      status: "0",
      says: undefined,
      tonight: "off-host",
    },
    {
      name: "A table is locked exclusively for longer than LOCK_WAIT",
      inject: (nights) =>
        hold("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")(nights).then(() => nights.set("LOCK_WAIT=1s")),
      status: "1",
      says: /tables cannot be locked for reading: .*canceling statement due to lock timeout/,
      tonight: "none",
      heal: (nights) => letGo(nights).then(() => nights.restoreSettings()),
    },
    {
      name: "A page of a table is damaged on the server's disk",
      inject: (nights) => damagePage(nights),
      status: "1",
      says: /invalid page in block 0 of relation/,
      tonight: "none",
      heal: (nights) =>
        nights.shell(`systemctl stop ${cluster}; cp -p /run/page "$(cat /run/page.path)"; systemctl start ${cluster}`),
    },
    newerServer,
    {
      name: "pg_dump is gone from the container",
      inject: (nights) => nights.shell(`for each in ${pgDumps}; do mv $each $each.gone; done`),
      status: "1",
      says: /commands missing: pg_dump: install/,
      tonight: "none",
      heal: (nights) => nights.shell(`for each in ${pgDumps}; do mv $each.gone $each; done`),
    },
  ],
};

/** Overwrites the header of a table's first page while the server is down, which no checksum is needed to see. */
async function damagePage(nights: Nights): Promise<void> {
  const file = await nights.sql(
    "SELECT setting || '/' || pg_relation_filepath('users') FROM pg_settings WHERE name = 'data_directory'",
  );
  await nights.shell(`systemctl stop ${cluster}
    cp -p ${file} /run/page; echo ${file} >/run/page.path
    printf 'fault%.0s' {1..5} | dd of=${file} conv=notrunc status=none
    systemctl start ${cluster}`);
}
