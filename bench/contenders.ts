/** What is compared: each makes one backup of the database in its usual way. */

export interface Contender {
  /** Key in results.json. */
  readonly name: string;
  /** As the report says it. */
  readonly title: string;
  /** Account that it runs as, as its documentation has it. */
  readonly account: string;
  /** Lines of bash, run by root before each round and not measured: makes it a first night. */
  readonly prepare: string;
  /** Lines of bash that are measured. */
  readonly command: string;
  /** Lines of bash, run by root, that print how many bytes the backup has. */
  readonly bytes: string;
  /** Name of what is measured right before it each time, where the two are so near that the machine's moods matter. */
  readonly beside?: "limit" | "job";
}

/** Directory of everything the bench itself leaves in the container. */
export const place = "/var/lib/bench";

/** The job's account, program and files, as `settingsFor` and the defaults of Pulumi.yaml name them. */
export const job = {
  account: "trade_show_backup_prod",
  command: (name: string) => `/usr/local/bin/trade-show-db-${name}.sh`,
  library: "/usr/local/lib/trade-show-db",
  dumps: "/var/backups/trade-show-app",
  state: "/var/lib/trade-show-db",
  /** Settings and secrets that it runs with here. */
  settings: `${place}/job.env`,
  gatewayKey: `${place}/gateway.env`,
} as const;

const inPlace = (name: string): string =>
  `rm -rf ${place}/${name}; install -d -o postgres -g postgres ${place}/${name}`;
/** Lines that print how many bytes the files have that find(1) finds there. */
const sizeOfFiles = (where: string): string =>
  `find ${where} -type f -printf '%s\\n' | awk '{ n += $1 } END { print n }'`;
const sizeOf = (name: string): string => sizeOfFiles(`${place}/${name}`);

/** Lines that leave no dump of the job and no record of one. */
export const forgetDumps = `rm -rf ${job.dumps}/*_* ${job.state}/off-host`;

/** Lines that write the settings that the job runs with: as deployed, some of them replaced. */
export function writeSettings(...settings: readonly string[]): string {
  const lines = ["cat /etc/trade-show-app/backup.env", ...settings.map((line) => `echo ${JSON.stringify(line)}`)];
  return `{ ${lines.join("; ")}; } >${job.settings}\nchmod 644 ${job.settings}`;
}

/** The job, on its first night, with some settings replaced. */
export function runJob(...settings: readonly string[]): Pick<Contender, "prepare" | "command"> {
  return {
    prepare: `${forgetDumps}\n${writeSettings(...settings)}`,
    command: `BACKUP_ENV=${job.settings} ${job.library}/backup.sh`,
  };
}

/** A dump is a file, or with dumpJobs a directory of files. */
const dumpBytes = sizeOfFiles(`${job.dumps} -path '*.dump*' ! -name '*.json'`);

/**
 * The limit, and what is compared with it.
 * @param database the database that is backed up
 * @param gateway settings of the job with which copies go to the S3 server
 * @param compression what the job uses by itself
 */
export function contenders(
  database: string,
  gateway: readonly string[],
  compression: string,
): readonly [Contender, ...Contender[]] {
  const alone = `DATABASES=(${database})`;
  const ours = { account: job.account, bytes: dumpBytes };
  const nearLimit = { ...ours, beside: "limit" } as const;
  return [
    {
      name: "limit",
      title: "`pg_dump -Fc` to /dev/null: the limit",
      account: job.account,
      prepare: "true",
      command: dumpToNowhere(database),
      bytes: "echo 0",
    },
    ...(compression === "gzip" ? [] : unchecked(database).map((each) => ({ ...nearLimit, ...each }))),
    {
      ...nearLimit,
      name: "job-uncounted",
      title: "**this job**, rows of one small table counted, no off-host copy",
      ...runJob(alone, "COUNT_TABLES=(public.customers)", "S3_BUCKET="),
    },
    {
      ...nearLimit,
      name: "job",
      title: "**this job**, all rows counted, no off-host copy",
      ...runJob(alone, "S3_BUCKET="),
    },
    {
      ...nearLimit,
      name: "job-jobs-2",
      title: "**this job**, `dumpJobs: 2`, all rows counted, no off-host copy",
      ...runJob(alone, "DUMP_JOBS=2", "S3_BUCKET="),
    },
    {
      ...ours,
      beside: "job",
      name: "job-s3",
      title: "**this job**, all rows counted, checked copy in S3",
      ...runJob(alone, ...gateway),
    },
    ...(compression === "gzip" ? [{ ...ours, ...smallest(alone) }] : []),
    {
      name: "gzip",
      title: "`pg_dump \\| gzip -9`, `find -mtime +14 -delete`",
      account: "postgres",
      prepare: inPlace("gzip"),
      command: `set +o pipefail
pg_dump ${database} | gzip -9 >${place}/gzip/${database}_$(date +%F).sql.gz
find ${place}/gzip -name '*.sql.gz' -mtime +14 -delete`,
      bytes: sizeOf("gzip"),
    },
    {
      name: "autopostgresqlbackup",
      title: "autopostgresqlbackup",
      account: "root",
      prepare: `${inPlace("autopostgresqlbackup")}
sed -i -e 's|^DBNAMES=.*|DBNAMES="${database}"|' -e 's|^BACKUPDIR=.*|BACKUPDIR="${place}/autopostgresqlbackup"|' \\
  -e 's|^MAILCONTENT=.*|MAILCONTENT="stdout"|' -e 's|^GLOBALS_OBJECTS=.*|GLOBALS_OBJECTS=""|' /etc/default/autopostgresqlbackup`,
      command: "autopostgresqlbackup",
      bytes: sizeOf("autopostgresqlbackup"),
    },
    {
      name: "borgmatic",
      title: "borgmatic, local borg repository",
      account: "postgres",
      prepare: `${inPlace("borgmatic")}
cat >${place}/borgmatic.yaml <<'YAML'
location:
    source_directories: [/etc/hostname]
    repositories: [${place}/borgmatic/repository]
hooks:
    postgresql_databases:
        - name: ${database}
          format: custom
YAML
runuser -u postgres -- env HOME=${place}/borgmatic borgmatic -c ${place}/borgmatic.yaml init --encryption none`,
      command: `export HOME=${place}/borgmatic
borgmatic -c ${place}/borgmatic.yaml create`,
      bytes: sizeOf("borgmatic/repository"),
    },
    {
      name: "pgbackrest",
      title: "pgBackRest, full backup (physical, the whole server)",
      account: "postgres",
      prepare: `${inPlace("pgbackrest")}
cat >${place}/pgbackrest.conf <<CONF
[global]
repo1-path=${place}/pgbackrest
log-level-file=off
lock-path=${place}/pgbackrest
start-fast=y
archive-check=n
[main]
pg1-path=$(echo /var/lib/postgresql/*/main)
CONF
runuser -u postgres -- pgbackrest --config=${place}/pgbackrest.conf --stanza=main stanza-create`,
      command: `pgbackrest --config=${place}/pgbackrest.conf --stanza=main --type=full backup`,
      bytes: sizeOf("pgbackrest"),
    },
  ];
}

type Named = Pick<Contender, "name" | "title" | "prepare" | "command">;

/** Less than the job does, where compression is so cheap that the rest shows. */
function unchecked(database: string): readonly Named[] {
  return [
    {
      name: "file",
      title: "`pg_dump -Fc` to a file, and `sync`: nothing counted, nothing checked",
      prepare: forgetDumps,
      command: `pg_dump ${dumpOptions(database)} >${job.dumps}/plain_.dump
sync ${job.dumps}/plain_.dump`,
    },
    {
      name: "hashed",
      title: "the same through a pipe, hashed on the way as this job does it: nothing else checked",
      prepare: forgetDumps,
      command: `stdbuf --output=256K pg_dump ${dumpOptions(database)} | perl ${job.library}/lib/tee.pl ${job.dumps}/plain_.dump |
  openssl dgst -sha256 -r >/dev/null
sync ${job.dumps}/plain_.dump`,
    },
  ];
}

/** The job, where it has gzip only, against those that use the highest level of it. */
function smallest(alone: string): Named {
  return {
    name: "job-jobs-2-gzip-9",
    title: "**this job**, `dumpJobs: 2`, `compression: gzip:9`, all rows counted, no off-host copy",
    ...runJob(alone, "DUMP_JOBS=2", "COMPRESSION=gzip:9", "S3_BUCKET="),
  };
}

/** The command of the limit. */
export function dumpToNowhere(database: string): string {
  return `pg_dump ${dumpOptions(database)} >/dev/null`;
}

/** What the job has pg_dump do. */
const dumpOptions = (database: string): string => `--format=custom $(cat ${place}/compression) --dbname=${database}`;
