/** Faults of the disk that the dumps lie on, and of the directories there. */
import { configuration, dumps, role, state, type Nights } from "./nights";
import type { Act, FaultGroup } from "./fault";

const under = "/run/dumps-below";
const shell = (lines: string) => (nights: Nights) => nights.shell(lines);

/** Puts a small file system with the earlier dumps on it where the dumps go. Larger than a dump, so that one fits. */
const mount = shell(`mkdir -p ${under}
  mount --bind ${dumps} ${under}; mount --make-private ${under} # or what is mounted here is mounted there too
  size=$(du -sk ${dumps} | cut -f 1)
  mount -t tmpfs -o size=$((4 * size + 4096))k,nr_inodes=64,mode=3770 tmpfs ${dumps}
  chown ${role}:postgres ${dumps}
  cp -a ${under}/. ${dumps}/`);

/** Takes it away again; what came to lie on it is kept. */
const unmount = shell(`cp -a --no-clobber ${dumps}/. ${under}/
  umount ${dumps}; umount ${under}; rmdir ${under}`);

const fill = shell(`dd if=/dev/zero of=${dumps}/.another bs=16k status=none 2>/dev/null || true`);
const takeInodes = shell(`n=0; while : 2>/dev/null >"${dumps}/.another.$n"; do n=$((n + 1)); done; true`);
const free = shell(`rm -f ${dumps}/.another*`);

const after =
  (first: Act, then: Act): Act =>
  async (nights) => {
    await first(nights);
    await then(nights);
  };

export const diskFaults: FaultGroup = {
  title: "The disk and the directories",
  faults: [
    {
      name: "The disk is full before the dump",
      inject: after(mount, fill),
      status: "1",
      says: /not enough space in .*: the dump takes about .* are free/,
      tonight: "none",
      heal: after(free, unmount),
    },
    {
      name: "The disk fills up in the middle of the dump",
      inject: mount,
      midway: { share: 0.5, act: fill },
      status: "1",
      says: /dump cannot be written to .*: .*No space left on device/,
      tonight: "none",
      heal: after(free, unmount),
    },
    {
      name: "No inodes are left before the dump",
      inject: after(mount, takeInodes),
      status: "1",
      says: /not enough inodes in .*, 0 are free/,
      tonight: "none",
      heal: after(free, unmount),
    },
    {
      name: "The last inodes go in the middle of the dump",
      inject: mount,
      midway: { share: 0.5, act: takeInodes },
      status: "1",
      says: /manifest cannot be written to .*: .*No space left on device/,
      tonight: "none",
      heal: after(free, unmount),
    },
    {
      name: "The file system of the dumps is read-only",
      inject: after(mount, shell(`mount --options-mode=ignore -o remount,ro ${dumps}`)),
      status: "1",
      says: /cannot be written by trade_show_backup_prod: is its file system read-only\?/,
      tonight: "none",
      heal: after(shell(`mount --options-mode=ignore -o remount,rw ${dumps}`), unmount),
    },
    {
      name: "The directory of the dumps has another owner",
      inject: shell(`chown postgres: ${dumps}`),
      status: "1",
      says: /is postgres:postgres 3770: must be trade_show_backup_prod:postgres 3770 \(chown/,
      tonight: "none",
      heal: shell(`chown ${role}:postgres ${dumps}`),
    },
    {
      name: "The directory of the dumps has another mode",
      inject: shell(`chmod 0777 ${dumps}`),
      status: "1",
      says: /is trade_show_backup_prod:postgres 2777: must be trade_show_backup_prod:postgres 3770/,
      tonight: "none",
      heal: shell(`chmod 3770 ${dumps}`),
    },
    {
      name: "The directory of the dumps is gone",
      inject: shell(`mv ${dumps} ${dumps}.gone`),
      status: "226",
      says: /Failed to set up mount namespacing/,
      tonight: "none",
      heal: shell(`mv ${dumps}.gone ${dumps}`),
    },
    {
      name: "The job's own directory (lock, ledger) has another mode",
      inject: shell(`chmod 0555 ${state}`),
      status: "1",
      says: /is trade_show_backup_prod:trade_show_backup_prod 555: must be .* 750/,
      tonight: "none",
      heal: shell(`chmod 0750 ${state}`),
    },
  ],
};

export const settingsFaults: FaultGroup = {
  title: "The settings",
  faults: [
    {
      name: "backup.env is cut off in the middle of a line",
      inject: shell(`echo "S3_REGION='unfinished" >>${configuration}/backup.env`),
      status: "1",
      says: /backup\.env line \d+: bash cannot read it: must be KEY='value' lines only/,
      tonight: "none",
      heal: (nights) => nights.restoreSettings(),
    },
    {
      name: "backup.env holds a value that cannot be",
      inject: (nights) => nights.set("RETENTION_DAYS=0"),
      status: "1",
      says: /backup\.env line \d+: RETENTION_DAYS is '0': must be a whole number of days/,
      tonight: "none",
      heal: (nights) => nights.restoreSettings(),
    },
    {
      name: "backup.env may be written by others",
      inject: shell(`chmod 0666 ${configuration}/backup.env`),
      status: "1",
      says: /has mode 666: must not be writable by group or others/,
      tonight: "none",
      heal: (nights) => nights.restoreSettings(),
    },
    {
      name: "backup.env is gone",
      inject: shell(`rm ${configuration}/backup.env`),
      status: "1",
      says: /backup\.env does not exist: run pulumi up/,
      tonight: "none",
      heal: (nights) => nights.restoreSettings(),
    },
    {
      name: "The secrets beside it are cut off",
      inject: shell(`echo "S3_SECRET_ACCESS_KEY='unfinished" >>${configuration}/backup-secrets.env`),
      status: "1",
      says: /backup-secrets\.env line \d+: bash cannot read it/,
      tonight: "none",
      heal: (nights) => nights.restoreSettings(),
    },
  ],
};
