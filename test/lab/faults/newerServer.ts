/** An upgrade of the server to another major version that has left the client tools behind. */
import type { Nights } from "./nights";
import type { Fault } from "./fault";

const cluster = "postgresql@15-main.service";
const newer = "/srv/newer";
const asPostgres = "runuser -u postgres --";
const control = `chroot ${newer} ${asPostgres} /usr/lib/postgresql/17/bin/pg_ctl -s -w -D /var/lib/postgresql/17/main`;

export const newerServer: Fault = {
  name: "The server is upgraded from PostgreSQL 15 to 17, the client tools are not",
  inject: upgrade,
  status: "1",
  says: /pg_dump is version 15, the server 17: install postgresql-client-17/,
  tonight: "none",
  heal: goBack,
};

/**
 * Debian 12 has no other version than 15: the server is Debian 13's, in a directory of its own, with the container's
 * accounts, sockets and everything that pg_dumpall brought over.
 */
async function upgrade({ deployment }: Nights): Promise<void> {
  await deployment.lab.container(deployment.vmid).unpack({ release: "trixie" }, newer);
  await deployment.shell(`cd /
    cp -p /etc/passwd /etc/group ${newer}/etc/
    chown -R postgres: ${newer}/var/lib/postgresql ${newer}/etc/postgresql
    ${asPostgres} pg_dumpall >/run/all.sql
    systemctl stop ${cluster}
    for directory in /dev /run/postgresql; do
      mkdir -p ${newer}$directory
      mount --rbind $directory ${newer}$directory
      mount --make-rslave ${newer}$directory
    done
    ${control} -o '-c config_file=/etc/postgresql/17/main/postgresql.conf -c ssl=off' start >/dev/null
    ${asPostgres} psql -Xq -d postgres -f - </run/all.sql >/dev/null 2>&1`);
}

async function goBack({ deployment }: Nights): Promise<void> {
  await deployment.shell(`cd /
    ${control} -m fast stop
    umount --lazy ${newer}/dev ${newer}/run/postgresql
    rm -rf --one-file-system ${newer}
    systemctl start ${cluster}`);
}
